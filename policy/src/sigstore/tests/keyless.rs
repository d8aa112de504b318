//! Keyless signatures of a private Sigstore: one that is right, and one mutation of each part.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use rreg_oci::Digest;
use serde_json::{Value, json};

use super::mint::{IDENTITY, ISSUER, Mint, Plan, Sct};
use super::{failed, judged, statement_about};
use crate::{Signer, TrustRoot, Verdict, Verification};

struct World {
    mint: Mint,
    trust: TrustRoot,
    artifact: Vec<u8>,
    digest: Digest,
}

impl World {
    fn new() -> Self {
        let mint = Mint::new("acme signing", Utc::now());
        let trust = TrustRoot::Sigstore(Arc::new(mint.root()));
        let artifact = b"an image's manifest".to_vec();
        let digest = Digest::sha256(&artifact);
        Self { mint, trust, artifact, digest }
    }

    fn plan(&self) -> Plan {
        Plan::at(self.mint.now)
    }

    fn judge(&self, bundle: &Value) -> Verification {
        judged(bundle.to_string().as_bytes(), &self.digest, &self.trust)
    }

    /// What is found where the plan is followed but for one thing.
    fn planned(&self, change: impl FnOnce(&mut Plan)) -> (String, Verdict) {
        let mut plan = self.plan();
        change(&mut plan);
        failed(&self.judge(&self.mint.attest(&plan, &statement_about(&self.digest))))
    }

    /// What is found where one thing of a right bundle is changed.
    fn edited(&self, change: impl FnOnce(&mut Value)) -> (String, Verdict) {
        let mut bundle = self.mint.attest(&self.plan(), &statement_about(&self.digest));
        change(&mut bundle);
        failed(&self.judge(&bundle))
    }
}

fn invalid(name: &str) -> (String, Verdict) {
    (name.to_owned(), Verdict::Invalid)
}

fn minutes(time: DateTime<Utc>, by: i64) -> DateTime<Utc> {
    time + TimeDelta::minutes(by)
}

/// Changes the base64 at a place by its first bit.
fn damage(bundle: &mut Value, place: &str) {
    let value = bundle.pointer_mut(place).unwrap();
    let mut bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    *value = json!(STANDARD.encode(bytes));
}

#[test]
fn what_is_right_is_valid_with_every_claim() {
    let world = World::new();
    let plan = world.plan();
    for bundle in [
        world.mint.attest(&plan, &statement_about(&world.digest)),
        world.mint.attest_plainly(&plan, &statement_about(&world.digest)),
        world.mint.sign(&plan, &world.artifact),
        world.mint.sign(&Plan { stamped: None, ..plan.clone() }, &world.artifact),
    ] {
        let found = world.judge(&bundle);
        assert_eq!(found.verdict, Verdict::Valid, "{found:#?}");
        let Some(Signer::Keyless { issuer, identity, claims }) = found.valid_signer() else {
            panic!("{found:#?}")
        };
        assert_eq!((issuer.as_str(), identity.as_str()), (ISSUER, IDENTITY));
        assert_eq!(claims["sourceRepositoryURI"], "https://github.com/acme/app");
        assert_eq!(claims["sourceRepositoryRef"], "refs/tags/v1");
        assert_eq!(claims["runnerEnvironment"], "github-hosted");
        assert_eq!(claims["buildTrigger"], "push");
        assert_eq!(found.signed_at.unwrap().timestamp(), world.mint.now.timestamp());
        let names: Vec<&str> = found.checks.iter().map(|check| check.name.as_ref()).collect();
        for name in
            ["subject", "certificate-chain", "certificate-time", "sct", "tlog-entry", "tlog-inclusion"]
        {
            assert!(names.contains(&name), "{name} in {names:?}");
        }
        for name in ["checkpoint", "set", "signature"] {
            assert!(names.contains(&name), "{name} in {names:?}");
        }
    }
}

