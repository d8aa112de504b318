//! What policies cost: `-- --policy`.
//!
//! Pulls with policies in force beside the same pulls without any; how long many decisions take when a policy changes;
//! verifications a second; `rreg gate` beside the programs that others verify with. Each part prints its table when it
//! is done.

mod gate;
mod grow;
mod images;
mod pulls;
mod redecide;
mod site;
mod verify;

use std::path::Path;
use std::time::Duration;

use super::Failure;
use super::peers::{Kind, Peer};

/// How much of everything.
pub(super) struct Sizes {
    /// Turns in which two servers are measured.
    rounds: u32,
    /// Of one measurement in a turn.
    load: Duration,
    /// Images about which is decided, in so many repositories under so many policies.
    images: u64,
    repositories: u64,
    policies: u64,
    /// Between two looks at how far decisions are.
    look: Duration,
    /// For verifications of one kind.
    verifying: Duration,
    /// Runs of each program.
    runs: u32,
}

const FULL: Sizes = Sizes {
    rounds: 15,
    load: Duration::from_millis(600),
    images: 100_000,
    repositories: 100,
    policies: 1000,
    look: Duration::from_millis(500),
    verifying: Duration::from_secs(2),
    runs: 30,
};

const QUICK: Sizes = Sizes {
    rounds: 3,
    load: Duration::from_millis(300),
    images: 2000,
    repositories: 10,
    policies: 100,
    look: Duration::from_millis(100),
    verifying: Duration::from_millis(200),
    runs: 5,
};

/// What every part is given.
pub(super) struct Bench<'a> {
    rreg: &'a Peer,
    sizes: &'a Sizes,
    directory: &'a Path,
}

type Part = fn(&Bench) -> Result<String, Failure>;

const PARTS: [(&str, Part); 5] = [
    ("pulls", pulls::measure),
    ("redecide", redecide::measure),
    ("verify", verify::measure),
    ("gate", gate::measure),
    ("grow", grow::measure),
];

/// Measures all parts, or those whose names begin as `only` says, and prints their tables.
pub(crate) fn measure(peers: &[Peer], quick: bool, only: &[String], directory: &Path) -> Result<(), Failure> {
    let rreg = peers.iter().find(|peer| peer.kind == Kind::Rreg).ok_or("rreg is not among the servers")?;
    let bench = Bench { rreg, sizes: if quick { &QUICK } else { &FULL }, directory };
    let chosen = |name: &str| only.is_empty() || only.iter().any(|only| name.starts_with(only));
    let mut chosen = PARTS.iter().filter(|(name, _)| chosen(name)).peekable();
    if chosen.peek().is_none() {
        let names: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
        return Err(format!("nothing is left to measure; the parts are {}", names.join(", ")).into());
    }
    for (name, part) in chosen {
        anstream::eprintln!("{name} …");
        anstream::println!("\n{}", part(&bench)?);
        // What this one has left to the kernel must not slow the next.
        rustix::fs::sync();
    }
    Ok(())
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
