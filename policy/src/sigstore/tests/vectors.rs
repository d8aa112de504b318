//! The cases of the Sigstore conformance suite, where they are at hand.

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

/// What the suite calls verified: valid, and by the identity that the case names.
fn verified(case: &Path, all: &Path) -> (bool, Option<Verification>) {
    let trust = match (std::fs::read(case.join("key.pub")), std::fs::read(case.join("trusted_root.json"))) {
        (Ok(pem), _) => match PublicKey::from_pem(&pem) {
            Ok(key) => TrustRoot::Key(key),
            Err(_) => return (false, None),
        },
        (_, Ok(json)) => match SigstoreRoot::parse(&json) {
            Ok(root) => TrustRoot::Sigstore(Arc::new(root)),
            Err(_) => return (false, None),
        },
        _ => TrustRoot::Sigstore(Arc::new(SigstoreRoot::public_good().unwrap())),
    };
    let artifact =
        std::fs::read(case.join("artifact")).or_else(|_| std::fs::read(all.join("a.txt"))).unwrap();
    let bundle = std::fs::read(case.join("bundle.sigstore.json")).unwrap();
    let limits = Limits::default();
    let revocation = crate::notation::Revocation::check();
    let context = VerifyContext { now: Utc::now(), limits: &limits, revocation: &revocation };
    let found = verify_blob(&bundle, Digest::sha256(&artifact), &trust, &context);
    let by = match found.valid_signer() {
        Some(Signer::Keyless { issuer, identity, .. }) => {
            *issuer == text(case, "issuer", ISSUER) && *identity == text(case, "identity", IDENTITY)
        }
        Some(Signer::Key { .. }) => matches!(trust, TrustRoot::Key(_)),
        _ => false,
    };
    (by, Some(found))
}

#[test]
fn every_case_of_the_suite_comes_out_right() {
    let Some(all) = directory() else {
        println!("passed over: no vectors");
        return;
    };
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in
        std::fs::read_dir(&all).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir())
    {
        let name = entry.file_name().unwrap().to_string_lossy().into_owned();
        let (valid, found) = verified(&entry, &all);
        let failure = found.as_ref().and_then(|found| found.failure().cloned());
        println!("{name}: {valid} {failure:?}");
        count += 1;
        if valid == name.ends_with("_fail") {
            wrong.push((name, found));
        }
        // A case that fails does so by a check with a name, and never by one that passed.
        else if let Some(found) = found.filter(|_| !valid) {
            assert!(found.verdict != Verdict::Valid || found.failure().is_none());
        }
    }
    assert!(wrong.is_empty() && count > 0, "{} of {count} are wrong: {wrong:#?}", wrong.len());
}
