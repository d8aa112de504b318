//! Time stamps.

use serde_json::json;

use super::mint::{
    Minted, authority_params, draft, extension, issued, params, root, self_signed, signer_params,
};
use super::mint_answers::{TIME_STAMPING, ocsp_responder, token};
use super::{COSE, JWS, failed, judge_at, now, time};
use crate::notation::{NotationTrust, Revocation, TrustPolicyDocument, TrustStores};
use crate::verdict::Verdict;

fn stamper_params() -> rcgen::CertificateParams {
    let mut params = signer_params("Stamper");
    params.custom_extensions = vec![extension(&[2, 5, 29, 37], true, TIME_STAMPING.to_vec())];
    params
}

/// An authority for time stamps: root and signer.
fn authority() -> (Minted, Minted) {
    let root = self_signed(authority_params("Stamping Root"));
    let signer = issued(stamper_params(), &root);
    (root, signer)
}

fn trust(when: &str, ca: &Minted, tsa: &Minted) -> NotationTrust {
    let document = json!({"version": "1.0", "trustPolicies": [{
        "name": "some", "registryScopes": ["*"],
        "signatureVerification": {"level": "strict", "verifyTimestamp": when},
        "trustStores": ["ca:acme", "tsa:acme"], "trustedIdentities": ["*"],
    }]});
    let document = TrustPolicyDocument::parse(&serde_json::to_vec(&document).unwrap()).unwrap();
    let stores = TrustStores::new([
        ("ca", "acme", "root.der", ca.der.as_slice()),
        ("tsa", "acme", "tsa.der", tsa.der.as_slice()),
    ]);
    document.statements(&stores.unwrap()).unwrap().remove(0)
}

/// A signer whose certificate ended in 2024.
fn ended(root: &Minted) -> Minted {
    let mut params = signer_params("Release");
    params.not_after = rcgen::date_time_ymd(2024, 1, 1);
    issued(params, root)
}

#[test]
fn a_stamp_outlives_the_certificate() {
    let (ca, (tsa, stamper)) = (root(), authority());
    let leaf = ended(&ca);
    for (stamp_time, expected) in [
        ("20230601120000Z", None),
        ("20230601120000.25Z", None),
        ("20231231235959Z", Some(Verdict::Invalid)),
        ("20240601120000Z", Some(Verdict::Invalid)),
        ("20190601120000Z", Some(Verdict::Unverifiable)),
        ("2023-06-01T12:00", Some(Verdict::Invalid)),
    ] {
        let stamp = |signature: &[u8]| token(signature, stamp_time, &stamper, &[&stamper, &tsa]);
        let mut draft = draft(&leaf, &[&ca]);
        draft.stamp = Some(&stamp);
        for (media, content) in [(JWS, draft.jws()), (COSE, draft.cose())] {
            for when in ["always", "afterCertExpiry"] {
                let found = judge_at(media, &content, &trust(when, &ca, &tsa), &Revocation::check(), now());
                match expected {
                    None => {
                        assert_eq!(found.verdict, Verdict::Valid, "{stamp_time} {when}: {found:?}");
                        // The latest that it may have been: two seconds of accuracy.
                        assert!(found.signed_at.unwrap() >= time("2023-06-01T12:00:02Z"));
                        assert_eq!(found.holds_until, None);
                    }
                    Some(verdict) => failed(&found, "authentic-timestamp", verdict),
                }
            }
        }
    }
}

#[test]
fn a_stamp_is_asked_for_as_the_policy_says() {
    let (ca, (tsa, _)) = (root(), authority());
    let leaf = issued(signer_params("Release"), &ca);
    let plain = draft(&leaf, &[&ca]).jws();
    let judge =
        |when, content: &[u8]| judge_at(JWS, content, &trust(when, &ca, &tsa), &Revocation::check(), now());
    failed(&judge("always", &plain), "authentic-timestamp", Verdict::Invalid);
    assert_eq!(judge("afterCertExpiry", &plain).verdict, Verdict::Valid);
    let late = ended(&ca);
    failed(&judge("afterCertExpiry", &draft(&late, &[&ca]).jws()), "authentic-timestamp", Verdict::Invalid);
}

