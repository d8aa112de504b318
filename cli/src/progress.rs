//! One bar a blob in flight and one for all, on standard error.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use rreg_oci::{Descriptor, Digest};
use rreg_runtime::transfer::{BlobOutcome, Progress};

use crate::output::Output;

const BLOB: &str = "  {prefix} {bar:30.cyan} {binary_bytes:>11} / {binary_total_bytes:11}";
const ALL: &str = "  {prefix:.bold} {bar:30.green} {binary_bytes:>11} / {binary_total_bytes:11} {binary_bytes_per_sec} {eta}";
/// Digits of a digest that tell blobs apart.
const SHORT: usize = 12;

/// Bars for a transfer, or nobody when no person watches.
pub(crate) fn watch(output: &Output) -> Arc<dyn Progress> {
    if output.shows_progress() { Arc::new(Bars::default()) } else { Arc::new(()) }
}

#[derive(Default)]
struct Bars {
    multi: MultiProgress,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    all: Option<ProgressBar>,
    blobs: HashMap<Digest, ProgressBar>,
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Progress for Bars {
    fn planned(&self, blobs: usize, bytes: u64) {
        let Ok(mut state) = self.state.lock() else { return };
        let bar = self.multi.add(ProgressBar::new(bytes).with_style(style(ALL)));
        bar.set_prefix(format!("{:<SHORT$}", format!("{blobs} blobs")));
        state.all = Some(bar);
    }

    fn moved(&self, blob: &Descriptor, position: u64) {
        let Ok(mut state) = self.state.lock() else { return };
        let State { all, blobs } = &mut *state;
        let bar = blobs.entry(blob.digest).or_insert_with(|| {
            let bar = self.multi.insert(0, ProgressBar::new(blob.size).with_style(style(BLOB)));
            bar.set_prefix(blob.digest.hex()[..SHORT].to_owned());
            bar
        });
        if let Some(all) = all {
            // A retry steps back; the sum does not, until it has caught up.
            all.inc(position.saturating_sub(bar.position()));
        }
        bar.set_position(position);
    }

    fn finished(&self, blob: &Descriptor, _outcome: BlobOutcome) {
        let Ok(mut state) = self.state.lock() else { return };
        let bar = state.blobs.remove(&blob.digest);
        let moved = bar.as_ref().map_or(0, ProgressBar::position);
        if let Some(all) = &state.all {
            all.inc(blob.size.saturating_sub(moved));
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        // Bars that a failure left must not stay under the error.
        let _ = self.multi.clear();
    }
}