#[test]
fn a_certificate_that_is_wrong_is_named() {
    let world = World::new();
    let now = world.mint.now;
    assert_eq!(world.planned(|plan| plan.sct = Sct::Missing), invalid("sct"));
    assert_eq!(world.planned(|plan| plan.sct = Sct::Forged), invalid("sct"));
    assert_eq!(world.planned(|plan| plan.sct = Sct::Stranger), invalid("sct"));
    assert_eq!(
        world.planned(|plan| plan.usage = ExtendedKeyUsagePurpose::ServerAuth),
        invalid("certificate-chain")
    );
    assert_eq!(world.planned(|plan| plan.until = minutes(now, -1)), invalid("certificate-time"));
    assert_eq!(world.planned(|plan| plan.from = minutes(now, 1)), invalid("certificate-time"));
    assert_eq!(world.planned(|plan| plan.identities.clear()), invalid("certificate"));
    let mail = || SanType::Rfc822Name("dev@acme.test".try_into().unwrap());
    assert_eq!(world.planned(|plan| plan.identities.push(mail())), invalid("certificate"));
    assert_eq!(world.planned(|plan| plan.identities = vec![mail()]), ("none".into(), Verdict::Valid));
    assert_eq!(world.planned(|plan| plan.issuer = None), invalid("certificate"));
    assert_eq!(
        world.edited(|bundle| damage(bundle, "/verificationMaterial/certificate/rawBytes")),
        invalid("certificate-chain")
    );
}

#[test]
fn another_authority_is_unknown_and_one_with_the_same_name_is_forged() {
    let world = World::new();
    let statement = statement_about(&world.digest);
    for (name, verdict) in [("acme signing", Verdict::Invalid), ("other signing", Verdict::Unverifiable)] {
        let other = Mint::new(name, world.mint.now);
        let mut bundle = world.mint.attest(&world.plan(), &statement);
        let stranger = other.certificate(&world.plan()).certificate;
        bundle["verificationMaterial"]["certificate"]["rawBytes"] = json!(STANDARD.encode(stranger));
        assert_eq!(failed(&world.judge(&bundle)), ("certificate-chain".into(), verdict), "{name}");
        let all = other.attest(&world.plan(), &statement);
        assert_ne!(world.judge(&all).verdict, Verdict::Valid);
    }
}

#[test]
fn a_log_entry_that_is_wrong_is_named() {
    let world = World::new();
    let entry = "/verificationMaterial/tlogEntries/0";
    let at = |path: &str| format!("{entry}{path}");
    let promise = at("/inclusionPromise/signedEntryTimestamp");
    assert_eq!(world.edited(|bundle| damage(bundle, &promise)), invalid("set"));
    assert_eq!(
        world.edited(|bundle| damage(bundle, &at("/inclusionProof/hashes/0"))),
        invalid("tlog-inclusion")
    );
    assert_eq!(world.edited(|bundle| damage(bundle, &at("/inclusionProof/rootHash"))), invalid("checkpoint"));
    let change = |path: &str, value: Value| {
        let path = at(path);
        world.edited(move |bundle| *bundle.pointer_mut(&path).unwrap() = value)
    };
    assert_eq!(change("/inclusionProof/treeSize", json!("3")), invalid("tlog-inclusion"));
    assert_eq!(change("/inclusionProof/logIndex", json!("0")), invalid("tlog-inclusion"));
    assert_eq!(change("/logIndex", json!("4712")), invalid("set"));
    let later = (world.mint.now + TimeDelta::seconds(1)).timestamp().to_string();
    let earlier = (world.mint.now - TimeDelta::seconds(1)).timestamp().to_string();
    assert_eq!(change("/integratedTime", json!(earlier)), invalid("set"));
    assert_ne!(change("/integratedTime", json!(later)).1, Verdict::Valid);
    let stranger = Mint::new("stranger", world.mint.now).log;
    let other = stranger.checkpoint(2, &[7; 32]);
    assert_eq!(change("/inclusionProof/checkpoint/envelope", json!(other)), invalid("checkpoint"));
    let known = world.mint.log.checkpoint(2, &[7; 32]);
    assert_eq!(change("/inclusionProof/checkpoint/envelope", json!(known)), invalid("checkpoint"));
    let id = json!(STANDARD.encode(stranger.key.id()));
    assert_eq!(change("/logId/keyId", id), ("tlog-entry".into(), Verdict::Unverifiable));
    let none = world.edited(|bundle| bundle["verificationMaterial"]["tlogEntries"] = json!([]));
    assert_eq!(none, invalid("tlog-entry"));
    let unproved = world.edited(|bundle| {
        bundle.pointer_mut(entry).unwrap().as_object_mut().unwrap().remove("inclusionProof");
    });
    assert_eq!(unproved, invalid("tlog-inclusion"));
}