#[test]
fn stamps_that_prove_nothing() {
    let (ca, (tsa, stamper)) = (root(), authority());
    let (strange_tsa, strange) = authority();
    let leaf = ended(&ca);
    let plain = issued(signer_params("Stamper"), &tsa);
    let mut uncritical = signer_params("Stamper");
    uncritical.custom_extensions = vec![extension(&[2, 5, 29, 37], false, TIME_STAMPING.to_vec())];
    let uncritical = issued(uncritical, &tsa);
    let no_usage = issued(params("Stamper"), &tsa);
    let impostor = Minted { key: super::mint::ec_key(), params: stamper_params(), der: stamper.der.clone() };
    let at = "20230601120000Z";
    type Stamp<'a> = Box<dyn Fn(&[u8]) -> Vec<u8> + 'a>;
    let cases: Vec<(Stamp<'_>, Verdict, &str)> = vec![
        (
            Box::new(|s| token(s, at, &strange, &[&strange, &strange_tsa])),
            Verdict::Unverifiable,
            "leads to no",
        ),
        (
            Box::new(|_| token(b"other", at, &stamper, &[&stamper, &tsa])),
            Verdict::Invalid,
            "another signature",
        ),
        (Box::new(|s| token(s, at, &stamper, &[&tsa])), Verdict::Invalid, "does not carry"),
        (Box::new(|s| token(s, at, &impostor, &[&stamper, &tsa])), Verdict::Invalid, "is not signed by"),
        (Box::new(|s| token(s, at, &plain, &[&plain, &tsa])), Verdict::Invalid, "timeStamping"),
        (Box::new(|s| token(s, at, &uncritical, &[&uncritical, &tsa])), Verdict::Invalid, "timeStamping"),
        (Box::new(|s| token(s, at, &no_usage, &[&no_usage, &tsa])), Verdict::Invalid, "no key usage"),
        (Box::new(|_| b"nothing".to_vec()), Verdict::Invalid, "cannot be read"),
    ];
    for (stamp, verdict, why) in cases {
        let mut draft = draft(&leaf, &[&ca]);
        draft.stamp = Some(&*stamp);
        let found = judge_at(JWS, &draft.jws(), &trust("always", &ca, &tsa), &Revocation::check(), now());
        failed(&found, "authentic-timestamp", verdict);
        assert!(found.failure().unwrap().detail.contains(why), "{found:?}");
    }
}

#[test]
fn no_byte_of_a_stamp_that_counts_can_be_changed() {
    let (ca, (tsa, stamper)) = (root(), authority());
    let leaf = ended(&ca);
    let trust = trust("always", &ca, &tsa);
    let whole = token(b"", "20230601120000Z", &stamper, &[&stamper, &tsa]).len();
    let mut accepted = 0;
    for at in (0..whole).step_by(3) {
        let stamp = |signature: &[u8]| {
            let mut token = token(signature, "20230601120000Z", &stamper, &[&stamper, &tsa]);
            let at = at.min(token.len() - 1);
            token[at] ^= 1 << (at % 8);
            token
        };
        let mut draft = draft(&leaf, &[&ca]);
        draft.stamp = Some(&stamp);
        let found = judge_at(JWS, &draft.jws(), &trust, &Revocation::check(), now());
        if found.verdict == Verdict::Valid {
            // Some bytes of a token are signed by nobody; the time is never among them.
            accepted += 1;
            assert_eq!(found.signed_at, Some(time("2023-06-01T12:00:02Z")), "byte {at}");
        }
    }
    assert!(accepted * 3 < whole / 2, "{accepted} of {}", whole / 3);
}

#[test]
fn the_stamper_is_asked_about_too() {
    let (ca, tsa) = (root(), self_signed(authority_params("Stamping Root")));
    let mut params = stamper_params();
    params.custom_extensions.push(ocsp_responder("http://ocsp.acme.io"));
    let stamper = issued(params, &tsa);
    let leaf = ended(&ca);
    let stamp = |signature: &[u8]| token(signature, "20230601120000Z", &stamper, &[&stamper, &tsa]);
    let mut draft = draft(&leaf, &[&ca]);
    draft.stamp = Some(&stamp);
    let content = draft.jws();
    let trust = trust("always", &ca, &tsa);
    let unknown = judge_at(JWS, &content, &trust, &Revocation::check(), now());
    failed(&unknown, "authentic-timestamp", Verdict::Error);
    let accepting = Revocation::check().accepting_unknown();
    assert_eq!(judge_at(JWS, &content, &trust, &accepting, now()).verdict, Verdict::Valid);
    assert_eq!(judge_at(JWS, &content, &trust, &Revocation::off(), now()).verdict, Verdict::Valid);
}

