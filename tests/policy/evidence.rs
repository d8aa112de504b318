//! What somebody attaches to an image, and how much of it: the registry and the gate say the same.

use std::fs;

use rreg_oci::media_type;
use serde_json::{Value, json};

use crate::harness::http::{Api, manifest};
use crate::harness::image::{Blob, Image, Stored};
use crate::harness::{Backend, Registry, tool};
use crate::trust::rreg;

use super::{Desk, refusal};

const CYCLONEDX: &str = "application/vnd.cyclonedx+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// A document that says that one package is there, under a licence.
fn bom(license: &str) -> Value {
    json!({"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"timestamp": "2026-01-01T00:00:00Z", "authors": [{"name": "a"}], "tools": [{"name": "t"}]},
        "components": [{"type": "library", "name": license, "version": "1", "purl": format!("pkg:npm/{license}@1"),
            "licenses": [{"license": {"id": license}}]}]})
}

/// Attaches content of a kind, which nobody signs.
async fn attach(api: &Api, repository: &str, image: &Image, kind: &str, content: Vec<u8>) {
    let (blob, config) = (Blob::new(content), Blob::new("{}"));
    for blob in [&blob, &config] {
        api.push_blob(repository, blob).await;
    }
    let referrer = Stored::new(&json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "artifactType": kind,
        "config": config.descriptor(media_type::OCI_EMPTY), "layers": [blob.descriptor(kind)],
        "subject": image.root().descriptor(),
    }));
    api.push_manifest(repository, &referrer.digest.to_string(), &referrer).await;
}

/// Attaches a document that is signed with a key.
fn attest(desk: &Desk, name: &str, license: &str, key: &str) {
    let file = desk.home.path(&format!("{license}.json"));
    fs::write(&file, bom(license).to_string()).unwrap();
    let file = file.display().to_string();
    rreg(&desk.home, &["attest", name, "--type", "cyclonedx", "--predicate", &file, "--key", key]);
}

/// What the registry says of a pull and the gate of the same image under the same policies; the message of a refusal.
async fn agreed(desk: &Desk, registry: &Registry, repository: &str) -> Option<String> {
    let name = format!("{}/{repository}:v1", registry.address());
    let policies = desk.policies.display().to_string();
    let answer = registry.api().get(manifest(repository, "v1")).send().await;
    let mut gate = desk.home.command(env!("CARGO_BIN_EXE_rreg"));
    let ran = gate.args(["gate", &name, "--policy", &policies, "--at", "pull"]).output().unwrap();
    let code = ran.status.code().unwrap();
    if answer.status == 200 {
        assert_eq!(code, 0, "{repository}: the gate refuses what the registry gives");
        return None;
    }
    let (message, _) = refusal(&answer);
    assert_eq!(code, 1, "{repository}: {message}");
    Some(message)
}

