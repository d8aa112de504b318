//! The vectors of the reference implementation. What each must give stands in its own tests: notation-go
//! `verifier/*_test.go`, notation-core-go `signature/*/conformance_test.go`, `revocation/crl/fetcher_test.go`.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use coset::{CoseSign1, TaggedCborSerializable};
use rreg_oci::Digest;

use super::super::certificate::{Certificate, FRESHEST_CRL};
use super::super::chain::{self, Purpose};
use super::super::crl::Crl;
use super::super::envelope::{Envelope, Scheme};
use super::super::timestamp::{self, TimestampError};
use super::super::{cose, jws};
use super::{COSE, JWS, evidence, time};
use crate::context::VerifyContext;
use crate::limits::Limits;
use crate::notation::{NotationTrust, Revocation, TrustPolicyDocument, TrustStores, verify, wanted};
use crate::verdict::{Verdict, Verification};

/// The vectors, where they are at hand.
#[allow(clippy::print_stderr, reason = "who runs the tests is told what was not run")]
fn vectors() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let root = std::env::var_os("RREG_VECTORS").map_or(beside, PathBuf::from).join("notation");
    if root.is_dir() {
        return Some(root);
    }
    eprintln!("passed over: no vectors at {}", root.display());
    None
}

fn read(root: &std::path::Path, path: &str) -> Vec<u8> {
    std::fs::read(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files of a store that must be good.
fn add(stores: &mut TrustStores, root: &std::path::Path, kind: &str, name: &str) -> Result<(), String> {
    let folder = root.join("verifier/testdata/truststore/x509").join(kind).join(name);
    for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let entry = entry.unwrap();
        let file = entry.file_name().to_string_lossy().into_owned();
        let content = std::fs::read(entry.path()).unwrap();
        stores.add(kind.parse().unwrap(), name, &file, &content).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn trust(root: &std::path::Path, tsa: Option<&str>, when: &str) -> NotationTrust {
    let mut stores = TrustStores::default();
    add(&mut stores, root, "ca", "valid-trust-store").unwrap();
    let mut names = vec!["ca:valid-trust-store".to_owned()];
    if let Some(name) = tsa {
        add(&mut stores, root, "tsa", name).unwrap();
        names.push(format!("tsa:{name}"));
    }
    let document = serde_json::json!({"version": "1.0", "trustPolicies": [{
        "name": "test-timestamp", "registryScopes": ["*"],
        "signatureVerification": {"level": "strict", "verifyTimestamp": when},
        "trustStores": names, "trustedIdentities": ["x509.subject: C=US, ST=WA, L=Seattle, O=Notary"],
    }]});
    let document = TrustPolicyDocument::parse(&serde_json::to_vec(&document).unwrap()).unwrap();
    document.statements(&stores).unwrap().remove(0)
}

fn judge(
    media: &str,
    content: &[u8],
    digest: &str,
    trust: &NotationTrust,
    revocation: &Revocation,
    now: DateTime<Utc>,
) -> Verification {
    let limits = Limits::default();
    let context = VerifyContext { now, limits: &limits, revocation };
    verify(&evidence(media, content, &digest.parse().unwrap()), trust, &context)
}

const STAMPED: &str = "sha256:c0669ef34cdc14332c0f1ab0c2c01acb91d96014b172f1a76f3a39e63d1f0bda";
const SAMPLE: &str = "sha256:60043cf45eaebc4c0867fea485a039b598f52fd09fd5b07b0b2d2f88fad9d74e";
const PLUGIN: &str = "sha256:fe7e9333395060c2f5e63cf36a38fba10176f183b4163a5794e081a480abba5f";

#[test]
fn envelopes() {
    let Some(root) = vectors() else { return };
    let trust = trust(&root, None, "always");
    let now = time("2025-06-01T00:00:00Z");
    let off = Revocation::off();
    let mock = |file: &str, digest| {
        let content = read(&root, &format!("internal/mock/testdata/{file}"));
        judge(JWS, &content, digest, &trust, &off, now)
    };
    let valid = mock("ca_valid_sig_env.json", SAMPLE);
    assert_eq!(valid.verdict, Verdict::Valid, "{valid:?}");
    assert_eq!(mock("ca_valid_sig_env.json", PLUGIN).verdict, Verdict::Invalid);
    let invalid = mock("ca_invalid_sig_env.json", SAMPLE);
    // Its payload is not even base64url.
    assert_eq!((invalid.verdict, invalid.failure().unwrap().name.as_ref()), (Verdict::Invalid, "envelope"));
    for version in [
        "compatible_pluginver_sig_env_0.0.9",
        "compatible_pluginver_sig_env_1.0.0",
        "compatible_pluginver_sig_env_1.0.0-alpha",
        "compatible_pluginver_sig_env_1.0.0-alpha.beta",
        "incompatible_pluginver_sig_env_1.0.1",
        "incompatible_pluginver_sig_env_1.0.9",
        "incompatible_pluginver_sig_env_1.1.0-alpha",
        "incompatible_pluginver_sig_env_1.2.3",
    ] {
        let found = mock(&format!("ca_{version}.json"), PLUGIN);
        assert_eq!(found.verdict, Verdict::Unverifiable, "{version}: {found:?}");
        assert_eq!(found.failure().unwrap().name, "critical-attributes");
    }
    assert_eq!(mock("ca_plugin_sig_env.json", SAMPLE).verdict, Verdict::Unverifiable);
    // Its certificate is in no store here, and ended a day after it was signed.
    let metadata = "sha256:5a07385af4e6b6af81b0ebfd435aedccdfa3507f0609c658209e1aba57159b2b";
    assert_ne!(mock("sig_env_with_metadata.json", metadata).verdict, Verdict::Valid);
}

#[test]
fn an_image_in_a_layout() {
    let Some(root) = vectors() else { return };
    let index: serde_json::Value =
        serde_json::from_slice(&read(&root, "internal/testdata/oci-layout/index.json")).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    let manifest = read(&root, &format!("internal/testdata/oci-layout/blobs/{}", digest.replace(':', "/")));
    assert_eq!(Digest::sha256(&manifest).to_string(), digest);
    let limits = Limits::default();
    for (media, file) in [(JWS, "jws_signature.sig"), (COSE, "cose_signature.sig")] {
        let content = read(&root, &format!("internal/testdata/{file}"));
        let envelope = Envelope::parse(media, &content, &limits).unwrap();
        assert_eq!(envelope.check_integrity(), Ok(()), "{file}");
        assert_eq!(envelope.target().unwrap().to_string(), digest, "{file}");
        let anchor = envelope.chain.last().unwrap().der();
        let stores = TrustStores::new([("ca", "own", "root.der", anchor)]).unwrap();
        let trust = NotationTrust::strict("own", &stores).unwrap();
        let found =
            judge(media, &content, digest, &trust, &Revocation::check(), time("2024-01-01T00:00:00Z"));
        assert_eq!(found.verdict, Verdict::Valid, "{file}: {found:?}");
        for at in (0..content.len()).step_by(11) {
            let mut changed = content.clone();
            changed[at] ^= 1;
            let changed =
                judge(media, &changed, digest, &trust, &Revocation::check(), time("2024-01-01T00:00:00Z"));
            // The name of the signing agent is signed by nobody.
            assert!(changed.verdict != Verdict::Valid || changed.signer == found.signer, "{file}: byte {at}");
        }
    }
}

#[test]
fn time_stamps() {
    let Some(root) = vectors() else { return };
    let now = time("2025-06-01T00:00:00Z");
    let folder = "verifier/testdata/timestamp/sigEnv";
    let lenient = Revocation::check().accepting_unknown();
    let both = |tsa, when, jws: &str, cose: &str, expected: Verdict| {
        let trust = trust(&root, tsa, when);
        for (media, file) in [(JWS, jws), (COSE, cose)] {
            let content = read(&root, &format!("{folder}/{file}"));
            let found = judge(media, &content, STAMPED, &trust, &lenient, now);
            assert_eq!(found.verdict, expected, "{tsa:?} {when} {file}: {found:?}");
        }
    };
    let (good, ended) = (
        ("jwsWithTimestamp.sig", "coseWithTimestamp.sig"),
        ("jwsExpiredWithTimestamp.sig", "coseExpiredWithTimestamp.sig"),
    );
    let tsa = Some("test-timestamp");
    for when in ["always", "afterCertExpiry"] {
        both(tsa, when, good.0, good.1, Verdict::Valid);
    }
    both(None, "always", good.0, good.1, Verdict::Valid);
    both(None, "always", ended.0, ended.1, Verdict::Unverifiable.max(Verdict::Invalid));
    both(Some("test-mismatch"), "always", good.0, good.1, Verdict::Unverifiable);
    let plain = read(&root, &format!("{folder}/withoutTimestamp.sig"));
    for (when, expected) in [("always", Verdict::Invalid), ("afterCertExpiry", Verdict::Valid)] {
        let found = judge(JWS, &plain, STAMPED, &trust(&root, tsa, when), &lenient, now);
        assert_eq!(found.verdict, expected, "{when}: {found:?}");
    }
    // The authority's own certificates name whom to ask.
    let limits = Limits::default();
    let context = VerifyContext { now, limits: &limits, revocation: &Revocation::check() };
    let content = read(&root, &format!("{folder}/{}", good.0));
    let asked =
        wanted(&evidence(JWS, &content, &STAMPED.parse().unwrap()), &trust(&root, tsa, "always"), &context);
    assert!(!asked.is_empty());
}

#[test]
fn a_stamp_proves_that_the_certificate_held() {
    let Some(root) = vectors() else { return };
    let now = time("2025-06-01T00:00:00Z");
    for (media, file) in [(JWS, "jwsExpiredWithTimestamp.sig"), (COSE, "coseExpiredWithTimestamp.sig")] {
        let content = read(&root, &format!("verifier/testdata/timestamp/sigEnv/{file}"));
        let envelope = Envelope::parse(media, &content, &Limits::default()).unwrap();
        let anchor = read(&root, "verifier/testdata/truststore/x509/tsa/test-timestamp/globalsignRoot.cer");
        let stores = TrustStores::new([
            ("ca", "own", "root.der", envelope.chain.last().unwrap().der()),
            ("tsa", "own", "globalsignRoot.cer", anchor.as_slice()),
        ]);
        let trust = NotationTrust::strict("own", &stores.unwrap()).unwrap();
        let lenient = Revocation::check().accepting_unknown();
        let found = judge(media, &content, STAMPED, &trust, &lenient, now);
        assert_eq!(found.verdict, Verdict::Valid, "{file}: {found:?}");
        assert!(found.signed_at.is_some());
    }
}

#[test]
fn tokens_that_prove_nothing() {
    let Some(root) = vectors() else { return };
    let anchor = read(&root, "verifier/testdata/truststore/x509/tsa/test-timestamp/globalsignRoot.cer");
    let anchors = [read_certificate(&anchor)];
    let folder = "verifier/testdata/timestamp/countersignature";
    let limits = Limits::default();
    for (file, message, why) in [
        ("TimeStampToken.p7s", "mismatch", "another signature"),
        ("TimeStampTokenWithoutCertificate.p7s", "notation", "does not carry"),
        ("TimeStampTokenWithInvalideContentType.p7s", "notation", "no TSTInfo"),
        ("TimeStampTokenWithInvalidTSTInfo.p7s", "notation", "TSTInfo cannot be read"),
    ] {
        let token = read(&root, &format!("{folder}/{file}"));
        match timestamp::verify(&token, message.as_bytes(), (&anchors, &[]), &limits) {
            Err(TimestampError::Wrong(found)) => assert!(found.contains(why), "{file}: {found}"),
            other => panic!("{file}: {other:?}"),
        }
    }
    let broken = read(&root, "internal/timestamp/testdata/TimeStampTokenWithInvalidSignature.p7s");
    let anchors = [read_certificate(&read(&root, "internal/timestamp/testdata/tsaRootCert.cer"))];
    assert!(timestamp::verify(&broken, b"notation", (&anchors, &[]), &limits).is_err());
}

fn read_certificate(content: &[u8]) -> Certificate {
    match der::pem::decode_vec(content) {
        Ok((_, der)) => Certificate::from_der(&der).unwrap(),
        Err(_) => Certificate::from_der(content).unwrap(),
    }
}

#[test]
fn stores() {
    let Some(root) = vectors() else { return };
    for (kind, name) in [
        ("ca", "valid-trust-store"),
        ("ca", "valid-trust-store-2"),
        ("ca", "valid-trust-store-self-signed"),
        ("signingAuthority", "valid-trust-store"),
        ("signingAuthority", "valid-trust-store-2"),
        ("tsa", "test-timestamp"),
        ("tsa", "test-mismatch"),
    ] {
        assert_eq!(add(&mut TrustStores::default(), &root, kind, name), Ok(()), "{kind}:{name}");
    }
    for (kind, name, file) in [
        ("ca", "trust-store-with-leaf-certs", "non-ca.crt"),
        ("ca", "trust-store-with-leaf-certs-in-single-file", "RootAndLeafCerts.crt"),
        ("ca", "trust-store-with-invalid-certs", "invalid"),
        ("tsa", "test-nonCA", "wabbit-networks.io.crt"),
        ("tsa", "test-nonSelfIssued", "nonSelfIssued.crt"),
    ] {
        let error = add(&mut TrustStores::default(), &root, kind, name).unwrap_err();
        assert!(error.contains(file), "{error}");
    }
    let several = [
        ("multi-pem.crt", true),
        ("multi-der.der", true),
        ("pem.crt", true),
        ("der.der", true),
        ("invalid", false),
    ];
    for (file, good) in several {
        let content = read(&root, &format!("x509/testdata/{file}"));
        let found = TrustStores::new([("ca", "some", file, content.as_slice())]);
        assert_eq!(found.is_ok(), good, "{file}: {found:?}");
    }
}

#[test]
fn conformance() {
    let Some(root) = vectors() else { return };
    let value: serde_json::Value =
        serde_json::from_slice(&read(&root, "signature/jws/testdata/conformance.json")).unwrap();
    let protected = URL_SAFE_NO_PAD.decode(value["protected"].as_str().unwrap()).unwrap();
    let protected = jws::read_protected(&protected).unwrap();
    assert_eq!((protected.scheme, protected.algorithm.name()), (Scheme::X509, "ES256"));
    assert_eq!(protected.signing_time, time("2022-08-29T13:50:00Z"));
    assert_eq!(protected.expiry, Some(time("2099-08-30T13:50:00Z")));
    let critical: Vec<&str> =
        protected.attributes.iter().filter(|one| one.critical).map(|one| one.name.as_str()).collect();
    assert_eq!((critical, protected.attributes.len()), (vec!["signedCritKey1"], 5));

    let value: serde_json::Value =
        serde_json::from_slice(&read(&root, "signature/cose/testdata/conformance.json")).unwrap();
    let hex = value["expectedOutput"]["cborHex"].as_str().unwrap();
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    let message = CoseSign1::from_tagged_slice(&bytes).unwrap();
    let protected = cose::read_protected(&message.protected.header).unwrap();
    assert_eq!((protected.scheme, protected.algorithm.name()), (Scheme::X509, "PS384"));
    assert_eq!(protected.signing_time.timestamp(), value["signingTime"].as_i64().unwrap());
    assert_eq!(protected.expiry.map(|time| time.timestamp()), value["expiry"].as_i64());
    let critical: Vec<&str> =
        protected.attributes.iter().filter(|one| one.critical).map(|one| one.name.as_str()).collect();
    assert_eq!((critical, protected.attributes.len()), (vec!["signedCritKey1"], 2));
}

#[test]
fn revocation_lists() {
    let Some(root) = vectors() else { return };
    let delta = read(&root, "revocation/crl/testdata/delta.crl");
    assert_eq!(Crl::parse(&delta).unwrap().freshest(), Ok(vec![]));
    let several = read(&root, "revocation/crl/testdata/crlWithMultipleFreshestCRLs.crl");
    let urls = Crl::parse(&several).unwrap().freshest().unwrap();
    assert!(urls.len() > 1, "{urls:?}");
}

#[test]
fn certificates() {
    let Some(root) = vectors() else { return };
    let one = |file: &str| read_certificate(&read(&root, file));
    let chain =
        ["leaf", "intermediate", "root"].map(|name| one(&format!("x509/testdata/timestamp_{name}.crt")));
    assert_eq!(chain::check(&chain, Purpose::Timestamping), Ok(()));
    assert!(chain::check(&chain, Purpose::CodeSigning).is_err());
    assert!(chain::check(&chain[..2], Purpose::Timestamping).is_err());
    let built = chain::build(&chain[0], &chain[1..2], &chain[2..], chain[0].not_before(), 10);
    assert_eq!(built.as_deref(), Some(chain.as_slice()));
    assert_eq!(chain::build(&chain[0], &[], &chain[2..], chain[0].not_before(), 10), None);
    for name in [
        "DeltaCRL",
        "2DeltaCRL",
        "ZeroDeltaCRLURL",
        "NonURIDeltaCRL",
        "IncompleteFreshestCRL",
        "IncompleteFreshestCRL2",
    ] {
        let found = one(&format!("revocation/crl/testdata/certificateWith{name}.cer"));
        assert!(found.has(FRESHEST_CRL), "{name}");
    }
}
