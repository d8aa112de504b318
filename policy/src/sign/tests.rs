//! What is signed verifies; what another made is read; secrets stay inside.

use chrono::DateTime;
use serde_json::Value;
use serde_json::value::RawValue;

use super::*;
use crate::limits::Limits;
use crate::statement::{COSIGN_SIGN, Statement};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rreg_oci::{Descriptor, Digest, Manifest, ManifestLimits};

/// Made by `cosign generate-key-pair` (3.1) with the password `secret`.
const COSIGN_KEY: &[u8] = include_bytes!("tests/cosign.key");
const COSIGN_PUB: &[u8] = include_bytes!("tests/cosign.pub");

fn subject() -> Digest {
    Digest::sha256(b"an image")
}

/// The payload of a bundle, and whether `key` signed it.
fn opened(bundle: &[u8], key: &SigningKey) -> (Vec<u8>, bool) {
    let bundle: Value = serde_json::from_slice(bundle).unwrap();
    let envelope = &bundle["dsseEnvelope"];
    let bytes = |value: &Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
    let payload = bytes(&envelope["payload"]);
    let mut message = format!("DSSEv1 28 application/vnd.in-toto+json {} ", payload.len()).into_bytes();
    message.extend_from_slice(&payload);
    let signed = key.public().verifies(&message, &bytes(&envelope["signatures"][0]["sig"]));
    (payload, signed)
}

#[test]
fn signatures_verify_by_their_key_alone() {
    let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let bundle = image_bundle(&key, &subject()).unwrap();
    let (payload, signed) = opened(&bundle, &key);
    assert!(signed && !opened(&bundle, &other).1);
    let statement = Statement::parse(&payload, &Limits::default()).unwrap();
    assert!(statement.is_signature() && statement.covers(&subject()));
    assert_eq!(statement.subjects.len(), 1);
    let bundle: Value = serde_json::from_slice(&bundle).unwrap();
    assert_eq!(bundle["verificationMaterial"]["publicKey"]["hint"], key.hint());
    assert_eq!(bundle["mediaType"], BUNDLE_V03);
}

/// PKCS #8 of each kind of key that cosign imports.
fn of_each_kind() -> Vec<(&'static str, Vec<u8>)> {
    use rcgen::{
        KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519,
        PKCS_RSA_SHA256,
    };
    let made = [
        ("P-256", &PKCS_ECDSA_P256_SHA256),
        ("P-384", &PKCS_ECDSA_P384_SHA384),
        ("P-521", &PKCS_ECDSA_P521_SHA512),
        ("Ed25519", &PKCS_ED25519),
        ("RSA", &PKCS_RSA_SHA256),
    ];
    let mut all: Vec<(&str, Vec<u8>)> =
        made.map(|(name, kind)| (name, KeyPair::generate_for(kind).unwrap().serialize_der())).into();
    // As openssl and Go write it: version 1, without the public half.
    let mut plain = STANDARD.decode("MC4CAQAwBQYDK2VwBCIEIA==").unwrap();
    plain.extend([7; 32]);
    all.push(("Ed25519, version 1", plain));
    all
}

#[test]
fn every_kind_of_cosigns_keys_signs_and_is_encrypted() {
    for (name, der) in of_each_kind() {
        let plain = der::pem::encode_string("PRIVATE KEY", der::pem::LineEnding::LF, &der).unwrap();
        let key =
            SigningKey::from_pem(plain.as_bytes(), None).unwrap_or_else(|error| panic!("{name}: {error}"));
        let sealed = key.to_encrypted_pem(b"secret").unwrap();
        let opened_again = SigningKey::from_pem(sealed.as_bytes(), Some(b"secret")).unwrap();
        assert_eq!(opened_again.public().id(), key.public().id(), "{name}");
        let (_, signed) = opened(&image_bundle(&opened_again, &subject()).unwrap(), &key);
        assert!(signed, "{name}");
    }
}