fn policy(name: &str, others: &str, rule: &str) -> String {
    format!(
        "apiVersion: rreg/v1\nkind: Policy\nname: {name}\nmatch: {{repos: [\"it/**/{name}\"]}}\nat: [pull]\n{others}\n\
         require:\n  - {rule}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_sbom_that_looks_better_lifts_nothing() {
    let desk = Desk::new();
    desk.set("anybody", &policy("anybody", "", "sbom: {denyLicenses: [AGPL-3.0*]}"));
    let rule = "sbom: {denyLicenses: [AGPL-3.0*], signedBy: {key: team.pub}}";
    desk.set("team", &policy("team", "", rule));
    for backend in [Backend::SqliteDirectory, Backend::PostgresS3] {
        let Some(registry) = desk.registry(backend).await else { return };
        let (api, base) = (registry.api(), registry.repository());
        let pushed = async |name: &str, kind: &str| {
            let repository = format!("{base}/{name}/{kind}");
            let image = Image::layered(&repository, 1);
            api.push(&repository, &image, Some("v1")).await;
            (format!("{}/{repository}:v1", registry.address()), repository, image)
        };
        let unsigned = async |(_, repository, image): &(String, String, Image), license: &str| {
            attach(&api, repository, image, CYCLONEDX, bom(license).to_string().into_bytes()).await;
        };
        let told = async |about: &(String, String, Image)| agreed(&desk, &registry, &about.1).await;

        let about = pushed("plain", "anybody").await;
        unsigned(&about, "MIT").await;
        assert_eq!(told(&about).await, None);
        unsigned(&about, "AGPL-3.0-only").await;
        unsigned(&about, "ISC").await;
        let message = told(&about).await.unwrap();
        assert!(message.contains("AGPL-3.0-only"), "{message}");
        // One that is signed is no better than what is so, nor worse.
        let about = pushed("signed", "anybody").await;
        attest(&desk, &about.0, "AGPL-3.0-only", &desk.team);
        unsigned(&about, "MIT").await;
        assert!(told(&about).await.unwrap().contains("AGPL-3.0-only"));

        let about = pushed("good", "team").await;
        unsigned(&about, "MIT").await;
        attest(&desk, &about.0, "ISC", &desk.other);
        let message = told(&about).await.unwrap();
        assert!(message.contains("signed by the key team.pub"), "{message}");
        attest(&desk, &about.0, "MIT", &desk.team);
        unsigned(&about, "AGPL-3.0-only").await;
        assert_eq!(told(&about).await, None, "strangers' documents are not looked at");
        attest(&desk, &about.0, "AGPL-3.0-only", &desk.team);
        assert!(told(&about).await.unwrap().contains("AGPL-3.0-only"));
        let about = pushed("bad", "team").await;
        attest(&desk, &about.0, "AGPL-3.0-only", &desk.team);
        attest(&desk, &about.0, "MIT", &desk.other);
        unsigned(&about, "MIT").await;
        assert!(told(&about).await.unwrap().contains("AGPL-3.0-only"));
    }
}

/// A limit that is passed refuses and says so, also where errors let images through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_is_looked_at_lets_nothing_through() {
    let desk = Desk::new();
    let rule = "signature: {any: [{key: team.pub}]}";
    desk.set("signed", &policy("signed", "onError: allow", rule));
    desk.set("licences", &policy("licences", "onError: allow", "sbom: {denyLicenses: [AGPL-3.0*]}"));
    let Some(registry) = desk.registry(Backend::SqliteDirectory).await else { return };
    let (api, base) = (registry.api(), registry.repository());
    let junk = async |repository: &str, image: &Image, kind: &str| {
        for n in 0..201 {
            attach(&api, repository, image, kind, format!("{{\"junk\": {n}}}").into_bytes()).await;
        }
    };
    // One that nobody can read is a stranger's as well as many.
    let repository = format!("{base}/one/signed");
    let image = Image::layered(&repository, 1);
    api.push(&repository, &image, Some("v1")).await;
    attach(&api, &repository, &image, BUNDLE, b"{\"junk\": 0}".to_vec()).await;
    let message = agreed(&desk, &registry, &repository).await.unwrap();
    assert!(message.contains("could not be checked"), "{message}");
    for (name, kind) in [("junk", "application/vnd.example.junk"), ("bundles", BUNDLE)] {
        let repository = format!("{base}/{name}/signed");
        let image = Image::layered(&repository, 1);
        api.push(&repository, &image, Some("v1")).await;
        junk(&repository, &image, kind).await;
        let message = agreed(&desk, &registry, &repository).await.unwrap();
        assert!(message.contains("200 manifests about"), "{message}");
        // Who signs it now is the newest, and what is no signature takes no place of one.
        desk.sign(&registry, &repository, "v1", &desk.team);
        assert_eq!(agreed(&desk, &registry, &repository).await, None);
    }
    let repository = format!("{base}/signed");
    let image = Image::layered(&repository, 1);
    api.push(&repository, &image, Some("v1")).await;
    attach(&api, &repository, &image, BUNDLE, vec![b' '; 9 << 20]).await;
    let message = agreed(&desk, &registry, &repository).await.unwrap();
    assert!(message.contains("more than the limit of"), "{message}");
    // Many tags, which policies may be about.
    let repository = format!("{base}/tags/signed");
    let image = Image::layered(&repository, 1);
    api.push(&repository, &image, Some("v1")).await;
    for n in 0..1001 {
        api.put_manifest(&repository, &format!("t{n}"), image.root()).expect(201).await;
    }
    let (message, _) = refusal(&api.get(manifest(&repository, "v1")).send().await);
    assert!(message.contains("more than 1000 tags"), "{message}");

    // A document that nobody can read may say anything, alone or beside one that looks good.
    let repository = format!("{base}/unread/licences");
    let image = Image::layered(&repository, 1);
    api.push(&repository, &image, Some("v1")).await;
    for (kind, content) in
        [("application/vnd.cyclonedx+xml", "<bom/>".to_owned()), (CYCLONEDX, bom("MIT").to_string())]
    {
        attach(&api, &repository, &image, kind, content.into_bytes()).await;
        let message = agreed(&desk, &registry, &repository).await.unwrap();
        assert!(message.contains("XML documents are not read"), "{message}");
    }

    // The honest document is older than two hundred others that say something else.
    let repository = format!("{base}/licences");
    let image = Image::layered(&repository, 1);
    api.push(&repository, &image, Some("v1")).await;
    attach(&api, &repository, &image, CYCLONEDX, bom("AGPL-3.0-only").to_string().into_bytes()).await;
    for n in 0..200 {
        let mut document = bom("MIT");
        document["version"] = json!(n + 2);
        attach(&api, &repository, &image, CYCLONEDX, document.to_string().into_bytes()).await;
    }
    let message = agreed(&desk, &registry, &repository).await.unwrap();
    assert!(message.contains("not every document was looked at"), "{message}");
}

