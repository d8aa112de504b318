//! The table, and the samples as JSON.

use std::fmt::Write as _;
use std::fs;

use super::Failure;
use super::measure::{Series, Unit};
use super::peers::{Kind, Peer};
use super::rounds::Outcomes;
use super::scale::Scale;
use super::scenarios::Target;

/// Most resident memory that rreg may have in any scenario, in MiB.
const PEAK_TARGET: f64 = 64.0;
const MIB: f64 = (1_u64 << 20) as f64;

/// What the numbers were measured on, with how busy it was before.
pub(crate) fn machine() -> String {
    let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!(
        "{} ({cores} cores), memory {}, Linux {}, load average before the run {}",
        field(&file("/proc/cpuinfo"), "model name"),
        field(&file("/proc/meminfo"), "MemTotal"),
        file("/proc/sys/kernel/osrelease").trim(),
        file("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
    )
}

/// The whole report as Markdown.
pub(crate) fn markdown(scale: &Scale, machine: &str, peers: &[Peer], results: &[Outcomes]) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "Machine: {machine}\n");
    for peer in peers {
        let _ = writeln!(out, "- {}: {}", peer.name, peer.version());
    }
    let (rreg, other) = (Kind::Rreg, Kind::Named);
    let _ = writeln!(
        out,
        "\n{} rounds. Large blob: {} MiB. Many tags: {} for rreg, {} for its peers. Many repositories: {} and {}. \
         Values are best and median over the rounds, latencies and processor time medians. A ratio above 1 means \
         that rreg is better than the peer, or that the target is met.\n",
        scale.rounds,
        scale.large >> 20,
        scale.tags(rreg),
        scale.tags(other),
        scale.repositories(rreg),
        scale.repositories(other),
    );
    out.push_str("| scenario | server | unit | best | median | p50 ms | p99 ms | server CPU | peak MiB | rreg / best peer | rreg / target |\n");
    out.push_str("|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|\n");
    for result in results {
        for (peer, series) in &result.series {
            row(&mut out, results, result, peer, series);
        }
    }
    peaks(&mut out, peers, results);
    out
}

fn row(out: &mut String, all: &[Outcomes], result: &Outcomes, peer: &Peer, series: &Series) {
    let (scenario, unit) = (result.scenario, result.scenario.unit);
    let head = format!("| {} | {} | {} |", scenario.title, peer.name, unit.text());
    let (Some(best), Some(median)) = (series.best(unit), series.median()) else {
        let reason = series.failures.first().map_or("not run", String::as_str);
        let reason: String = reason.replace(['|', '\n'], " ").chars().take(200).collect();
        let _ = writeln!(out, "{head} failed: {reason} | | | | | | | |");
        return;
    };
    let (p50, p99) = series.latency().map_or_else(Default::default, |(p50, p99)| (number(p50), number(p99)));
    let cpu = series.cpu().map(|seconds| cost(unit, seconds)).unwrap_or_default();
    let (mut against_best, mut against_target) = (String::new(), String::new());
    if peer.kind == Kind::Rreg {
        if let Some(theirs) = best_peer(result) {
            against_best = format!("{:.2}", unit.ratio(median, theirs));
        }
        let targets = scenario.targets.iter().filter_map(|target| met(all, result, *target, median));
        against_target = targets.collect::<Vec<_>>().join(", ");
    }
    let failed = series.failures.len();
    let failed = if failed == 0 { String::new() } else { format!(" ({failed} rounds failed)") };
    let _ = writeln!(
        out,
        "{head} {} | {}{failed} | {p50} | {p99} | {cpu} | {:.0} | {against_best} | {against_target} |",
        number(best),
        number(median),
        series.peak() as f64 / MIB,
    );
}

