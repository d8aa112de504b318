//! Many small images at once: what a build farm pushes.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::Failure;
use crate::content::{Blob, manifest};
use crate::fixtures::parallel;
use crate::histogram::Histogram;
use crate::measure::{CpuClock, Sample};

use super::Run;

const CONFIG: usize = 1024;
const LAYER: usize = 16 << 10;
const LAYERS: u64 = 3;
/// Repositories that the images go to.
const REPOSITORIES: u64 = 20;

/// A config, layers, and the manifest over them.
struct Image {
    blobs: Vec<Blob>,
    manifest: String,
}

impl Image {
    fn new(number: u64) -> Self {
        let seed = |part: u64| (number << 8) | (part + 1);
        let mut blobs = vec![Blob::random(seed(0), CONFIG)];
        blobs.extend((1..=LAYERS).map(|layer| Blob::random(seed(layer), LAYER)));
        let layers: Vec<&Blob> = blobs[1..].iter().collect();
        let manifest = manifest(&blobs[0], &layers, &number.to_string());
        Self { blobs, manifest }
    }
}

pub(super) fn push(run: &Run) -> Result<Sample, Failure> {
    let (count, first) = (run.bench.scale.images, run.bench.number() << 32);
    let images: Vec<Image> = (0..count).map(|number| Image::new(first + number)).collect();
    let latencies = Mutex::new(Histogram::new());
    let cpu = CpuClock::start(run.server);
    let started = Instant::now();
    parallel(run.bench, run.server.address, count, |client, number| {
        let started = Instant::now();
        let image = &images[usize::try_from(number)?];
        let repository = format!("bench/image{}", number % REPOSITORIES);
        for blob in &image.blobs {
            client.push_blob(&repository, &blob.digest, &blob.bytes)?;
        }
        client.push_manifest(&format!("/v2/{repository}/manifests/v{number}"), &image.manifest)?;
        latencies.lock().unwrap_or_else(PoisonError::into_inner).record(started.elapsed());
        Ok(())
    })?;
    let seconds = started.elapsed().as_secs_f64();
    let cpu = cpu.seconds();
    rustix::fs::sync();
    let latencies = latencies.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Sample::new(count as f64 / seconds).with_latencies(&latencies).with_cpu(cpu, count as f64))
}
