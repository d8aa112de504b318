//! `rreg gate` on one signed image of a local rreg, beside `cosign verify` and `notation verify` of the same image:
//! from start to end of the process, in turns.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use super::images::Image;
use super::site::{Site, find, run};
use super::{Bench, Failure, median};
use crate::http::Client;
use crate::process::Server;

/// Most milliseconds that a gate may take.
const AIM: f64 = 100.0;
const KEY_POLICY: &str = "apiVersion: rreg/v1\nkind: Policy\nname: signed-by-team\n\
                          require:\n  - signature: {any: [{key: team.pub}]}\n";
const NOTATION_POLICY: &str = "apiVersion: rreg/v1\nkind: Policy\nname: signed-by-notation\n\
                               require:\n  - signature: {any: [{notation: {store: team}}]}\n";
/// As notation reads it.
const TRUST_POLICY: &str = r#"{"version":"1.0","trustPolicies":[{"name":"all","registryScopes":["*"],
    "signatureVerification":{"level":"strict"},"trustStores":["ca:team"],"trustedIdentities":["*"]}]}"#;

/// Two programs that judge the same signature.
struct Pair {
    title: &'static str,
    /// Of the one that rreg is beside.
    other: Option<&'static str>,
    gate: Vec<f64>,
    theirs: Vec<f64>,
}

pub(super) fn measure(bench: &Bench) -> Result<String, Failure> {
    let site = Site::new(bench, "gate")?;
    let server = site.start_free()?;
    let image = Image::new("bench/app", 1);
    image.push(&mut Client::connect(server.address)?)?;
    site.sign(&server, &image.name())?;
    let name = format!("{}/{}", server.address, image.name());
    site.write("by-key/policy.yaml", KEY_POLICY)?;
    std::fs::copy(site.path("team.pub"), site.path("by-key/team.pub"))?;
    let gate = |policies: &'static str| {
        let mut command = site.command(env!("CARGO_BIN_EXE_rreg"));
        command.args(["gate", &name, "--policy", policies]);
        command
    };
    let cosign = find("cosign").map(|program| {
        move |site: &Site, name: &str| {
            let mut command = site.command(&program);
            command.args(["verify", "--key", "team.pub", "--insecure-ignore-tlog", "--allow-http-registry"]);
            command.arg(name);
            command
        }
    });
    let cosign = cosign.as_ref().map(|make| ("cosign verify", || make(&site, &name)));
    let mut pairs = vec![pair(bench, "signature by key (bundle)", || gate("by-key"), cosign)?];
    match find("notation") {
        Some(program) => {
            notation(&site, &server, &program, &image)?;
            let theirs = || {
                let mut command = site.command(&program);
                command.args(["verify", "--insecure-registry", &name]);
                command
            };
            let theirs = Some(("notation verify", theirs));
            pairs.push(pair(bench, "signature of Notation (JWS)", || gate("by-notation"), theirs)?);
        }
        None => anstream::eprintln!("notation is not here: nothing to compare with"),
    }
    Ok(table(bench, &pairs))
}

/// Signs by notation, with a certificate that it makes, and writes the policies of both programs.
fn notation(site: &Site, server: &Server, program: &PathBuf, image: &Image) -> Result<(), Failure> {
    run(site.command(program).args(["cert", "generate-test", "--default", "team"]))?;
    let name = format!("{}/{}", server.address, image.name());
    run(site.command(program).args(["sign", "--insecure-registry", &name]))?;
    site.write(".config/notation/trustpolicy.json", TRUST_POLICY)?;
    site.write("by-notation/policy.yaml", NOTATION_POLICY)?;
    let certificate = std::fs::read_to_string(site.path(".config/notation/localkeys/team.crt"))?;
    site.write("by-notation/truststore/x509/ca/team/team.crt", &certificate)
}

fn pair(
    bench: &Bench,
    title: &'static str,
    gate: impl Fn() -> Command,
    other: Option<(&'static str, impl Fn() -> Command)>,
) -> Result<Pair, Failure> {
    let time = |command: &mut Command| -> Result<f64, Failure> {
        let started = Instant::now();
        run(command)?;
        Ok(started.elapsed().as_secs_f64() * 1e3)
    };
    let name = other.as_ref().map(|(name, _)| *name);
    let mut pair = Pair { title, other: name, gate: Vec::new(), theirs: Vec::new() };
    for turn in 0..=bench.sizes.runs {
        let ours = time(&mut gate())?;
        let theirs = other.as_ref().map(|(_, make)| time(&mut make())).transpose()?;
        // The first brings programs into the page cache.
        if turn > 0 {
            pair.gate.push(ours);
            pair.theirs.extend(theirs);
        }
    }
    anstream::eprintln!("{title}: {:.1} ms", median(&pair.gate));
    Ok(pair)
}

fn table(bench: &Bench, pairs: &[Pair]) -> String {
    let mut out = format!(
        "One signed image of a local rreg, median wall time of {} runs in turns\n\n\
         | | rreg gate, ms | aim | beside | ms | ratio |\n|---|--:|--:|---|--:|--:|\n",
        bench.sizes.runs
    );
    for pair in pairs {
        let ours = median(&pair.gate);
        let met = if ours <= AIM { "met" } else { "**missed**" };
        let theirs = match pair.other {
            Some(name) => {
                let theirs = median(&pair.theirs);
                format!("{name} | {theirs:.1} | {:.1}", theirs / ours)
            }
            None => "not here | |".to_owned(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| {} | {ours:.1} | ≤ {AIM} {met} | {theirs} |", pair.title);
    }
    out
}
