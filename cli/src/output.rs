//! Where results and failures go: aligned, coloured text for people, one JSON document for programs.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::text::{BAD, HINT, paint, plain};

/// Flags that every subcommand has.
#[derive(Args, Debug)]
pub(crate) struct Global {
    /// Text for people, or one JSON document on standard output (failures: on standard error)
    #[arg(long, value_enum, default_value = "human", global = true)]
    pub(crate) output: Format,
    /// When to colour; auto means on a terminal, unless NO_COLOR is set
    #[arg(long, value_enum, default_value = "auto", global = true)]
    pub(crate) color: Color,
    /// No progress and no confirmations, results and failures only
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Human,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

/// Most warnings of registries that one command shows.
const MAX_WARNINGS: usize = 100;

/// Writes what a command has to say.
pub(crate) struct Output {
    format: Format,
    quiet: bool,
}

/// Whether a person asked for silence.
static QUIET: AtomicBool = AtomicBool::new(false);
/// What was warned of before: an image has many manifests.
static WARNED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Shows what a registry warns of, on one line of standard error, once.
pub(crate) fn warned_by(host: &str, text: &str) {
    let line = plain(&format!("{host}: {text}"));
    let mut known = WARNED.lock().unwrap_or_else(PoisonError::into_inner);
    if known.len() < MAX_WARNINGS && known.insert(line.clone()) {
        warning(&line);
    }
}

/// A warning on one line of standard error, which `--quiet` leaves out.
pub(crate) fn warning(text: &str) {
    if !QUIET.load(Ordering::Relaxed) {
        // What cannot be written to standard error cannot be told.
        let _ = writeln!(anstream::stderr().lock(), "{} {}", paint(HINT, "warning:"), plain(text));
    }
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        let choice = match global.color {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::AlwaysAnsi,
            Color::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
        QUIET.store(global.quiet, Ordering::Relaxed);
        Self { format: global.output, quiet: global.quiet }
    }

    /// Whether a progress bar has a place: a person at a terminal who did not ask for silence.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.quiet && self.format == Format::Human && io::stderr().is_terminal()
    }

    /// The result of a command: `value` for programs, `human` for people.
    pub(crate) fn result(
        &self,
        value: &impl Serialize,
        human: impl FnOnce() -> String,
    ) -> Result<Exit, Failure> {
        let text = match self.format {
            Format::Json => {
                let text = serde_json::to_string_pretty(value);
                text.map_err(|e| {
                    Failure::new(Exit::Internal, format!("cannot write the result as JSON: {e}"))
                })? + "\n"
            }
            Format::Human => human(),
        };
        self.write(text.as_bytes())
    }

    /// A confirmation, which `--quiet` leaves out.
    pub(crate) fn done(
        &self,
        value: &impl Serialize,
        human: impl FnOnce() -> String,
    ) -> Result<Exit, Failure> {
        if self.quiet && self.format == Format::Human { Ok(Exit::Ok) } else { self.result(value, human) }
    }

    /// Something beside the result that a person should know, on standard error.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            let text = text.lines().map(plain).collect::<Vec<_>>().join("\n  ");
            // What cannot be written to standard error cannot be told.
            let _ = writeln!(anstream::stderr().lock(), "{} {text}", paint(HINT, "note:"));
        }
    }

    /// Bytes as they are: raw manifests, completions.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<Exit, Failure> {
        finish(io::stdout().lock().write_all(bytes))
    }

    fn write(&self, bytes: &[u8]) -> Result<Exit, Failure> {
        finish(anstream::stdout().lock().write_all(bytes))
    }

    /// A failure, on standard error.
    pub(crate) fn failure(&self, failure: &Failure) {
        write_failure(self.format, failure);
    }
}

/// Writes a failure. What cannot be written to standard error cannot be told.
pub(crate) fn write_failure(format: Format, failure: &Failure) {
    let mut to = anstream::stderr().lock();
    let _ = match format {
        Format::Json => {
            writeln!(to, "{}", json!({ "error": failure.to_json() }))
        }
        Format::Human => {
            let hint = failure.hint.as_ref();
            let hint = hint.map(|hint| format!("\n {} {hint}", paint(HINT, "hint:"))).unwrap_or_default();
            writeln!(to, "{} {}{hint}", paint(BAD, "error:"), failure.message)
        }
    };
}

/// Whether a command line that does not parse asks for JSON all the same.
pub(crate) fn json_wanted(arguments: impl Iterator<Item = OsString>) -> bool {
    let mut value_follows = false;
    arguments.skip(1).any(|argument| {
        let found = argument == "--output=json" || (value_follows && argument == "json");
        value_follows = argument == "--output";
        found
    })
}

/// A reader that has seen enough, as `head` does, is no failure.
fn finish(written: io::Result<()>) -> Result<Exit, Failure> {
    match written {
        Ok(()) => Ok(Exit::Ok),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Ok),
        Err(e) => Err(Failure::new(Exit::Internal, format!("cannot write to standard output: {e}"))),
    }
}
