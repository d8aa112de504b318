//! Fills the stores, then takes every scenario to every server, round by round.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::fixtures::{self, Fixture};
use super::measure::{Sample, Series};
use super::peers::Peer;
use super::scenarios::{Run, Scenario};
use super::{Bench, Failure};

/// A scenario and its series by server, in the order of the servers.
pub(crate) struct Outcomes<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) series: Vec<(&'a Peer, Series)>,
}

struct Rounds<'a> {
    bench: &'a Bench,
    directory: &'a Path,
    /// Why a store could not be filled, by server and fixture.
    unfilled: HashMap<(String, String), String>,
}

/// Measures everything. A server that fails is in the results with the reason.
pub(crate) fn measure<'a>(
    bench: &Bench,
    scenarios: &[&'a Scenario],
    peers: &'a [Peer],
    directory: &Path,
) -> Result<Vec<Outcomes<'a>>, Failure> {
    let mut rounds = Rounds { bench, directory, unfilled: HashMap::new() };
    let mut results: Vec<Outcomes> = scenarios
        .iter()
        .map(|scenario| {
            let able = peers.iter().filter(|peer| scenario.who.includes(peer));
            Outcomes { scenario, series: able.map(|peer| (peer, Series::default())).collect() }
        })
        .collect();
    rounds.fill(&results)?;
    for round in 0..bench.scale.rounds {
        for result in &mut results {
            let count = result.series.len();
            for turn in 0..count {
                let (peer, series) = &mut result.series[(turn + round as usize) % count];
                rounds.once(round, result.scenario, peer, series);
            }
        }
    }
    Ok(results)
}

impl Rounds<'_> {
    fn store(&self, peer: &Peer, fixture: Fixture) -> PathBuf {
        self.directory.join(format!("{}-{fixture:?}", peer.name).to_lowercase())
    }

    fn fill(&mut self, results: &[Outcomes]) -> Result<(), Failure> {
        let mut filled = Vec::new();
        for result in results {
            let fixture = result.scenario.fixture;
            for (peer, _) in &result.series {
                if fixture == Fixture::Empty || filled.contains(&(&peer.name, fixture)) {
                    continue;
                }
                filled.push((&peer.name, fixture));
                let directory = self.store(peer, fixture);
                fs::create_dir_all(&directory)?;
                let started = Instant::now();
                let done = peer
                    .start(&directory)
                    .and_then(|server| fixtures::fill(self.bench, fixture, peer, &server, &directory));
                let seconds = started.elapsed().as_secs_f64();
                match done {
                    Ok(()) => anstream::eprintln!("filled {fixture:?} of {} in {seconds:.1} s", peer.name),
                    Err(error) => {
                        anstream::eprintln!("cannot fill {fixture:?} of {}: {error}", peer.name);
                        let key = (peer.name.clone(), format!("{fixture:?}"));
                        self.unfilled.insert(key, format!("filling its store failed: {error}"));
                    }
                }
            }
        }
        // What filling has left to the kernel must not slow the first round.
        rustix::fs::sync();
        Ok(())
    }

    fn once(&self, round: u32, scenario: &Scenario, peer: &Peer, series: &mut Series) {
        let fixture = scenario.fixture;
        let result = match self.unfilled.get(&(peer.name.clone(), format!("{fixture:?}"))) {
            Some(reason) => Err(reason.clone().into()),
            None => self.run(scenario, peer),
        };
        let head = format!("round {} {} {}", round + 1, scenario.name, peer.name);
        match result {
            Ok(sample) => {
                anstream::eprintln!("{head}: {:.1} {}", sample.value, scenario.unit.text());
                series.samples.push(sample);
            }
            Err(error) => {
                anstream::eprintln!("{head}: failed: {error}");
                series.failures.push(error.to_string());
            }
        }
    }

    fn run(&self, scenario: &Scenario, peer: &Peer) -> Result<Sample, Failure> {
        let directory = self.store(peer, scenario.fixture);
        fs::create_dir_all(&directory)?;
        let sample = peer.start(&directory).and_then(|server| {
            server.settle(self.bench.scale.settle);
            let run = Run { bench: self.bench, peer, server: &server, directory: &directory };
            let mut sample = (scenario.run)(&run)?;
            sample.peak = server.peak_resident();
            Ok(sample)
        });
        if scenario.fixture == Fixture::Empty {
            fs::remove_dir_all(&directory)?;
        }
        sample
    }
}