#[test]
fn predicates_stay_as_they_were_written() {
    let key = SigningKey::generate().unwrap();
    let text = r#"{"z":1.10,"a":[1e3, "é"]}"#;
    let predicate = RawValue::from_string(text.to_owned()).unwrap();
    let bundle = attest_bundle(&key, &subject(), "https://example.org/p", &predicate).unwrap();
    let (payload, signed) = opened(&bundle, &key);
    assert!(signed && String::from_utf8(payload.clone()).unwrap().contains(text));
    let statement = Statement::parse(&payload, &Limits::default()).unwrap();
    assert_eq!(statement.predicate_type, "https://example.org/p");
    assert!(!statement.is_signature());
}

#[test]
fn the_manifest_is_one_about_the_subject() {
    let about = Descriptor::new("application/vnd.oci.image.manifest.v1+json", subject(), 7);
    let time = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    let bytes = bundle_manifest(b"bundle", &about, COSIGN_SIGN, time).unwrap();
    let manifest = Manifest::parse(None, &bytes, &ManifestLimits::default()).unwrap();
    assert_eq!(manifest.subject, Some(about));
    assert_eq!(manifest.artifact_type.as_deref(), Some(BUNDLE_V03));
    assert_eq!(manifest.layers[0].digest, Digest::sha256(b"bundle"));
    assert_eq!(manifest.annotations["org.opencontainers.image.created"], "2023-11-14T22:13:20Z");
    assert_eq!(manifest.annotations["dev.sigstore.bundle.predicateType"], COSIGN_SIGN);
}

#[test]
fn encrypted_keys_come_back_by_their_password_alone() {
    let key = SigningKey::generate().unwrap();
    let pem = key.to_encrypted_pem(b"right").unwrap();
    assert!(SigningKey::is_encrypted(pem.as_bytes()) && !pem.contains('\r'));
    let back = SigningKey::from_pem(pem.as_bytes(), Some(b"right")).unwrap();
    assert_eq!(back.public(), key.public());
    assert_eq!(SigningKey::from_pem(pem.as_bytes(), Some(b"wrong")).unwrap_err(), SignError::Password);
    assert_eq!(SigningKey::from_pem(pem.as_bytes(), None).unwrap_err(), SignError::PasswordNeeded);
    let public = crate::key::PublicKey::from_pem(key.public_pem().unwrap().as_bytes()).unwrap();
    assert_eq!(&public, key.public());
    assert!(!format!("{key:?}").contains("PRIVATE"));
}

#[test]
fn keys_of_cosign_are_read_under_both_names() {
    let key = SigningKey::from_pem(COSIGN_KEY, Some(b"secret")).unwrap();
    assert_eq!(key.public_pem().unwrap().as_bytes(), COSIGN_PUB);
    let old = String::from_utf8(COSIGN_KEY.to_vec()).unwrap().replace("SIGSTORE", "COSIGN");
    assert_eq!(SigningKey::from_pem(old.as_bytes(), Some(b"secret")).unwrap().public(), key.public());
}

#[test]
fn what_is_no_key_is_refused_without_a_panic() {
    let sealed = |json: &str| {
        der::pem::encode_string("ENCRYPTED SIGSTORE PRIVATE KEY", der::pem::LineEnding::LF, json.as_bytes())
            .unwrap()
    };
    let short = r#"{"kdf":{"name":"scrypt","params":{"N":32768,"r":8,"p":1},"salt":"AA=="},
        "cipher":{"name":"nacl/secretbox","nonce":"AA=="},"ciphertext":"AA=="}"#;
    for bad in ["", "x", &sealed("{}"), &sealed(short), &sealed("\u{0}")] {
        assert!(matches!(SigningKey::from_pem(bad.as_bytes(), Some(b"")), Err(SignError::Key(_))), "{bad}");
    }
    let public = SigningKey::from_pem(COSIGN_PUB, None).unwrap_err();
    assert!(public.to_string().contains("PUBLIC KEY"), "{public}");
}
