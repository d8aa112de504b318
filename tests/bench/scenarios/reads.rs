//! Small answers to many requests.

use crate::Failure;
use crate::content::{Random, digest};
use crate::fixtures::{SMALL, TAGS, small_blob, small_manifest, tag};
use crate::http::{ACCEPT, head};
use crate::load::{self, Until};
use crate::measure::{CpuClock, Sample};

use super::Run;

const CONNECTIONS: usize = 32;
/// Warms up, then measures requests that `next` writes.
fn measure(
    run: &Run,
    connections: usize,
    mut next: impl FnMut(u64, &mut Vec<u8>),
) -> Result<Sample, Failure> {
    let (address, scale) = (run.server.address, &run.bench.scale);
    load::run(address, connections, Until::Elapsed(scale.warm_up), &[200], &mut next)?;
    let cpu = CpuClock::start(run.server);
    let outcome = load::run(address, connections, Until::Elapsed(scale.load), &[200], &mut next)?;
    let count = outcome.latencies.count() as f64;
    Ok(Sample::new(count / outcome.elapsed.as_secs_f64())
        .with_latencies(&outcome.latencies)
        .with_cpu(cpu.seconds(), count))
}

/// Measures the same request again and again.
fn same(run: &Run, connections: usize, method: &str, path: &str, headers: &str) -> Result<Sample, Failure> {
    let mut request = Vec::new();
    head(&mut request, method, path, headers, None);
    measure(run, connections, |_, out| out.extend_from_slice(&request))
}

pub(super) fn manifest_by_tag(run: &Run) -> Result<Sample, Failure> {
    same(run, CONNECTIONS, "GET", &format!("/v2/{SMALL}/manifests/latest"), ACCEPT)
}

pub(super) fn manifest_by_tag_alone(run: &Run) -> Result<Sample, Failure> {
    same(run, 1, "GET", &format!("/v2/{SMALL}/manifests/latest"), ACCEPT)
}

pub(super) fn manifest_by_digest(run: &Run) -> Result<Sample, Failure> {
    let digest = digest(small_manifest().as_bytes());
    same(run, CONNECTIONS, "GET", &format!("/v2/{SMALL}/manifests/{digest}"), ACCEPT)
}

pub(super) fn one_of_many_tags(run: &Run) -> Result<Sample, Failure> {
    let middle = tag(run.bench.scale.tags(run.peer.kind) / 2);
    same(run, CONNECTIONS, "GET", &format!("/v2/{TAGS}/manifests/{middle}"), ACCEPT)
}

pub(super) fn any_of_many_tags(run: &Run) -> Result<Sample, Failure> {
    let (tags, mut random) = (run.bench.scale.tags(run.peer.kind), Random::new(run.bench.number()));
    measure(run, CONNECTIONS, |_, out| {
        head(out, "GET", &format!("/v2/{TAGS}/manifests/{}", tag(random.below(tags))), ACCEPT, None);
    })
}

fn blob_path(number: u64) -> String {
    format!("/v2/{SMALL}/blobs/{}", small_blob(number).digest)
}

pub(super) fn blob_head(run: &Run) -> Result<Sample, Failure> {
    same(run, CONNECTIONS, "HEAD", &blob_path(0), "")
}

pub(super) fn blob_get(run: &Run) -> Result<Sample, Failure> {
    same(run, CONNECTIONS, "GET", &blob_path(0), "")
}

pub(super) fn blob_get_any(run: &Run) -> Result<Sample, Failure> {
    let paths: Vec<String> = (0..run.bench.scale.blobs).map(blob_path).collect();
    let mut random = Random::new(run.bench.number());
    measure(run, CONNECTIONS, |_, out| {
        let path = &paths[usize::try_from(random.below(paths.len() as u64)).unwrap_or(0)];
        head(out, "GET", path, "", None);
    })
}
