//! The cases of the Sigstore conformance suite, where they are at hand.

#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::Utc;
use rreg_oci::Digest;

use crate::key::PublicKey;
use crate::sigstore::{SigstoreRoot, verify_blob};
use crate::{Limits, Signer, TrustRoot, Verdict, Verification, VerifyContext};

const IDENTITY: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";

fn directory() -> Option<PathBuf> {
    let given = std::env::var_os("RREG_VECTORS").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let directory = given.unwrap_or(beside).join("sigstore");
    directory.is_dir().then_some(directory)
}

fn text(case: &Path, name: &str, default: &str) -> String {
    std::fs::read_to_string(case.join(name)).map(|text| text.trim().to_owned()).unwrap_or(default.to_owned())
}

/// A case: bundle, digest of the artifact and trust root. `None` where key or root cannot be read.
struct Case {
    bundle: Vec<u8>,
    artifact: Digest,
    trust: TrustRoot,
}

fn read(case: &Path, all: &Path) -> Option<Case> {
    let trust = match (std::fs::read(case.join("key.pub")), std::fs::read(case.join("trusted_root.json"))) {
        (Ok(pem), _) => TrustRoot::Key(PublicKey::from_pem(&pem).ok()?),
        (_, Ok(json)) => TrustRoot::Sigstore(Arc::new(SigstoreRoot::parse(&json).ok()?)),
        _ => TrustRoot::Sigstore(Arc::new(SigstoreRoot::public_good().unwrap())),
    };
    let artifact =
        std::fs::read(case.join("artifact")).or_else(|_| std::fs::read(all.join("a.txt"))).unwrap();
    let bundle = std::fs::read(case.join("bundle.sigstore.json")).unwrap();
    Some(Case { bundle, artifact: Digest::sha256(&artifact), trust })
}

fn judged(case: &Case, bundle: &[u8]) -> Verification {
    let limits = Limits::default();
    let context =
        VerifyContext { now: Utc::now(), limits: &limits, revocation: &crate::notation::Revocation::check() };
    verify_blob(bundle, case.artifact, &case.trust, &context)
}

/// What the suite calls verified: valid, and by the identity that the case names.
fn verified(directory: &Path, all: &Path) -> (bool, Option<Verification>) {
    let Some(case) = read(directory, all) else { return (false, None) };
    let found = judged(&case, &case.bundle);
    let by = match found.valid_signer() {
        Some(Signer::Keyless { issuer, identity, .. }) => {
            *issuer == text(directory, "issuer", ISSUER) && *identity == text(directory, "identity", IDENTITY)
        }
        Some(Signer::Key { .. }) => matches!(case.trust, TrustRoot::Key(_)),
        _ => false,
    };
    (by, Some(found))
}

fn cases(all: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(all).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir()).collect()
}

#[test]
fn every_case_of_the_suite_comes_out_right() {
    let Some(all) = directory() else {
        println!("passed over: no vectors");
        return;
    };
    let mut wrong = Vec::new();
    for case in cases(&all) {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        let (valid, found) = verified(&case, &all);
        println!("{name}: {valid} {:?}", found.as_ref().and_then(Verification::failure));
        if valid == name.ends_with("_fail") {
            wrong.push((name, found));
        }
    }
    assert!(wrong.is_empty(), "{} are wrong: {wrong:#?}", wrong.len());
}

#[test]
fn nothing_that_is_right_is_right_about_another_artifact() {
    let Some(all) = directory() else {
        println!("passed over: no vectors");
        return;
    };
    for path in cases(&all) {
        let Some(mut case) = read(&path, &all) else { continue };
        case.artifact = Digest::sha256(b"another artifact");
        let found = judged(&case, &case.bundle);
        assert_ne!(found.verdict, Verdict::Valid, "{path:?} {found:#?}");
    }
}