#[test]
fn an_entry_or_a_time_of_another_signature_is_refused() {
    let world = World::new();
    let other = world.mint.attest(&world.plan(), &statement_about(&world.digest));
    let material = |name: &'static str| {
        let other = other["verificationMaterial"][name].clone();
        world.edited(move |bundle| bundle["verificationMaterial"][name] = other)
    };
    assert_eq!(material("tlogEntries"), invalid("tlog-entry"));
    assert_eq!(material("timestampVerificationData"), invalid("timestamp"));
    assert_eq!(material("certificate"), invalid("signature"));
    let now = world.mint.now;
    assert_eq!(world.planned(|plan| plan.logged = minutes(now, -10)), invalid("certificate-time"));
    assert_eq!(world.planned(|plan| plan.logged = minutes(now, 2)), invalid("tlog-entry"));
    assert_eq!(world.planned(|plan| plan.stamped = Some(minutes(now, -10))), invalid("certificate-time"));
    assert_eq!(world.planned(|plan| plan.stamped = Some(minutes(now, 2))), invalid("timestamp"));
}

/// GitHub's for private repositories is one: its authority and its timestamps, and no logs.
#[test]
fn a_root_without_logs_asks_for_none() {
    let world = World::new();
    let mut json = world.mint.trusted_root();
    for part in ["tlogs", "ctlogs"] {
        json[part] = json!([]);
    }
    let root = crate::sigstore::SigstoreRoot::parse(json.to_string().as_bytes()).unwrap();
    let trust = TrustRoot::Sigstore(Arc::new(root));
    let plan = Plan { sct: Sct::Missing, ..world.plan() };
    let judge = |plan: &Plan, change: &dyn Fn(&mut Value)| {
        let mut bundle = world.mint.attest(plan, &statement_about(&world.digest));
        change(&mut bundle);
        judged(bundle.to_string().as_bytes(), &world.digest, &trust)
    };
    let unlogged = |bundle: &mut Value| bundle["verificationMaterial"]["tlogEntries"] = json!([]);
    let found = judge(&plan, &unlogged);
    assert_eq!(found.verdict, Verdict::Valid, "{found:#?}");
    assert_eq!(found.signed_at.unwrap().timestamp(), world.mint.now.timestamp());
    assert!(matches!(found.valid_signer(), Some(Signer::Keyless { .. })));
    assert!(!found.checks.iter().any(|check| check.name == "sct" || check.name == "tlog-entry"));
    // What logs say besides proves nothing and changes nothing.
    let found = judge(&plan, &|_| ());
    assert_eq!(found.verdict, Verdict::Valid, "{found:#?}");
    let noted = found.checks.iter().find(|check| check.name == "tlog-entry").unwrap();
    assert!(!noted.enforced);
    // Its time must be proved by a timestamp, and lie within the certificate's.
    let none = judge(&Plan { stamped: None, ..plan.clone() }, &|_| ());
    assert_eq!(failed(&none), ("timestamp".into(), Verdict::Unverifiable));
    let late = Plan { stamped: Some(minutes(world.mint.now, -30)), ..plan.clone() };
    assert_eq!(failed(&judge(&late, &unlogged)), invalid("certificate-time"));
    let damaged = judge(&plan, &|bundle| {
        unlogged(bundle);
        damage(bundle, "/dsseEnvelope/signatures/0/sig");
    });
    assert_eq!(damaged.verdict, Verdict::Invalid);
    let elsewhere = world.mint.attest(&plan, &statement_about(&Digest::sha256(b"another image")));
    let elsewhere = judged(elsewhere.to_string().as_bytes(), &world.digest, &trust);
    assert_eq!(failed(&elsewhere), invalid("subject"));
    // A root with logs still asks for both, of its own authority; another one it does not know.
    let mut bundle = world.mint.attest(&plan, &statement_about(&world.digest));
    assert_eq!(failed(&world.judge(&bundle)), invalid("sct"));
    unlogged(&mut bundle);
    assert_eq!(failed(&world.judge(&bundle)), invalid("tlog-entry"));
    let public = TrustRoot::Sigstore(Arc::new(crate::sigstore::SigstoreRoot::public_good().unwrap()));
    let found = judged(bundle.to_string().as_bytes(), &world.digest, &public);
    assert_eq!(failed(&found), ("certificate-chain".into(), Verdict::Unverifiable));
}