/// A company's own authorities sign code and stamp time; cosign keeps both in one bundle.
#[test]
fn a_companys_stamp_outlives_its_signing_certificate() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use rreg_oci::Digest;

    let (ca, (tsa, stamper)) = (root(), authority());
    let mut coded = params("Release");
    coded.not_after = rcgen::date_time_ymd(2024, 1, 1);
    let leaf = issued(coded, &ca);
    let subject = Digest::sha256(b"an image's manifest");
    let statement = crate::sign::statement(
        &subject,
        crate::COSIGN_SIGN,
        &serde_json::value::RawValue::from_string("{}".to_owned()).unwrap(),
    )
    .unwrap();
    let signed = sigstore_verify::types::dsse::pae(crate::PAYLOAD_TYPE, &statement);
    let signature = super::mint::sign_asn1(&leaf.key, &signed);
    let judge = |stamps: &[Vec<u8>], roots: &[&Minted]| {
        let stamps: Vec<_> =
            stamps.iter().map(|stamp| json!({"signedTimestamp": STANDARD.encode(stamp)})).collect();
        let bundle = json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": {"rawBytes": STANDARD.encode(&leaf.der)},
                "timestampVerificationData": {"rfc3161Timestamps": stamps},
            },
            "dsseEnvelope": {
                "payloadType": crate::PAYLOAD_TYPE,
                "payload": STANDARD.encode(&statement),
                "signatures": [{"sig": STANDARD.encode(&signature)}],
            },
        });
        let pem = |one: &&Minted| {
            der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, &one.der).unwrap()
        };
        let pem: String = roots.iter().map(pem).collect();
        let roots = crate::certificates::CertificateRoots::parse(pem.as_bytes()).unwrap();
        let limits = crate::Limits::default();
        let context = crate::VerifyContext { now: now(), limits: &limits, revocation: &Revocation::check() };
        crate::sigstore::verify_blob(
            bundle.to_string().as_bytes(),
            subject,
            &crate::TrustRoot::Certificates(roots),
            &context,
        )
    };
    let stamp = |time: &str| token(&signature, time, &stamper, &[&stamper, &tsa]);
    let in_time = "20230601120000Z";
    let found = judge(&[stamp(in_time)], &[&ca, &tsa]);
    assert_eq!(found.verdict, Verdict::Valid, "{found:?}");
    assert_eq!(found.signed_at.unwrap(), time("2023-06-01T12:00:02Z"));
    assert_eq!(found.holds_until, None);
    // An authority need not send its certificate along where that is known.
    let bare = token(&signature, in_time, &stamper, &[&tsa]);
    assert_eq!(judge(std::slice::from_ref(&bare), &[&ca, &tsa, &stamper]).verdict, Verdict::Valid);
    failed(&judge(&[bare], &[&ca, &tsa]), "certificate-time", Verdict::Invalid);
    // As the authority's whole answer, too.
    let mut answer = vec![0x30, 0x03, 0x02, 0x01, 0x00];
    answer.extend(stamp(in_time));
    let answer = der::Encode::to_der(&der::Any::new(der::Tag::Sequence, answer).unwrap()).unwrap();
    assert_eq!(judge(&[answer], &[&ca, &tsa]).verdict, Verdict::Valid);
    let other = token(b"other", in_time, &stamper, &[&stamper, &tsa]);
    for (stamps, roots, name, verdict) in [
        (vec![], vec![&ca, &tsa], "certificate-time", Verdict::Invalid),
        (vec![stamp("20240601120000Z")], vec![&ca, &tsa], "certificate-time", Verdict::Invalid),
        (vec![stamp(in_time)], vec![&ca], "timestamp", Verdict::Unverifiable),
        (vec![other], vec![&ca, &tsa], "certificate-time", Verdict::Invalid),
        (vec![stamp(in_time)], vec![&tsa], "certificate-chain", Verdict::Unverifiable),
    ] {
        let found = judge(&stamps, &roots);
        failed(&found, name, verdict);
    }
}
