//! What grows with the store: decisions, pulls while there are decisions to make, and what an operator's command costs, at
//! two sizes of the store, beside each other; and what a client can make the registry hold by pulling tags.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::images::config;
use super::site::{Site, decided, progress};
use super::{Bench, Failure};
use crate::content::{Blob, manifest};
use crate::http::{ACCEPT, Client, head};
use crate::load::{self, Until};
use crate::process::Server;

/// Pushes at once: they share transactions.
const PUSHES: usize = 64;
/// Clients that pull.
const CONNECTIONS: usize = 32;
/// Images in one repository.
const EACH: u64 = 1000;
const LAYER: usize = 1024;
const MIB: f64 = (1_u64 << 20) as f64;

/// What one size of the store gave.
#[derive(Default)]
struct Column {
    images: u64,
    decisions: f64,
    pulls: f64,
    pulls_meanwhile: f64,
    start: f64,
    commands: Vec<(&'static str, f64)>,
}

pub(super) fn measure(bench: &Bench) -> Result<String, Failure> {
    let columns = [bench.sizes.images / 10, bench.sizes.images].map(|images| column(bench, images));
    let [small, large] = columns;
    let (small, large) = (small?, large?);
    let mut out = format!(
        "| | {} images | {} images |\n|---|--:|--:|\n\
         | decisions/s after `policy put` | {:.0} | {:.0} |\n\
         | pulls/s, {CONNECTIONS} connections | {:.0} | {:.0} |\n\
         | pulls/s while it is decided | {:.0} ({:.2}) | {:.0} ({:.2}) |\n\
         | start, s | {:.2} | {:.2} |\n",
        small.images,
        large.images,
        small.decisions,
        large.decisions,
        small.pulls,
        large.pulls,
        small.pulls_meanwhile,
        small.pulls_meanwhile / small.pulls,
        large.pulls_meanwhile,
        large.pulls_meanwhile / large.pulls,
        small.start,
        large.start,
    );
    // Writing to a String cannot fail.
    for ((name, one), (_, other)) in small.commands.iter().zip(&large.commands) {
        let _ = writeln!(out, "| `rreg {name}`, s | {one:.2} | {other:.2} |");
    }
    out.push_str(&memory(bench)?);
    Ok(out)
}

fn column(bench: &Bench, images: u64) -> Result<Column, Failure> {
    let site = Site::new(bench, &format!("grow-{images}"))?;
    let server = site.start_free()?;
    let started = Instant::now();
    fill(images, server.address)?;
    anstream::eprintln!("{images} images in {:.1} s", started.elapsed().as_secs_f64());
    drop(server);
    site.write("policies/users.yaml", &policy("users", "image: {maxSizeMiB: 100}"))?;
    let started = Instant::now();
    let server = site.start()?;
    let mut column = Column { images, start: started.elapsed().as_secs_f64(), ..Column::default() };
    decided(&server, "", bench.sizes.look)?;
    // Each image once in memory, as in a registry that is used.
    pulls(&server, images, Duration::from_secs(3))?;
    column.pulls = pulls(&server, images, Duration::from_secs(3))?;
    let (before, _) = progress(&mut Client::connect(server.address)?)?;
    let started = Instant::now();
    put(&server, 99)?;
    decided(&server, &before, bench.sizes.look)?;
    column.decisions = images as f64 / started.elapsed().as_secs_f64();
    put(&server, 98)?;
    column.pulls_meanwhile = pulls(&server, images, Duration::from_millis(1500))?;
    decided(&server, "", bench.sizes.look)?;
    commands(&site, &server, &mut column)?;
    Ok(column)
}

/// Sets a policy, so that everything is to be decided again.
fn put(server: &Server, most: u64) -> Result<(), Failure> {
    let (path, kind) = ("/v2/_rreg/policies/platforms", "Content-Type: application/yaml\r\n");
    let policy = policy("platforms", &format!("image: {{maxSizeMiB: {most}}}"));
    Client::connect(server.address)?.send("PUT", path, kind, policy.as_bytes(), &[201])?;
    Ok(())
}

fn commands(site: &Site, server: &Server, column: &mut Column) -> Result<(), Failure> {
    let mut timed = |name: &'static str, arguments: &[&str]| -> Result<(), Failure> {
        let started = Instant::now();
        let mut command = site.command(env!("CARGO_BIN_EXE_rreg"));
        let output = command.args(arguments).output()?;
        if !output.status.success() {
            return Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        column.commands.push((name, started.elapsed().as_secs_f64()));
        Ok(())
    };
    let data = site.path("data").display().to_string();
    let mut client = Client::connect(server.address)?;
    client.send("HEAD", &path(0), ACCEPT, &[], &[200])?;
    let address = server.address.to_string();
    let what_if = site.path("policies/users.yaml").display().to_string();
    timed("audit --since 1m", &["audit", "--since", "1m", "--data", &data])?;
    timed("gc plan", &["gc", "plan", "--data", &data])?;
    timed("fsck", &["fsck", "--data", &data])?;
    let one = format!("{address}/bench/g000");
    timed("policy explain --what-if, one repository", &["policy", "explain", "--what-if", &what_if, &one])?;
    timed("policy explain --what-if, all", &["policy", "explain", "--what-if", &what_if, &address])
}

/// What a client can make the registry hold: large manifests by tag, and one under many tags.
fn memory(bench: &Bench) -> Result<String, Failure> {
    let site = Site::new(bench, "memory")?;
    let server = site.start_free()?;
    let mut client = Client::connect(server.address)?;
    let (config, layer) = (config(0), Blob::random(1, LAYER));
    for blob in [&config, &layer] {
        client.push_blob("bench/large", &blob.digest, &blob.bytes)?;
    }
    let large = |number: u64| manifest(&config, &[&layer], &format!("{number}{}", "x".repeat(2 << 20)));
    for number in 0..250 {
        client.push_manifest(&format!("/v2/bench/large/manifests/v{number}"), &large(number))?;
    }
    for number in 0..300 {
        client.push_manifest(&format!("/v2/bench/large/manifests/t{number}"), &large(0))?;
    }
    drop(client);
    drop(server);
    let server = site.start_free()?;
    let mut client = Client::connect(server.address)?;
    let idle = server.resident();
    for number in 0..250 {
        client.discard(&format!("/v2/bench/large/manifests/v{number}"))?;
    }
    let many = server.resident();
    for number in 0..300 {
        client.discard(&format!("/v2/bench/large/manifests/t{number}"))?;
    }
    let one = server.resident();
    Ok(format!(
        "| resident, MiB: idle; 250 manifests of 2 MiB pulled by tag; one under 300 tags | {:.0}; {:.0}; {:.0} | |\n",
        idle as f64 / MIB,
        many as f64 / MIB,
        one as f64 / MIB
    ))
}

/// Manifests by tag, each time another one.
fn pulls(server: &Server, images: u64, time: Duration) -> Result<f64, Failure> {
    let next = |number: u64, out: &mut Vec<u8>| {
        head(out, "GET", &path(number.wrapping_mul(7919) % images.min(EACH)), ACCEPT, None);
    };
    let outcome = load::run(server.address, CONNECTIONS, Until::Elapsed(time), &[200], next)?;
    Ok(outcome.latencies.count() as f64 / outcome.elapsed.as_secs_f64())
}

fn repository(number: u64) -> String {
    format!("bench/g{:03}", number / EACH)
}

fn path(number: u64) -> String {
    format!("/v2/{}/manifests/v{number}", repository(number))
}

fn policy(name: &str, rule: &str) -> String {
    format!(
        "apiVersion: rreg/v1\nkind: Policy\nname: {name}\nmatch: {{repos: [\"bench/**\"]}}\nat: [pull]\n\
         require:\n  - {rule}\n"
    )
}

fn fill(images: u64, address: SocketAddr) -> Result<(), Failure> {
    let (config, layer) = (config(0), Blob::random(1, LAYER));
    let mut client = Client::connect(address)?;
    for number in (0..images).step_by(usize::try_from(EACH)?) {
        for blob in [&config, &layer] {
            client.push_blob(&repository(number), &blob.digest, &blob.bytes)?;
        }
    }
    let push = |number: u64, out: &mut Vec<u8>| {
        let text = manifest(&config, &[&layer], &number.to_string());
        let kind = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
        head(out, "PUT", &path(number), kind, Some(text.len()));
        out.extend_from_slice(text.as_bytes());
    };
    load::run(address, PUSHES, Until::Requests(images), &[201], push).map(drop)
}
