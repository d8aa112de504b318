//! Pull-through caches before one upstream, and that upstream by itself: `-- --mirror`.
//!
//! Each server begins each round with an empty store. The upstream is a process of its own, once as near as loopback
//! and once as far away as a registry usually is.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Failure;
use super::http::{self, Client};
use super::load::{self, Until};
use super::measure::Unit;
use super::peers::{Kind, Peer};
use super::process::Server;
use super::upstream::{self, FIRST, Image, LARGE, Line, SHARED, SMALL};

/// Clients that want the same cold image at once.
const CLIENTS: usize = 50;
const WARM_PULLS: u32 = 5;
const CONNECTIONS: usize = 32;
const LINES: [(&str, Line); 2] = [
    ("1 Gbit/s, 20 ms away", Line { rate: 125_000_000, delay: Duration::from_millis(20) }),
    ("loopback", Line { rate: 0, delay: Duration::ZERO }),
];
/// Beside which column, and how many times as good.
type Aim = Option<(usize, f64)>;
/// What is measured, with what better means and how good rreg is to be beside which server.
const ROWS: [(&str, Unit, Aim); 7] = [
    ("cold pull of 200 MB, MB/s", Unit::MegabytesPerSecond, Some((DIRECT, 0.9))),
    ("first byte of a cold blob of 4 MB, ms", Unit::Milliseconds, Some((DIRECT, 1.0 / 1.2))),
    ("50 cold clients of 32 MB, MB/s together", Unit::MegabytesPerSecond, None),
    ("… GETs of its 5 blobs at the upstream", Unit::Milliseconds, None),
    ("warm pull of 200 MB, MB/s", Unit::MegabytesPerSecond, Some((DISTRIBUTION, 2.0))),
    (
        "warm pulls of a small image, 32 connections, requests/s",
        Unit::RequestsPerSecond,
        Some((DISTRIBUTION, 2.0)),
    ),
    ("peak memory, MiB", Unit::Mebibytes, None),
];
/// Columns.
const DIRECT: usize = 0;
const RREG: usize = 1;
const DISTRIBUTION: usize = 2;
const NAMES: [&str; 3] = ["upstream itself", "rreg", "distribution's proxy"];

/// Values by row and column, one a round.
type Table = [[Vec<f64>; NAMES.len()]; ROWS.len()];

/// Measures everything and writes the table.
pub(crate) fn measure(peers: &[Peer], rounds: u32, directory: &Path) -> Result<String, Failure> {
    let named = |kind: Kind| peers.iter().find(|peer| peer.kind == kind);
    let rreg = named(Kind::Rreg).ok_or("rreg is not among the servers")?;
    let distribution = peers.iter().find(|peer| peer.name == "distribution").or(named(Kind::Distribution));
    let caches = [None, Some(rreg), distribution];
    let mut out = String::new();
    for (name, line) in LINES {
        let mut table = Table::default();
        for round in 0..rounds as usize {
            for turn in 0..NAMES.len() {
                let column = (turn + round) % NAMES.len();
                if column == DISTRIBUTION && distribution.is_none() {
                    continue;
                }
                let home = directory.join("mirror");
                fs::create_dir_all(&home)?;
                let values = once(caches[column], line, &home)?;
                anstream::eprintln!("{name}, round {}, {}: {values:.1?}", round + 1, NAMES[column]);
                for (row, value) in values.into_iter().enumerate() {
                    table[row][column].extend(value);
                }
                fs::remove_dir_all(&home)?;
                // What this one has left to the kernel must not slow the next.
                rustix::fs::sync();
            }
        }
        write(&mut out, name, &table);
    }
    Ok(out)
}

