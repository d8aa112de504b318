//! Keyless signatures of a private Sigstore, made on the spot, at a running registry: what is right is let through, and
//! one mutation of each part is refused with what is wrong and who signed.

#[allow(dead_code, unreachable_pub, reason = "the policy crate's own tests use the rest")]
#[path = "../../../policy/src/sigstore/tests/mint.rs"]
mod mint;
#[allow(dead_code, reason = "the policy crate's own tests use the rest")]
#[path = "../../../policy/src/sigstore/tests/mint_log.rs"]
mod mint_log;
#[allow(dead_code, reason = "the policy crate's own tests use the rest")]
#[path = "../../../policy/src/sigstore/tests/mint_tsa.rs"]
mod mint_tsa;

use chrono::{TimeDelta, Utc};
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use rreg_oci::{Descriptor, Digest, media_type};
use rreg_policy::COSIGN_SIGN;
use rreg_policy::sign::{BUNDLE_V03, bundle_manifest};
use serde_json::{Value, json};

use self::mint::{IDENTITY, ISSUER, Mint, Plan, Sct};
use super::{Desk, refusal};
use crate::harness::http::manifest;
use crate::harness::image::{Blob, Image, Stored};
use crate::harness::{Backend, Registry};

/// A policy that wants the release workflow's signature under the private instance.
fn policy() -> String {
    format!(
        "apiVersion: rreg/v1\nkind: Policy\nname: released\nmatch: {{repos: [\"it/**\"]}}\nat: [pull]\nmode: enforce\n\
         onError: deny\nrequire:\n  - signature:\n      any:\n        - keyless:\n            issuer: {ISSUER}\n            \
         identity: {IDENTITY}\n            root: root.json\n"
    )
}

fn statement(subject: &Digest) -> Vec<u8> {
    let subject = json!({"digest": {subject.algorithm().as_str(): subject.hex()}});
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [subject],
        "predicateType": COSIGN_SIGN,
        "predicate": {},
    });
    statement.to_string().into_bytes()
}

/// Attaches a bundle to an image, as cosign does. Gives the manifest that carries it.
async fn attach(registry: &Registry, repository: &str, image: &Image, bundle: &Value) -> String {
    let bundle = Blob::new(bundle.to_string());
    let root = image.root();
    let subject = Descriptor::new(media_type::OCI_MANIFEST, root.digest, root.bytes.len() as u64);
    let carrier = bundle_manifest(&bundle.bytes, &subject, COSIGN_SIGN, Utc::now()).unwrap();
    let carrier = Stored::new(&serde_json::from_slice::<Value>(&carrier).unwrap());
    assert!(carrier.bytes.windows(BUNDLE_V03.len()).any(|part| part == BUNDLE_V03.as_bytes()));
    for blob in [bundle, Blob::new("{}")] {
        registry.api().push_blob(repository, &blob).await;
    }
    let digest = carrier.digest.to_string();
    registry.api().push_manifest(repository, &digest, &carrier).await;
    digest
}

/// What is changed of a right signature, and what the refusal says.
type Case = (&'static str, fn(&mut Plan), &'static str);

const CASES: [Case; 7] = [
    (
        "another workflow",
        |plan| plan.identities = vec![SanType::URI("https://github.com/evil/app".try_into().unwrap())],
        "signed by https://github.com/evil/app",
    ),
    (
        "another issuer",
        |plan| plan.issuer = Some("https://issuer.example".into()),
        "by https://issuer.example",
    ),
    ("no certificate timestamp", |plan| plan.sct = Sct::Missing, "sct"),
    ("a forged certificate timestamp", |plan| plan.sct = Sct::Forged, "sct"),
    ("a certificate for servers", |plan| plan.usage = ExtendedKeyUsagePurpose::ServerAuth, "certificate"),
    ("an ended certificate", |plan| plan.until = plan.logged - TimeDelta::minutes(1), "certificate"),
    (
        "logged before the certificate",
        |plan| {
            plan.logged = plan.from - TimeDelta::minutes(1);
            plan.stamped = None;
        },
        "certificate",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_instance() {
    let desk = Desk::new();
    let mint = Mint::new("acme signing", Utc::now());
    std::fs::write(desk.policies.join("root.json"), mint.trusted_root().to_string()).unwrap();
    desk.set("released", &policy());
    let Some(registry) = desk.registry(Backend::SqliteDirectory).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    for (name, change, said) in CASES {
        let image = Image::layered(&format!("{repository}/{name}"), 1);
        api.push(&repository, &image, Some("v1")).await;
        let mut plan = Plan::at(mint.now);
        change(&mut plan);
        let bundle = mint.attest(&plan, &statement(&image.root().digest));
        attach(&registry, &repository, &image, &bundle).await;
        let (message, _) = refusal(&api.get(manifest(&repository, "v1")).send().await);
        assert!(message.contains(said), "{name}: {message}");
    }
    let image = Image::layered(&repository, 1);
    api.push(&repository, &image, Some("v1")).await;
    refusal(&api.get(manifest(&repository, "v1")).send().await);
    // Of another instance with the same names.
    let stranger = Mint::new("acme signing", Utc::now());
    let bundle = stranger.attest(&Plan::at(stranger.now), &statement(&image.root().digest));
    let attached = attach(&registry, &repository, &image, &bundle).await;
    refusal(&api.get(manifest(&repository, "v1")).send().await);
    api.delete(manifest(&repository, &attached)).expect(202).await;
    // About another image.
    let other = Image::layered(&format!("{repository}/other"), 1);
    let bundle = mint.attest(&Plan::at(mint.now), &statement(&other.root().digest));
    attach(&registry, &repository, &image, &bundle).await;
    let (message, _) = refusal(&api.get(manifest(&repository, "v1")).send().await);
    assert!(message.contains("subject"), "{message}");
    // And the right one.
    let bundle = mint.attest(&Plan::at(mint.now), &statement(&image.root().digest));
    attach(&registry, &repository, &image, &bundle).await;
    api.get(manifest(&repository, "v1")).expect(200).await;
}