#[test]
fn a_timestamp_of_another_name_is_not_proved_wrong() {
    let world = World::new();
    for (name, verdict) in [("acme signing", Verdict::Invalid), ("other", Verdict::Unverifiable)] {
        let stranger = Mint::new(name, world.mint.now);
        let found = world.edited(|bundle| {
            let signature = bundle.pointer("/dsseEnvelope/signatures/0/sig").unwrap().as_str().unwrap();
            let token = stranger.tsa.stamp(&STANDARD.decode(signature).unwrap(), world.mint.now);
            bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"][0]["signedTimestamp"] =
                json!(STANDARD.encode(token));
        });
        assert_eq!(found, ("timestamp".into(), verdict), "{name}");
    }
}

#[test]
fn a_timestamp_by_an_unknown_authority_is_refused() {
    let world = World::new();
    let stranger = Mint::new("acme signing", world.mint.now);
    let found = world.edited(|bundle| {
        let signature = bundle.pointer("/dsseEnvelope/signatures/0/sig").unwrap().as_str().unwrap().to_owned();
        let token = stranger.tsa.stamp(&STANDARD.decode(signature).unwrap(), world.mint.now);
        bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"][0]["signedTimestamp"] =
            json!(STANDARD.encode(token));
    });
    assert_eq!(found, invalid("timestamp"));
}

#[test]
fn another_subject_statement_or_signature_is_refused() {
    let world = World::new();
    let elsewhere = Digest::sha256(b"another image");
    for bundle in [
        world.mint.attest(&world.plan(), &statement_about(&world.digest)),
        world.mint.sign(&world.plan(), &world.artifact),
    ] {
        let moved = judged(bundle.to_string().as_bytes(), &elsewhere, &world.trust);
        assert_eq!(failed(&moved), invalid("subject"));
    }
    let moved = STANDARD.encode(statement_about(&elsewhere));
    let both = Digest::sha256(b"another image");
    let mut bundle = world.mint.attest(&world.plan(), &statement_about(&world.digest));
    bundle["dsseEnvelope"]["payload"] = json!(moved);
    assert_eq!(failed(&judged(bundle.to_string().as_bytes(), &both, &world.trust)), invalid("signature"));
    assert_eq!(world.edited(|bundle| damage(bundle, "/dsseEnvelope/signatures/0/sig")).1, Verdict::Invalid);
}

