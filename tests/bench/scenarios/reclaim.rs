//! Many blobs that nothing refers to, and how fast they go: rreg while it takes pushes, distribution by the program
//! that wants the registry stopped. In stores of their own below the scenario's directory.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::content::Blob;
use crate::fixtures::parallel;
use crate::histogram::Histogram;
use crate::http::Client;
use crate::measure::{CpuClock, Sample};
use crate::peers::Kind;

use super::Run;

/// Just too long to be kept in rreg's database: each blob is a file.
const BLOB: usize = 33 << 10;
/// What is pushed meanwhile.
const PUSHED: usize = 4096;
/// Everything is due at once.
const IMPATIENT: [(&str, &str); 3] = [
    ("RREG_RECLAIM__BLOBS_AFTER", "0s"),
    ("RREG_RECLAIM__PERIOD", "100ms"),
    ("RREG_UPLOADS__RECLAIM_GRACE", "0s"),
];
/// Time between two looks at what is left.
const LOOK: Duration = Duration::from_millis(100);

/// What one reclaim showed.
struct Reclaimed {
    seconds: f64,
    cpu: f64,
    /// Of pushes before and during it.
    idle: Histogram,
    busy: Histogram,
}

/// Blobs a second, with the latency of the pushes meanwhile.
pub(super) fn blobs(run: &Run) -> Result<Sample, Failure> {
    let count = run.bench.scale.reclaimed as f64;
    if run.peer.kind != Kind::Rreg {
        return Ok(Sample::new(count / collected(run)?));
    }
    let done = reclaimed(run)?;
    Ok(Sample::new(count / done.seconds).with_latencies(&done.busy).with_cpu(done.cpu, count))
}

/// How many times as long as without a reclaim the slowest of a hundred pushes takes.
pub(super) fn pushes_beside(run: &Run) -> Result<Sample, Failure> {
    let done = reclaimed(run)?;
    let ratio = done.busy.quantile(0.99).as_secs_f64() / done.idle.quantile(0.99).as_secs_f64();
    Ok(Sample::new(ratio).with_latencies(&done.busy))
}

fn fill(run: &Run, address: SocketAddr) -> Result<(), Failure> {
    let first = run.bench.number() << 32;
    parallel(run.bench, address, run.bench.scale.reclaimed, |client, number| {
        let blob = Blob::random(first + number, BLOB);
        client.push_blob("bench/reclaimed", &blob.digest, &blob.bytes)
    })?;
    rustix::fs::sync();
    Ok(())
}

/// Pushes one blob after the other over one connection.
fn push_until(
    address: SocketAddr,
    first: u64,
    mut is_over: impl FnMut() -> bool,
) -> Result<Histogram, Failure> {
    let mut latencies = Histogram::new();
    let mut client = Client::connect(address)?;
    let mut number = first;
    while !is_over() {
        let blob = Blob::random(number, PUSHED);
        number += 1;
        let path = format!("/v2/bench/pushed/blobs/uploads/?digest={}", blob.digest);
        let started = Instant::now();
        client.send("POST", &path, "Content-Type: application/octet-stream\r\n", &blob.bytes, &[201])?;
        latencies.record(started.elapsed());
    }
    Ok(latencies)
}

fn reclaimed(run: &Run) -> Result<Reclaimed, Failure> {
    let directory = run.directory.join("reclaimed");
    fs::create_dir_all(&directory)?;
    let server = run.peer.start(&directory)?;
    fill(run, server.address)?;
    let (started, limit) = (Instant::now(), run.bench.scale.load);
    let idle = push_until(server.address, run.bench.number() << 32, || started.elapsed() >= limit)?;
    drop(server);
    let objects = directory.join("data/objects/blobs");
    if files(&objects)? < run.bench.scale.reclaimed {
        return Err("blobs are missing before the reclaim".into());
    }
    let server = run.peer.start_with(&directory, &IMPATIENT)?;
    let (cpu, started, first) = (CpuClock::start(&server), Instant::now(), run.bench.number() << 32);
    let over = AtomicBool::new(false);
    let (busy, seconds) = std::thread::scope(|scope| {
        let pushing = scope.spawn(|| push_until(server.address, first, || over.load(Ordering::Relaxed)));
        let seconds = until_gone(&objects, started, run.bench.scale.fill);
        over.store(true, Ordering::Relaxed);
        let busy = pushing.join().unwrap_or_else(|_| Err("the pushing thread panicked".into()));
        Ok::<_, Failure>((busy?, seconds?))
    })?;
    let cpu = cpu.seconds();
    drop(server);
    fs::remove_dir_all(&directory)?;
    Ok(Reclaimed { seconds, cpu, idle, busy })
}

fn until_gone(objects: &Path, started: Instant, limit: Duration) -> Result<f64, Failure> {
    loop {
        let left = files(objects)?;
        if left == 0 {
            return Ok(started.elapsed().as_secs_f64());
        }
        if started.elapsed() > limit {
            return Err(format!("{left} files are left after {} s", limit.as_secs()).into());
        }
        std::thread::sleep(LOOK);
    }
}

/// Seconds that distribution's own program takes, with the registry stopped.
fn collected(run: &Run) -> Result<f64, Failure> {
    let directory = run.directory.join("reclaimed");
    fs::create_dir_all(&directory)?;
    let server = run.peer.start(&directory)?;
    fill(run, server.address)?;
    drop(server);
    let started = Instant::now();
    run.peer.collect_garbage(&directory)?;
    let seconds = started.elapsed().as_secs_f64();
    match files(&directory.join("data/docker/registry/v2/blobs"))? {
        0 => {}
        left => return Err(format!("{left} blobs are left").into()),
    }
    fs::remove_dir_all(&directory)?;
    Ok(seconds)
}

/// Files below a directory that something else is deleting from.
fn files(directory: &Path) -> Result<u64, Failure> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    let mut count = 0;
    for entry in entries {
        let entry = entry?;
        count += if entry.file_type()?.is_dir() { files(&entry.path())? } else { 1 };
    }
    Ok(count)
}