/// The most memory of each server over all scenarios.
fn peaks(out: &mut String, peers: &[Peer], results: &[Outcomes]) {
    for peer in peers.iter().filter(|peer| peer.is_registry()) {
        let series = results.iter().flat_map(|result| &result.series);
        let peak = series.filter(|(owner, _)| owner.name == peer.name).map(|(_, series)| series.peak()).max();
        let Some(peak) = peak.filter(|peak| *peak > 0) else { continue };
        let peak = peak as f64 / MIB;
        let target =
            if peer.kind == Kind::Rreg { format!("{:.2}", PEAK_TARGET / peak) } else { String::new() };
        let _ = writeln!(
            out,
            "| peak of resident memory in all of this | {} | MiB | {peak:.0} | {peak:.0} | | | | {peak:.0} | | {target} |",
            peer.name
        );
    }
}

/// The best median of the other registries.
fn best_peer(result: &Outcomes) -> Option<f64> {
    let others = result.series.iter().filter(|(peer, _)| peer.is_registry() && peer.kind != Kind::Rreg);
    others.filter_map(|(_, series)| series.median()).reduce(|a, b| result.scenario.unit.better(a, b))
}

/// How far rreg is: 1 is the target. Nothing when what it is compared with was not measured.
fn met(all: &[Outcomes], result: &Outcomes, target: Target, median: f64) -> Option<String> {
    let unit = result.scenario.unit;
    let (theirs, times, whose) = match target {
        Target::AtLeast(least) => (least, 1.0, format!("≥ {least}")),
        Target::AtMost(most) => (most, 1.0, format!("≤ {most}")),
        Target::Best(times) => (best_peer(result)?, times, format!("{times}× best")),
        Target::Peer(name, times) => {
            let (_, series) = result.series.iter().find(|(peer, _)| peer.name == name)?;
            (series.median()?, times, format!("{times}× {name}"))
        }
        Target::BestIn(name, times) => {
            let other = all.iter().find(|other| other.scenario.name == name)?;
            (best_peer(other)?, times, format!("{times}× best in {name}"))
        }
        Target::OwnIn(name) => {
            let other = all.iter().find(|other| other.scenario.name == name)?;
            let (_, series) = other.series.iter().find(|(peer, _)| peer.kind == Kind::Rreg)?;
            (series.median()?, 1.0, format!("own in {name}"))
        }
    };
    Some(format!("{:.2} of {whose}", unit.ratio(median, theirs) / times))
}

fn number(value: f64) -> String {
    match value {
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn cost(unit: Unit, seconds: f64) -> String {
    match unit {
        Unit::MegabytesPerSecond => format!("{seconds:.2} s/GiB"),
        Unit::ImagesPerSecond => format!("{:.1} ms/image", seconds * 1e3),
        _ => format!("{} µs/request", number(seconds * 1e6)),
    }
}

/// Every sample.
pub(crate) fn json(
    scale: &Scale,
    machine: &str,
    peers: &[Peer],
    results: &[Outcomes],
) -> Result<String, Failure> {
    let servers: Vec<_> =
        peers.iter().map(|peer| serde_json::json!({"name": peer.name, "version": peer.version()})).collect();
    let mut series = Vec::new();
    for result in results {
        for (peer, measured) in &result.series {
            let samples: Vec<_> = measured
                .samples
                .iter()
                .map(|sample| {
                    serde_json::json!({
                        "value": sample.value,
                        "p50_ms": sample.latency.map(|(p50, _)| p50.as_secs_f64() * 1e3),
                        "p99_ms": sample.latency.map(|(_, p99)| p99.as_secs_f64() * 1e3),
                        "cpu_seconds": sample.cpu,
                        "peak_bytes": sample.peak,
                    })
                })
                .collect();
            series.push(serde_json::json!({
                "scenario": result.scenario.name,
                "unit": result.scenario.unit.text(),
                "server": peer.name,
                "samples": samples,
                "failures": measured.failures,
            }));
        }
    }
    let all = serde_json::json!({
        "machine": machine,
        "rounds": scale.rounds,
        "large_bytes": scale.large,
        "servers": servers,
        "series": series,
    });
    Ok(serde_json::to_string_pretty(&all)?)
}
