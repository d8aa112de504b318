//! One large blob, pulled and pushed by one client.

use std::fs::{self, File};
use std::path::Path;
use std::time::Instant;

use rustix::fs::{Advice, fadvise};

use crate::Failure;
use crate::fixtures::LARGE;
use crate::http::Client;
use crate::measure::{CpuClock, Sample};
use crate::peers::Kind;

use super::Run;

/// Pulls that are measured together: processor time is counted in ticks of 10 ms.
const PULLS: u32 = 3;
const CHUNK: usize = 16 << 20;
const GIB: f64 = (1_u64 << 30) as f64;

fn path(run: &Run) -> String {
    if run.peer.kind == Kind::Axum {
        return format!("/stream/{}", run.bench.scale.large);
    }
    let mut large = run.bench.large.borrow_mut();
    large.renew(0);
    format!("/v2/{LARGE}/blobs/{}", large.digest)
}

fn pull_once(run: &Run, client: &mut Client, path: &str) -> Result<(), Failure> {
    match client.discard(path)? {
        received if received == run.bench.scale.large as u64 => Ok(()),
        received => Err(format!("{received} bytes instead of {}", run.bench.scale.large).into()),
    }
}

fn pulls(run: &Run, count: u32, client: &mut Client, path: &str) -> Result<Sample, Failure> {
    let cpu = CpuClock::start(run.server);
    let started = Instant::now();
    for _ in 0..count {
        pull_once(run, client, path)?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let bytes = run.bench.scale.large as f64 * f64::from(count);
    Ok(Sample::new(bytes / seconds / 1e6).with_cpu(cpu.seconds(), bytes / GIB))
}

pub(super) fn pull(run: &Run) -> Result<Sample, Failure> {
    let (path, mut client) = (path(run), Client::connect(run.server.address)?);
    pull_once(run, &mut client, &path)?;
    pulls(run, PULLS, &mut client, &path)
}

pub(super) fn pull_cold(run: &Run) -> Result<Sample, Failure> {
    let (path, mut client) = (path(run), Client::connect(run.server.address)?);
    evict(run.directory)?;
    pulls(run, 1, &mut client, &path)
}

/// Has the kernel forget what it keeps of the files below a directory.
fn evict(directory: &Path) -> Result<(), Failure> {
    for entry in fs::read_dir(directory)? {
        let (entry, path) = entry.map(|entry| (entry.file_type(), entry.path()))?;
        let kind = entry?;
        if kind.is_dir() {
            evict(&path)?;
        } else if kind.is_file() {
            let file = File::open(path)?;
            // Only what is on disk can be forgotten.
            file.sync_all()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}

/// Measures a push of content that no server has seen, from the first request to the last answer.
fn pushed(
    run: &Run,
    send: impl FnOnce(&mut Client, &str, &[u8]) -> Result<(), Failure>,
) -> Result<Sample, Failure> {
    let mut large = run.bench.large.borrow_mut();
    large.renew(1 + run.bench.number());
    let mut client = Client::connect(run.server.address)?;
    let cpu = CpuClock::start(run.server);
    let started = Instant::now();
    send(&mut client, &large.digest, &large.bytes)?;
    let seconds = started.elapsed().as_secs_f64();
    let (bytes, cpu) = (large.bytes.len() as f64, cpu.seconds());
    // What this server has left to the kernel must not slow the next one.
    rustix::fs::sync();
    Ok(Sample::new(bytes / seconds / 1e6).with_cpu(cpu, bytes / GIB))
}

pub(super) fn push(run: &Run) -> Result<Sample, Failure> {
    pushed(run, |client, digest, bytes| client.push_blob(LARGE, digest, bytes))
}

pub(super) fn push_chunks(run: &Run) -> Result<Sample, Failure> {
    pushed(run, |client, digest, bytes| {
        let mut location = client.begin_upload(LARGE)?;
        let mut at = 0;
        for chunk in bytes.chunks(CHUNK) {
            let end = at + chunk.len();
            let headers =
                format!("Content-Type: application/octet-stream\r\nContent-Range: {at}-{}\r\n", end - 1);
            // Without the separator that is there for the digest.
            let path = location.trim_end_matches(['?', '&']);
            client.send("PATCH", path, &headers, chunk, &[202])?;
            location = client.location()?;
            at = end;
        }
        client.send("PUT", &format!("{location}digest={digest}"), "", &[], &[201])
    })
}
