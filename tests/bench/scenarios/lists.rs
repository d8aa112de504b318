//! Lists and deletions where there is much beside what is asked for. One connection: this is about the time of
//! one request.

use std::time::Instant;

use crate::Failure;
use crate::content::{Random, digest, manifest};
use crate::fixtures::{SMALL, TAGS, repository, small_blob, tag};
use crate::histogram::Histogram;
use crate::http::{Client, head};
use crate::load::{self, Until};
use crate::measure::{CpuClock, Sample};

use super::Run;

const TAGS_DELETED: u64 = 10;

/// Requests of random pages; the value is the 99th percentile.
fn pages(run: &Run, path: impl Fn(&mut Random) -> String) -> Result<Sample, Failure> {
    let mut random = Random::new(run.bench.number());
    let cpu = CpuClock::start(run.server);
    let requests = Until::Requests(run.bench.scale.pages);
    let outcome = load::run(run.server.address, 1, requests, &[200], |_, out| {
        head(out, "GET", &path(&mut random), "", None);
    })?;
    let latencies = &outcome.latencies;
    Ok(Sample::new(latencies.quantile(0.99).as_secs_f64() * 1e3)
        .with_latencies(latencies)
        .with_cpu(cpu.seconds(), latencies.count() as f64))
}

pub(super) fn tags(run: &Run) -> Result<Sample, Failure> {
    let count = run.bench.scale.tags(run.peer.kind);
    pages(run, |random| format!("/v2/{TAGS}/tags/list?n=100&last={}", tag(random.below(count))))
}

pub(super) fn catalog(run: &Run) -> Result<Sample, Failure> {
    let count = run.bench.scale.repositories(run.peer.kind);
    pages(run, |random| format!("/v2/_catalog?n=100&last={}", repository(random.below(count))))
}

/// Median time to delete a manifest with its tags.
fn delete(run: &Run, repository: &str) -> Result<Sample, Failure> {
    let (config, layer) = (small_blob(0), small_blob(1));
    let mut client = Client::connect(run.server.address)?;
    let mut manifests = Vec::new();
    for _ in 0..run.bench.scale.deletes {
        let mark = format!("deleted-{}", run.bench.number());
        let text = manifest(&config, &[&layer], &mark);
        for number in 0..TAGS_DELETED {
            client.push_manifest(&format!("/v2/{repository}/manifests/{mark}-{number}"), &text)?;
        }
        manifests.push(format!("/v2/{repository}/manifests/{}", digest(text.as_bytes())));
    }
    let mut latencies = Histogram::new();
    let cpu = CpuClock::start(run.server);
    for path in &manifests {
        let started = Instant::now();
        client.send("DELETE", path, "", &[], &[202])?;
        latencies.record(started.elapsed());
    }
    Ok(Sample::new(latencies.quantile(0.5).as_secs_f64() * 1e3)
        .with_latencies(&latencies)
        .with_cpu(cpu.seconds(), latencies.count() as f64))
}

pub(super) fn delete_among_few(run: &Run) -> Result<Sample, Failure> {
    delete(run, SMALL)
}

pub(super) fn delete_among_many(run: &Run) -> Result<Sample, Failure> {
    delete(run, TAGS)
}
