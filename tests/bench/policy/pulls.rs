//! Pulls from a registry under policies, allowed and refused ones, beside the same pulls from one without any. Both run
//! all the time and are measured in turns: one ratio a turn, of which the table has the median.

use std::fmt::Write as _;
use std::time::Instant;

use super::images::Image;
use super::site::{Site, decided, find};
use super::{Bench, Failure, median};
use crate::histogram::Histogram;
use crate::http::{ACCEPT, head};
use crate::load::{self, Until};
use crate::measure::{CpuClock, Sample, Series};
use crate::process::Server;

/// Most that a policy may cost.
const AIM: f64 = 1.1;
const CONNECTIONS: usize = 32;
/// Of the image that is pulled.
const LAYERS: u64 = 3;

const POLICY: &str = "apiVersion: rreg/v1
kind: Policy
name: signed-by-team
match: {repos: [\"bench/**\"]}
at: [promote, pull, admit, run]
mode: enforce
require:
  - signature: {any: [{key: team.pub}]}
";

struct Sides<'a> {
    bench: &'a Bench<'a>,
    free: Server,
    bound: Server,
    free_site: Site,
    bound_site: Site,
}

/// What is asked of one server.
type Ask<'a> = &'a dyn Fn(&Server) -> Result<Sample, Failure>;

struct Row {
    title: &'static str,
    free: Series,
    bound: Series,
}

pub(super) fn measure(bench: &Bench) -> Result<String, Failure> {
    let (signed, unsigned) = (Image::new("bench/signed", LAYERS), Image::new("bench/unsigned", LAYERS));
    let (free_site, bound_site) = (Site::new(bench, "free")?, Site::new(bench, "bound")?);
    for site in [&free_site, &bound_site] {
        let server = site.start_free()?;
        let mut client = crate::http::Client::connect(server.address)?;
        signed.push(&mut client)?;
        unsigned.push(&mut client)?;
        site.sign(&server, &signed.name())?;
    }
    bound_site.write("policies/signed.yaml", POLICY)?;
    let (free, bound) = (free_site.start()?, bound_site.start()?);
    decided(&bound, "", bench.sizes.look)?;
    let sides = Sides { bench, free, bound, free_site, bound_site };
    let mut rows = Vec::new();
    for (title, image, status, connections, by_digest) in [
        ("manifest by tag, allowed, 32 connections", &signed, 200, CONNECTIONS, false),
        ("manifest by digest, allowed, 32 connections", &signed, 200, CONNECTIONS, true),
        ("manifest by tag, allowed, 1 connection", &signed, 200, 1, false),
        ("manifest by tag, refused, 32 connections", &unsigned, 403, CONNECTIONS, false),
        ("manifest by digest, refused, 32 connections", &unsigned, 403, CONNECTIONS, true),
        ("manifest by tag, refused, 1 connection", &unsigned, 403, 1, false),
    ] {
        let path = if by_digest { image.by_digest() } else { image.by_tag() };
        rows.push(sides.manifests(title, &path, status, connections)?);
    }
    rows.push(sides.whole("whole image by HTTP, allowed", &signed, false)?);
    rows.push(sides.whole("whole image by HTTP, refused", &unsigned, true)?);
    if find("skopeo").is_some() {
        rows.push(sides.skopeo("skopeo copy, allowed", &signed, false)?);
        rows.push(sides.skopeo("skopeo copy, refused", &unsigned, true)?);
    } else {
        anstream::eprintln!("skopeo is not here: no pull by it");
    }
    Ok(table(bench, &rows))
}

impl Sides<'_> {
    /// Measures both in turns, each first as often as the other.
    fn compare(&self, title: &'static str, free: Ask, bound: Ask) -> Result<Row, Failure> {
        let mut row = Row { title, free: Series::default(), bound: Series::default() };
        // Once each, unmeasured: caches are filled, connections known.
        free(&self.free)?;
        bound(&self.bound)?;
        for round in 0..self.bench.sizes.rounds {
            if round % 2 == 0 {
                row.free.samples.push(free(&self.free)?);
                row.bound.samples.push(bound(&self.bound)?);
            } else {
                row.bound.samples.push(bound(&self.bound)?);
                row.free.samples.push(free(&self.free)?);
            }
        }
        anstream::eprintln!("{title}: {:.2}", row.ratio());
        Ok(row)
    }

    fn manifests(
        &self,
        title: &'static str,
        path: &str,
        status: u16,
        connections: usize,
    ) -> Result<Row, Failure> {
        let mut request = Vec::new();
        head(&mut request, "GET", path, ACCEPT, None);
        let ask = |server: &Server, status: u16| {
            let cpu = CpuClock::start(server);
            let until = Until::Elapsed(self.bench.sizes.load);
            let next = |_, out: &mut Vec<u8>| out.extend_from_slice(&request);
            let outcome = load::run(server.address, connections, until, &[status], next)?;
            let count = outcome.latencies.count() as f64;
            let sample = Sample::new(count / outcome.elapsed.as_secs_f64());
            Ok(sample.with_latencies(&outcome.latencies).with_cpu(cpu.seconds(), count))
        };
        self.compare(title, &|server| ask(server, 200), &|server| ask(server, status))
    }

    /// One client after the other, each with a connection of its own.
    fn whole(&self, title: &'static str, image: &Image, refused: bool) -> Result<Row, Failure> {
        let ask = |server: &Server, refused: bool| {
            let (cpu, started, mut latencies) = (CpuClock::start(server), Instant::now(), Histogram::new());
            while started.elapsed() < self.bench.sizes.load {
                let began = Instant::now();
                image.pull(server.address, refused)?;
                latencies.record(began.elapsed());
            }
            let count = latencies.count() as f64;
            let sample = Sample::new(count / started.elapsed().as_secs_f64());
            Ok(sample.with_latencies(&latencies).with_cpu(cpu.seconds(), count))
        };
        self.compare(title, &|server| ask(server, false), &|server| ask(server, refused))
    }

    fn skopeo(&self, title: &'static str, image: &Image, refused: bool) -> Result<Row, Failure> {
        let ask = |site: &Site, server: &Server, refused: bool| -> Result<Sample, Failure> {
            let to = site.path("pulled");
            let _ = std::fs::remove_dir_all(&to);
            let mut command = site.command("skopeo");
            command.args(["--insecure-policy", "--tmpdir"]).arg(site.path(""));
            command.args(["copy", "-q", "--src-tls-verify=false"]);
            command.arg(format!("docker://{}/{}:latest", server.address, image.repository));
            command.arg(format!("dir:{}", to.display()));
            let mut latencies = Histogram::new();
            let (cpu, started) = (CpuClock::start(server), Instant::now());
            let output = command.output()?;
            latencies.record(started.elapsed());
            if output.status.success() == refused {
                let said = String::from_utf8_lossy(&output.stderr);
                return Err(format!("skopeo ended with {}: {said}", output.status).into());
            }
            let sample = Sample::new(1.0 / started.elapsed().as_secs_f64());
            Ok(sample.with_latencies(&latencies).with_cpu(cpu.seconds(), 1.0))
        };
        let free = |server: &Server| ask(&self.free_site, server, false);
        self.compare(title, &free, &|server| ask(&self.bound_site, server, refused))
    }
}

