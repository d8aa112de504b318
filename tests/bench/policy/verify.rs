//! Verifications a second on one core, by kind: `rreg_policy` in this process, without any registry.
//!
//! Signatures by key are made here. Keyless bundles and Notation's envelopes are the vectors of their projects, where
//! they lie beside this one or where RREG_VECTORS says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use rreg_oci::Digest;
use rreg_policy::notation::{NotationTrust, Revocation, TrustStores};
use rreg_policy::sign::{SigningKey, image_bundle};
use rreg_policy::sigstore::SigstoreRoot;
use rreg_policy::{Evidence, EvidenceKind, Limits, TrustRoot, Verdict, VerifyContext};
use serde_json::{Value, json};

use super::{Bench, Failure};

/// When the certificate of the Notation vectors held.
const THEN: &str = "2024-01-01T00:00:00Z";

struct Case {
    title: &'static str,
    evidence: Evidence,
    trust: TrustRoot,
    now: DateTime<Utc>,
}

pub(super) fn measure(bench: &Bench) -> Result<String, Failure> {
    let mut cases = by_key()?;
    match vectors() {
        Some(vectors) => {
            cases.extend(keyless(&vectors.join("sigstore"))?);
            cases.extend(notation(&vectors.join("notation/internal/testdata"))?);
        }
        None => anstream::eprintln!("no vectors (RREG_VECTORS=DIR): neither keyless bundles nor Notation"),
    }
    let mut out = "Verifications on one core, the whole judgement from bytes to verdict\n\n\
                   | | 1/s | µs |\n|---|--:|--:|\n"
        .to_owned();
    for case in &cases {
        let seconds = case.seconds(bench.sizes.verifying)?;
        anstream::eprintln!("{}: {:.0}/s", case.title, 1.0 / seconds);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| {} | {:.0} | {:.0} |", case.title, 1.0 / seconds, seconds * 1e6);
    }
    Ok(out)
}

impl Case {
    fn new(title: &'static str, evidence: Evidence, trust: TrustRoot) -> Self {
        Self { title, evidence, trust, now: Utc::now() }
    }

    /// Of one verification, over as many as fit in `time`.
    fn seconds(&self, time: Duration) -> Result<f64, Failure> {
        let (limits, revocation) = (Limits::default(), Revocation::off());
        let context = VerifyContext { now: self.now, limits: &limits, revocation: &revocation };
        let verify = || -> Result<(), Failure> {
            let found = rreg_policy::verify(&self.evidence, &self.trust, &context);
            match found.verdict {
                Verdict::Valid => Ok(()),
                _ => Err(format!("{} is not valid: {:?}", self.title, found.failure()).into()),
            }
        };
        let warm = Instant::now();
        while warm.elapsed() < time / 4 {
            verify()?;
        }
        let (mut count, started) = (0_u32, Instant::now());
        while started.elapsed() < time {
            verify()?;
            count += 1;
        }
        Ok(started.elapsed().as_secs_f64() / f64::from(count.max(1)))
    }
}

fn evidence(kind: EvidenceKind, subject: Digest, media_type: &str, content: Vec<u8>) -> Evidence {
    Evidence {
        subject,
        manifest: subject,
        kind,
        media_type: media_type.to_owned(),
        content: content.into(),
        annotations: BTreeMap::new(),
        found: BTreeSet::new(),
    }
}

fn by_key() -> Result<Vec<Case>, Failure> {
    let key = SigningKey::generate()?;
    let subject = Digest::sha256(b"an image's manifest");
    let bundle = evidence(EvidenceKind::Bundle, subject, "", image_bundle(&key, &subject)?);
    let payload = json!({
        "critical": {
            "identity": {"docker-reference": "registry.example/acme/app"},
            "image": {"docker-manifest-digest": subject.to_string()},
            "type": "cosign container image signature",
        },
        "optional": null,
    });
    let payload = payload.to_string().into_bytes();
    let signature = STANDARD.encode(key.sign(&payload)?);
    let mut simple = evidence(EvidenceKind::CosignSignature, subject, "", payload);
    simple.annotations.insert("dev.cosignproject.cosign/signature".to_owned(), signature);
    let trust = || TrustRoot::Key(key.public().clone());
    Ok(vec![
        Case::new("Sigstore bundle 0.3 by key (P-256)", bundle, trust()),
        Case::new("cosign 2 signature by key (P-256)", simple, trust()),
    ])
}

/// The vectors, if they are here.
fn vectors() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let vectors = std::env::var_os("RREG_VECTORS").map_or(beside, PathBuf::from);
    vectors.is_dir().then_some(vectors)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

fn keyless(vectors: &Path) -> Result<Vec<Case>, Failure> {
    let artifact = Digest::sha256(&read(&vectors.join("a.txt"))?);
    let mut cases = Vec::new();
    for (title, case) in [
        ("keyless bundle 0.3, public-good, Rekor 1", "happy-path-v0.3"),
        ("keyless DSSE bundle, Rekor 2 and timestamp", "rekor2-dsse-happy-path"),
    ] {
        let directory = vectors.join(case);
        let root = match directory.join("trusted_root.json") {
            file if file.is_file() => SigstoreRoot::parse(&read(&file)?)?,
            _ => SigstoreRoot::public_good()?,
        };
        let bundle = read(&directory.join("bundle.sigstore.json"))?;
        let piece = evidence(EvidenceKind::Bundle, artifact, "", bundle);
        cases.push(Case::new(title, piece, TrustRoot::Sigstore(root.into())));
    }
    Ok(cases)
}

fn notation(vectors: &Path) -> Result<Vec<Case>, Failure> {
    let index: Value = serde_json::from_slice(&read(&vectors.join("oci-layout/index.json"))?)?;
    let digest = index["manifests"][0]["digest"].as_str().ok_or("no digest in the layout of the vectors")?;
    let subject: Digest = digest.parse()?;
    let jws = read(&vectors.join("jws_signature.sig"))?;
    // One certificate, which signed itself and both envelopes.
    let envelope: Value = serde_json::from_slice(&jws)?;
    let root =
        STANDARD.decode(envelope["header"]["x5c"][0].as_str().ok_or("no certificate in the vector")?)?;
    let stores = TrustStores::new([("ca", "own", "root.der", root.as_slice())])?;
    let trust = std::sync::Arc::new(NotationTrust::strict("own", &stores)?);
    let cose = read(&vectors.join("cose_signature.sig"))?;
    let now: DateTime<Utc> = THEN.parse()?;
    Ok([("Notation, JWS", "application/jose+json", jws), ("Notation, COSE", "application/cose", cose)]
        .into_iter()
        .map(|(title, media, content)| Case {
            now,
            ..Case::new(
                title,
                evidence(EvidenceKind::Notation, subject, media, content),
                TrustRoot::Notation(trust.clone()),
            )
        })
        .collect())
}