/// `mode: warn` reaches people: in clients, in the trail and in the metrics.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn warnings_are_shown() {
    let desk = Desk::new();
    let text = super::signed("warn", "pull, promote, run");
    desk.set("signed", &text);
    let Some(registry) = desk.registry(Backend::SqliteDirectory).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let image = Image::layered(&repository, 1);
    api.push(&repository, &image, None).await;
    let stored = api.put_manifest(&repository, "v1", image.root()).expect(201).await;
    assert!(stored.header("warning").contains("not signed"), "{stored}");
    let name = format!("{}/{repository}:v1", registry.address());
    let out = desk.home.path("out").display().to_string();
    let policies = desk.policies.display().to_string();
    let fix = "sign the digest with the private key that belongs to team.pub";
    let pull: &[&str] = &["pull", &name, &out];
    let gate: &[&str] = &["gate", &name, "--policy", &policies, "--format", "json"];
    for arguments in [pull, gate] {
        let ran = desk.home.command(env!("CARGO_BIN_EXE_rreg")).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success(), "{arguments:?}: {said}");
        let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("warning: ")).collect();
        assert!(lines.iter().any(|line| line.contains("not signed") && line.ends_with(fix)), "{said}");
        let quiet = desk.home.command(env!("CARGO_BIN_EXE_rreg")).arg("-q").args(arguments).output().unwrap();
        assert!(!String::from_utf8_lossy(&quiet.stderr).contains("warning: "), "{quiet:?}");
    }
    // The form that the specification gives, which other clients show too.
    if tool::have(&["oras"]) {
        let mut oras = desk.home.command("oras");
        let ran = oras.args(["manifest", "fetch", "--plain-http", &name]).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(said.contains("not signed") && said.contains(fix), "{said}");
    }
    let metrics = String::from_utf8_lossy(&api.get("/metrics").expect(200).await.body).into_owned();
    for point in ["pull", "promote"] {
        let line = format!("rreg_policy_warnings_total{{point=\"{point}\",policy=\"signed\"}}");
        assert!(metrics.contains(&line), "{metrics}");
    }
    let (trail, code) = registry.rreg_json(&["audit"]);
    assert_eq!(code, 0);
    let trail = trail.to_string();
    assert!(trail.contains("warn at pull") && trail.contains("warned by signed"), "{trail}");
    assert!(registry.log().contains("allowed with a warning"), "the log says nothing");
}