impl Row {
    /// How many times as long as without policies it takes: the median over the turns.
    fn ratio(&self) -> f64 {
        let pairs = self.free.samples.iter().zip(&self.bound.samples);
        median(&pairs.map(|(free, bound)| free.value / bound.value).collect::<Vec<_>>())
    }
}

fn table(bench: &Bench, rows: &[Row]) -> String {
    let mut out = format!(
        "Pulls from a registry with one policy (a signature by a key) beside one without any; medians of {} turns\n\n\
         | | without, 1/s | p50 ms | p99 ms | CPU µs | with, 1/s | p50 ms | p99 ms | CPU µs | takes | aim |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
        bench.sizes.rounds
    );
    for row in rows {
        let side = |series: &Series| {
            let (p50, p99) = series.latency().unwrap_or_default();
            let (rate, cpu) = (series.median().unwrap_or_default(), series.cpu().unwrap_or_default() * 1e6);
            format!("{rate:.0} | {p50:.2} | {p99:.2} | {cpu:.0}")
        };
        let ratio = row.ratio();
        let met = if ratio <= AIM { "met" } else { "**missed**" };
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "| {} | {} | {} | {ratio:.2} times | {AIM} {met} |",
            row.title,
            side(&row.free),
            side(&row.bound)
        );
    }
    out
}
