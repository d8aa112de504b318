//! Facts of a case: short forms made long, defaults filled in.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rreg_oci::Digest;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::evidence::{EvidenceKind, Found};
use crate::facts::{EvidenceFact, Fact, Facts, SbomFacts};
use crate::rules::words::moment;
use crate::rules::{PolicySet, TrustReference};
use crate::signer::Signer;
use crate::statement::{COSIGN_SIGN, Statement};
use crate::verdict::{Checks, Verdict, Verification};

/// What an image has where a case does not say.
const REPOSITORY: &str = "test/image";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Fields of a config that may stand in the image itself.
const OF_CONFIG: [&str; 4] = ["user", "labels", "created", "ports"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ShortSignature {
    key: Option<String>,
    keyless: Option<ShortKeyless>,
    certificate: Option<ShortCertificate>,
    notation: Option<ShortNotation>,
    verdict: Option<Verdict>,
    until: Option<String>,
    at: Option<String>,
}

#[derive(Deserialize)]
struct ShortKeyless {
    issuer: String,
    identity: String,
    #[serde(default)]
    claims: BTreeMap<String, String>,
    root: Option<String>,
}

#[derive(Deserialize)]
struct ShortCertificate {
    roots: String,
    #[serde(default)]
    subject: String,
    #[serde(default)]
    names: Value,
}

#[derive(Deserialize)]
struct ShortNotation {
    store: Option<String>,
    policy: Option<String>,
    #[serde(default)]
    subject: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ShortAttestation {
    predicate_type: String,
    #[serde(default)]
    predicate: Value,
    signed_by: Option<ShortSignature>,
    sbom: Option<SbomFacts>,
    unread: Option<String>,
}

/// The facts that a case gives, under the trust material of these policies.
pub(crate) fn facts(given: Value, policies: &PolicySet) -> Result<Facts, String> {
    let mut given = match given {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    let read = |value: Option<Value>| value.unwrap_or_else(|| json!([]));
    let signatures: Vec<ShortSignature> = parse(read(given.remove("signatures")), "signatures")?;
    let attestations: Vec<ShortAttestation> = parse(read(given.remove("attestations")), "attestations")?;
    let image = given.remove("image").unwrap_or_default();
    given.insert("image".into(), image_with_defaults(image));
    for name in ["sbom", "findings", "baseCreated"] {
        if let Some(value) = given.remove(name) {
            given.insert(name.into(), known(value));
        }
    }
    let mut facts: Facts = parse(Value::Object(given), "facts")?;
    for (index, signature) in signatures.into_iter().enumerate() {
        let statement = Statement {
            predicate_type: COSIGN_SIGN.into(),
            subjects: vec![facts.image.digest],
            predicate: Value::Null,
        };
        let evidence = evidence(&facts, index, Some(signature), statement, policies)?;
        facts.evidence.push(evidence);
    }
    for (index, attestation) in attestations.into_iter().enumerate() {
        let statement = Statement {
            predicate_type: attestation.predicate_type,
            subjects: vec![facts.image.digest],
            predicate: attestation.predicate,
        };
        let mut evidence = evidence(&facts, index, attestation.signed_by, statement, policies)?;
        if let Some(why) = attestation.unread {
            (evidence.statement, evidence.unread) = (None, Some(why));
        }
        if let Some(sbom) = attestation.sbom {
            carry(&mut facts, sbom, &evidence);
        }
        facts.evidence.push(evidence);
    }
    Ok(facts)
}

/// Adds what an attested SBOM says.
fn carry(facts: &mut Facts, sbom: SbomFacts, evidence: &EvidenceFact) {
    let sbom = SbomFacts { evidence: Some(evidence.id), ..sbom };
    if evidence.is_signed() {
        facts.signed_sboms.push(sbom.clone());
    }
    facts.sbom = Fact::Known(match std::mem::replace(&mut facts.sbom, Fact::Absent) {
        Fact::Known(known) => crate::contents::together(known, sbom),
        Fact::Absent | Fact::NotGathered(_) => sbom,
    });
}

fn parse<T: serde::de::DeserializeOwned>(value: Value, what: &str) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| format!("{what}: {error}"))
}

/// A fact may be given as its value: whoever writes a value knows it.
fn known(value: Value) -> Value {
    let tagged = match &value {
        Value::String(text) => text == "absent",
        Value::Object(fields) => fields.contains_key("known") || fields.contains_key("notGathered"),
        _ => false,
    };
    if tagged { value } else { json!({"known": value}) }
}

fn image_with_defaults(image: Value) -> Value {
    let mut image = match image {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    let config: Map<String, Value> =
        OF_CONFIG.iter().filter_map(|name| Some(((*name).to_owned(), image.remove(*name)?))).collect();
    if !config.is_empty() {
        image.entry("configs").or_insert_with(|| json!([config]));
    }
    image.entry("repository").or_insert_with(|| REPOSITORY.into());
    image.entry("mediaType").or_insert_with(|| MANIFEST.into());
    image.entry("digest").or_insert_with(|| Digest::sha256(b"").to_string().into());
    Value::Object(image)
}

fn evidence(
    facts: &Facts,
    index: usize,
    signature: Option<ShortSignature>,
    statement: Statement,
    policies: &PolicySet,
) -> Result<EvidenceFact, String> {
    let id = Digest::sha256(format!("{index} {}", statement.predicate_type).as_bytes());
    let mut fact = EvidenceFact {
        id,
        manifest: id,
        subject: facts.image.digest,
        kind: EvidenceKind::Statement,
        found: vec![Found::Referrer],
        statement: Some(Arc::new(statement)),
        unread: None,
        verifications: BTreeMap::new(),
    };
    let Some(signature) = signature else { return Ok(fact) };
    fact.kind = EvidenceKind::Bundle;
    if signature.notation.is_some() {
        fact.kind = EvidenceKind::Notation;
        fact.statement = None;
    }
    let verdict = signature.verdict.unwrap_or(Verdict::Valid);
    let until = signature.until.as_deref().map(moment).transpose()?;
    let at = signature.at.as_deref().map(moment).transpose()?;
    let (reference, signer) = signature.signer()?;
    let trust: Vec<(&TrustReference, Digest)> =
        policies.policies().iter().flat_map(|p| &p.trust).map(|(name, root)| (name, root.id())).collect();
    for (name, id) in &trust {
        let both_keys = matches!((name, &reference), (TrustReference::Key(_), TrustReference::Key(_)));
        let other = match both_keys {
            true => Verification::failed("signature", Verdict::Invalid, "it was made with another key"),
            false => {
                Verification::failed("trust", Verdict::Unverifiable, "it was made under other trust material")
            }
        };
        fact.verifications.insert(id.to_string(), other);
    }
    // A Notation trust policy has several, and is vouched for by whichever is asked.
    for (_, id) in trust.iter().filter(|(name, _)| **name == reference) {
        fact.verifications.insert(id.to_string(), verification(verdict, signer(*id), (at, until)));
    }
    Ok(fact)
}

fn verification(
    verdict: Verdict,
    signer: Signer,
    (at, until): (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
) -> Verification {
    let mut checks = Checks::new();
    match verdict {
        Verdict::Valid => checks.pass("signature", "as the case says"),
        // Of errors, the one that speaks through `onError`.
        Verdict::Error => checks.fail("revocation", Verdict::Error, "as the case says"),
        other => checks.fail("signature", other, "as the case says"),
    }
    let mut verification = checks.finish();
    verification.signer = Some(signer);
    (verification.signed_at, verification.holds_until) = (at, until);
    verification
}

type MakeSigner = Box<dyn Fn(Digest) -> Signer>;

impl ShortSignature {
    /// The trust material that it was made under, and who made it under a root of that material.
    fn signer(self) -> Result<(TrustReference, MakeSigner), String> {
        if let Some(key) = self.key {
            return Ok((TrustReference::Key(key), Box::new(|id| Signer::Key { key: id })));
        }
        if let Some(ShortKeyless { issuer, identity, claims, root }) = self.keyless {
            let reference = TrustReference::Sigstore(root.unwrap_or_else(|| "public-good".into()));
            return Ok((
                reference,
                Box::new(move |_| Signer::Keyless {
                    issuer: issuer.clone(),
                    identity: identity.clone(),
                    claims: claims.clone(),
                }),
            ));
        }
        if let Some(ShortCertificate { roots, subject, names }) = self.certificate {
            let names = match names {
                Value::String(name) => vec![name],
                Value::Null => Vec::new(),
                other => parse(other, "certificate.names")?,
            };
            let reference = TrustReference::Certificates(roots);
            return Ok((
                reference,
                Box::new(move |root| Signer::Certificate {
                    subject: subject.clone(),
                    names: names.clone(),
                    root,
                }),
            ));
        }
        let ShortNotation { store, policy, subject } = self.notation.ok_or("a signature says nobody")?;
        let name = store.clone().or_else(|| policy.clone()).unwrap_or_default();
        let reference = match store {
            Some(store) => TrustReference::Notation { store },
            None => TrustReference::NotationPolicy(policy.unwrap_or_default()),
        };
        let store = if name.contains(':') { name } else { format!("ca:{name}") };
        let scheme = "notary.x509".to_owned();
        Ok((
            reference,
            Box::new(move |root| Signer::Notation {
                subject: subject.clone(),
                scheme: scheme.clone(),
                store: store.clone(),
                root,
            }),
        ))
    }
}
