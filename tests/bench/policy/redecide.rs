//! Many images decided about again because one policy of many has changed, and how soon a change shows meanwhile.
//!
//! The first [`Sizes::repositories`](super::Sizes) images are signed, one in each repository; the policies about a
//! repository ask for signatures, labels, a user and a size. A change turns such a policy into one that refuses its
//! signed image.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chrono::Utc;
use rreg_oci::{Descriptor, Digest, media_type};
use rreg_policy::COSIGN_SIGN;
use rreg_policy::sign::{SigningKey, bundle_manifest, image_bundle};

use super::images::config;
use super::site::{Site, decided, progress};
use super::{Bench, Failure, Sizes};
use crate::content::{Blob, digest, manifest};
use crate::http::{ACCEPT, Client, head};
use crate::load::{self, Until};
use crate::measure::CpuClock;
use crate::process::Server;

/// Pushes at once: they share transactions.
const PUSHES: usize = 64;
/// Bytes of the one layer.
const LAYER: usize = 1024;
/// Between two pulls of an image that is about to be refused.
const PULLS: Duration = Duration::from_millis(20);
/// Longest wait for a refusal.
const SHOWN: Duration = Duration::from_secs(600);
const MIB: f64 = (1_u64 << 20) as f64;

/// What one pass over everything took.
struct Pass {
    title: &'static str,
    seconds: f64,
    cpu: f64,
    peak: u64,
}

pub(super) fn measure(bench: &Bench) -> Result<String, Failure> {
    let sizes = bench.sizes;
    let site = Site::new(bench, "redecide")?;
    site.rreg(&["key", "generate", "other", "--no-password"])?;
    std::fs::copy(site.path("other.pub"), site.path("policies/other.pub"))?;
    let key = SigningKey::from_pem(&std::fs::read(site.path("team.key"))?, Some(b""))?;
    let server = site.start_free()?;
    let started = Instant::now();
    fill(sizes, server.address, &key)?;
    anstream::eprintln!("filled in {:.1} s", started.elapsed().as_secs_f64());
    drop(server);
    for number in 0..sizes.policies {
        site.write(&file(number), &policy(sizes, number, false))?;
    }
    let first = {
        let started = Instant::now();
        let server = site.start()?;
        decided(&server, "", sizes.look)?;
        pass("first decision", started, server.cpu_seconds(), &server)
    };
    let server = site.start()?;
    server.settle(Duration::from_secs(5));
    let again = again(sizes, &site, &server)?;
    let changes = changes(sizes, &site, &server)?;
    Ok(table(sizes, &[first, again], &changes))
}

fn pass(title: &'static str, started: Instant, cpu: f64, server: &Server) -> Pass {
    let seconds = started.elapsed().as_secs_f64();
    anstream::eprintln!("{title}: {seconds:.1} s, {cpu:.1} s of processor time");
    Pass { title, seconds, cpu, peak: server.peak_resident() }
}

/// One policy changes; everything is decided under the new ones.
fn again(sizes: &Sizes, site: &Site, server: &Server) -> Result<Pass, Failure> {
    let (before, _) = progress(&mut Client::connect(server.address)?)?;
    let (cpu, started) = (CpuClock::start(server), Instant::now());
    site.write(&file(0), &policy(sizes, 0, true))?;
    decided(server, &before, sizes.look)?;
    Ok(pass("one policy changed", started, cpu.seconds(), server))
}

/// A change that was made while everything was being decided again.
struct Change {
    title: &'static str,
    /// Until the image that it is about was refused.
    seconds: f64,
    /// When it was made.
    undecided: u64,
}

/// While everything is being decided again, two policies are changed: through the API and in a file.
fn changes(sizes: &Sizes, site: &Site, server: &Server) -> Result<[Change; 2], Failure> {
    let mut client = Client::connect(server.address)?;
    let (before, _) = progress(&mut client)?;
    site.write(&file(0), &policy(sizes, 0, false))?;
    while progress(&mut client)?.0 == before {
        std::thread::sleep(PULLS);
    }
    let by_api = || {
        let document = refusing("by-api", &repository(1));
        let kind = "Content-Type: application/yaml\r\n";
        let mut client = Client::connect(server.address)?;
        client.send("PUT", "/v2/_rreg/policies/by-api", kind, document.as_bytes(), &[201])
    };
    let by_file = || site.write(&file(2), &policy(sizes, 2, true));
    let seen = [shown("through the API", server, 1, by_api)?, shown("in a file", server, 2, by_file)?];
    decided(server, &before, sizes.look)?;
    Ok(seen)
}

/// Makes a change, and pulls the signed image of a repository until it is refused.
fn shown(
    title: &'static str,
    server: &Server,
    repository: u64,
    change: impl FnOnce() -> Result<(), Failure>,
) -> Result<Change, Failure> {
    let mut client = Client::connect(server.address)?;
    let (_, undecided) = progress(&mut client)?;
    let path = signed_path(repository);
    client.send("GET", &path, ACCEPT, &[], &[200])?;
    let started = Instant::now();
    change()?;
    while client.send("GET", &path, ACCEPT, &[], &[403]).is_err() {
        if started.elapsed() > SHOWN {
            return Err(format!("{path} is not refused after {} s", SHOWN.as_secs()).into());
        }
        std::thread::sleep(PULLS);
    }
    let seconds = started.elapsed().as_secs_f64();
    anstream::eprintln!("a change {title} shows after {seconds:.2} s, with {undecided} undecided");
    Ok(Change { title, seconds, undecided })
}