#[test]
fn an_envelope_that_is_logged_as_a_signature_is_bound_to_its_entry() {
    let world = World::new();
    let make = || world.mint.attest_plainly(&world.plan(), &statement_about(&world.digest));
    let other = make();
    let edited = |change: &dyn Fn(&mut Value)| {
        let mut bundle = make();
        change(&mut bundle);
        failed(&world.judge(&bundle))
    };
    let entries = other["verificationMaterial"]["tlogEntries"].clone();
    let swapped = edited(&|bundle| bundle["verificationMaterial"]["tlogEntries"] = entries.clone());
    assert_eq!(swapped, invalid("tlog-entry"));
    assert_eq!(edited(&|bundle| damage(bundle, "/dsseEnvelope/signatures/0/sig")).1, Verdict::Invalid);
    let longer = [statement_about(&world.digest), b" ".to_vec()].concat();
    let longer = json!(STANDARD.encode(longer));
    assert_eq!(edited(&|bundle| bundle["dsseEnvelope"]["payload"] = longer.clone()), invalid("signature"));
    let elsewhere = judged(make().to_string().as_bytes(), &Digest::sha256(b"another image"), &world.trust);
    assert_eq!(failed(&elsewhere), invalid("subject"));
}

#[test]
fn a_root_that_is_sent_along_is_refused() {
    let world = World::new();
    let found = world.edited(|bundle| {
        let material = bundle["verificationMaterial"].as_object_mut().unwrap();
        let leaf = material.remove("certificate").unwrap();
        let root = json!({"rawBytes": STANDARD.encode(&world.mint.ca_der)});
        material.insert("x509CertificateChain".into(), json!({"certificates": [leaf, root]}));
        bundle["mediaType"] = json!("application/vnd.dev.sigstore.bundle+json;version=0.2");
    });
    assert_eq!(found, invalid("certificate-chain"));
}

#[test]
fn a_root_without_the_parts_that_a_check_needs_proves_nothing() {
    let world = World::new();
    let bundle = world.mint.attest(&world.plan(), &statement_about(&world.digest));
    for part in ["tlogs", "certificateAuthorities", "ctlogs", "timestampAuthorities"] {
        let mut json = world.mint.trusted_root();
        json[part] = json!([]);
        let root = crate::sigstore::SigstoreRoot::parse(json.to_string().as_bytes()).unwrap();
        assert_ne!(root.id(), world.mint.root().id());
        let found =
            judged(bundle.to_string().as_bytes(), &world.digest, &TrustRoot::Sigstore(Arc::new(root)));
        assert_ne!(found.verdict, Verdict::Valid, "{part}");
    }
    for part in ["tlogs", "ctlogs"] {
        let mut json = world.mint.trusted_root();
        json[part][0]["publicKey"].as_object_mut().unwrap().remove("validFor");
        assert!(crate::sigstore::SigstoreRoot::parse(json.to_string().as_bytes()).is_err(), "{part}");
    }
}

#[test]
fn githubs_own_instance_has_no_logs() {
    let root = sigstore_verify::trust_root::SIGSTORE_GITHUB_TRUSTED_ROOT;
    assert!(!crate::sigstore::SigstoreRoot::parse(root.as_bytes()).unwrap().has_logs());
    assert!(crate::sigstore::SigstoreRoot::public_good().unwrap().has_logs());
}

/// Who is certified without an identity provider is nobody's user: not wrong, and no keyless signer either.
#[test]
fn a_certificate_without_a_provider_is_not_wrong_where_none_logs() {
    let world = World::new();
    let mut json = world.mint.trusted_root();
    for part in ["tlogs", "ctlogs"] {
        json[part] = json!([]);
    }
    let root = crate::sigstore::SigstoreRoot::parse(json.to_string().as_bytes()).unwrap();
    let plan = Plan { issuer: None, sct: Sct::Missing, ..world.plan() };
    let bundle = world.mint.attest(&plan, &statement_about(&world.digest));
    let found = judged(bundle.to_string().as_bytes(), &world.digest, &TrustRoot::Sigstore(Arc::new(root)));
    assert_eq!(failed(&found), ("certificate".into(), Verdict::Unverifiable));
}