/// One server, from empty to warm.
fn once(cache: Option<&Peer>, line: Line, home: &Path) -> Result<[Option<f64>; ROWS.len()], Failure> {
    let upstream = upstream::start(line, &home.join("upstream.log"))?;
    let server = cache.map(|peer| peer.start_before(home, upstream.address)).transpose()?;
    let address = server.as_ref().map_or(upstream.address, |server| server.address);
    let cold = pulls(address, &LARGE, 1)?;
    let first = first_byte(address)?;
    upstream::blob_gets(upstream.address)?;
    let many = many(address)?;
    let gets = upstream::blob_gets(upstream.address)?;
    let mut values = [Some(cold), Some(first), Some(many), Some(gets as f64), None, None, None];
    if let Some(server) = &server {
        server.settle(Duration::from_secs(5));
        if line.rate == 0 {
            values[4] = Some(pulls(address, &LARGE, WARM_PULLS)?);
            values[5] = Some(small(address)?);
        }
        values[6] = Some(server.peak_resident() as f64 / f64::from(1 << 20));
    }
    drop::<Option<Server>>(server);
    Ok(values)
}

fn pull(client: &mut Client, paths: &[String]) -> Result<(), Failure> {
    paths.iter().try_for_each(|path| client.discard(path).map(drop))
}

/// One client, one blob after the other, as it comes out of one connection.
fn pulls(address: SocketAddr, image: &Image, count: u32) -> Result<f64, Failure> {
    let paths = image.paths();
    let mut client = Client::connect(address)?;
    let started = Instant::now();
    for _ in 0..count {
        pull(&mut client, &paths)?;
    }
    Ok(image.bytes() as f64 * f64::from(count) / started.elapsed().as_secs_f64() / 1e6)
}

/// Median time from a request to the first byte of its content.
fn first_byte(address: SocketAddr) -> Result<f64, Failure> {
    let mut client = Client::connect(address)?;
    let paths = FIRST.paths();
    let (manifest, blobs) = paths.split_first().ok_or("no manifest")?;
    client.discard(manifest)?;
    let mut times = blobs
        .iter()
        .skip(1)
        .map(|path| Ok(client.first_byte(path)?.as_secs_f64() * 1e3))
        .collect::<Result<Vec<_>, Failure>>()?;
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().ok_or_else(|| "nothing was measured".into())
}

fn many(address: SocketAddr) -> Result<f64, Failure> {
    let paths = SHARED.paths();
    let started = Instant::now();
    std::thread::scope(|scope| {
        let client = || pull(&mut Client::connect(address)?, &paths);
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        clients
            .into_iter()
            .try_for_each(|client| client.join().unwrap_or_else(|_| Err("a client thread panicked".into())))
    })?;
    Ok((SHARED.bytes() * CLIENTS as u64) as f64 / started.elapsed().as_secs_f64() / 1e6)
}

fn small(address: SocketAddr) -> Result<f64, Failure> {
    let paths = SMALL.paths();
    pull(&mut Client::connect(address)?, &paths)?;
    let next = |number: u64, out: &mut Vec<u8>| {
        let path = &paths[usize::try_from(number).unwrap_or_default() % paths.len()];
        http::head(out, "GET", path, http::ACCEPT, None);
    };
    let until = Until::Elapsed(Duration::from_secs(2));
    let outcome = load::run(address, CONNECTIONS, until, &[200], next)?;
    Ok(outcome.latencies.count() as f64 / outcome.elapsed.as_secs_f64())
}

fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn write(out: &mut String, name: &str, table: &Table) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "\nUpstream: {name}\n\n| | {} | rreg, ratio | aim |", NAMES.join(" | "));
    out.push_str("|---|--:|--:|--:|--:|--:|\n");
    for ((title, unit, aim), row) in ROWS.iter().zip(table) {
        let values: Vec<Option<f64>> = row.iter().map(|values| median(values)).collect();
        if values.iter().all(Option::is_none) {
            continue;
        }
        let shown = |value: &Option<f64>| value.map_or_else(String::new, |value| format!("{value:.1}"));
        let cells: Vec<String> = values.iter().map(shown).collect();
        let ratio = aim.and_then(|(other, least)| {
            let ratio = unit.ratio(values[RREG]?, values[other]?);
            let verdict = if ratio >= least { "met" } else { "**missed**" };
            Some(format!("{ratio:.2} of {} | {least:.2} {verdict}", NAMES[other]))
        });
        let _ = writeln!(out, "| {title} | {} | {} |", cells.join(" | "), ratio.unwrap_or("| ".into()));
    }
}