fn repository(number: u64) -> String {
    format!("bench/t{number:03}/app")
}

fn file(number: u64) -> String {
    format!("policies/p{number:04}.yaml")
}

fn tag(number: u64) -> String {
    format!("v{number}")
}

/// Where the signed image of a repository is pulled.
fn signed_path(repository_number: u64) -> String {
    format!("/v2/{}/manifests/{}", repository(repository_number), tag(repository_number))
}

/// The policy with a number: about one repository, with one of five rules. Changed, it refuses everything there.
fn policy(sizes: &Sizes, number: u64, changed: bool) -> String {
    let about = repository(number % sizes.repositories);
    let rule = match (number / sizes.repositories) % 5 {
        _ if changed => return refusing(&format!("p{number:04}"), &about),
        0 => "signature: {any: [{key: team.pub}]}",
        1 => "image: {nonRoot: true}",
        2 => {
            "cel: \"image.labels['org.opencontainers.image.source'].startsWith('https://github.com/acme/')\""
        }
        3 => "signature: {any: [{key: other.pub}, {key: team.pub}]}",
        _ => "image: {maxSizeMiB: 100, labels: {number: \"*\"}}",
    };
    document(&format!("p{number:04}"), &about, rule)
}

fn refusing(name: &str, repository: &str) -> String {
    document(name, repository, "cel: \"image.labels['org.opencontainers.image.source'] == 'elsewhere'\"")
}

fn document(name: &str, repository: &str, rule: &str) -> String {
    format!(
        "apiVersion: rreg/v1\nkind: Policy\nname: {name}\nmatch: {{repos: [\"{repository}/**\", \"{repository}\"]}}\n\
         require:\n  - {rule}\n"
    )
}

/// Pushes the images, and a signature for the first of each repository.
fn fill(sizes: &Sizes, address: SocketAddr, key: &SigningKey) -> Result<(), Failure> {
    let (config, layer) = (config(0), Blob::random(1, LAYER));
    let empty = Blob { digest: digest(b"{}"), bytes: b"{}".to_vec() };
    let mut client = Client::connect(address)?;
    for number in 0..sizes.repositories {
        for blob in [&config, &layer, &empty] {
            client.push_blob(&repository(number), &blob.digest, &blob.bytes)?;
        }
    }
    let image = |number: u64| manifest(&config, &[&layer], &number.to_string());
    let push = |number: u64, out: &mut Vec<u8>| {
        let (name, text) = (repository(number % sizes.repositories), image(number));
        let kind = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
        head(out, "PUT", &format!("/v2/{name}/manifests/{}", tag(number)), kind, Some(text.len()));
        out.extend_from_slice(text.as_bytes());
    };
    load::run(address, PUSHES, Until::Requests(sizes.images), &[201], push)?;
    for number in 0..sizes.repositories {
        let (name, text) = (repository(number), image(number));
        let subject =
            Descriptor::new(media_type::OCI_MANIFEST, Digest::sha256(text.as_bytes()), text.len() as u64);
        let bundle = image_bundle(key, &subject.digest)?;
        client.push_blob(&name, &digest(&bundle), &bundle)?;
        let signature = String::from_utf8(bundle_manifest(&bundle, &subject, COSIGN_SIGN, Utc::now())?)?;
        let path = format!("/v2/{name}/manifests/{}", digest(signature.as_bytes()));
        client.push_manifest(&path, &signature)?;
    }
    Ok(())
}

fn table(sizes: &Sizes, passes: &[Pass], changes: &[Change]) -> String {
    let rows = sizes.images + sizes.repositories;
    let mut out = format!(
        "{} policies over {} images and {} signatures in {} repositories, {} policies about each\n\n\
         | | s | decisions/s | CPU s | CPU µs a decision | peak MiB |\n|---|--:|--:|--:|--:|--:|\n",
        sizes.policies,
        sizes.images,
        sizes.repositories,
        sizes.repositories,
        sizes.policies / sizes.repositories
    );
    // Writing to a String cannot fail.
    for pass in passes {
        let _ = writeln!(
            out,
            "| {} | {:.1} | {:.0} | {:.1} | {:.0} | {:.0} |",
            pass.title,
            pass.seconds,
            rows as f64 / pass.seconds,
            pass.cpu,
            pass.cpu / rows as f64 * 1e6,
            pass.peak as f64 / MIB
        );
    }
    out.push_str(
        "\n| a change while that runs | shows on an image after, s | undecided then |\n|---|--:|--:|\n",
    );
    for Change { title, seconds, undecided } in changes {
        let _ = writeln!(out, "| {title} | {seconds:.2} | {undecided} |");
    }
    out
}
