//! Tokens of an issuer that is made here, with RSA and with elliptic keys, and every way in which one can be wrong.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::*;
use crate::identity::Role;

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://issuer.example";
const SUBJECT: &str = "repo:acme/app:ref:refs/heads/main";

enum Signer {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

impl Signer {
    fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    fn ec() -> Self {
        Self::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ec(_) => "ES256",
        }
    }

    fn jwk(&self, id: &str) -> Value {
        match self {
            Self::Rsa(pair) => {
                // RSAPublicKey (RFC 8017, A.1.1): 2048 bits after a sign byte, then 65537.
                let der = pair.public_key().as_ref();
                assert_eq!((der.len(), &der[der.len() - 3..]), (270, &[1, 0, 1][..]));
                json!({"kty": "RSA", "kid": id, "use": "sig", "alg": "RS256", "e": "AQAB", "n": url(&der[9..265])})
            }
            Self::Ec(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "kid": id, "x": url(x), "y": url(y)})
            }
        }
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let text = format!("{}.{}", url(header.to_string().as_bytes()), url(claims.to_string().as_bytes()));
        let random = SystemRandom::new();
        let signature = match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature).unwrap();
                signature
            }
            Self::Ec(pair) => pair.sign(&random, text.as_bytes()).unwrap().as_ref().to_vec(),
        };
        format!("{text}.{}", url(&signature))
    }
}

fn url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn keys(of: &[Value]) -> IssuerKeys {
    IssuerKeys::parse(json!({ "keys": of }).to_string().as_bytes()).unwrap()
}

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": "registry.example", "sub": SUBJECT, "iat": NOW - 5, "nbf": NOW - 5,
           "exp": NOW + 600, "ref": "refs/heads/main"})
}

fn trust(name: &str, reference: &str) -> Arc<TrustRule> {
    let claims = [("sub".to_owned(), "repo:acme/*:**".to_owned()), ("ref".to_owned(), reference.to_owned())];
    let place = ("team".parse().unwrap(), Vec::new());
    Arc::new(TrustRule::new((ISSUER, true), name, &claims.into(), place, Role::Writer).unwrap())
}

fn issuer() -> OidcIssuer {
    OidcIssuer {
        issuer: ISSUER.to_owned(),
        audience: "registry.example".to_owned(),
        rules: vec![trust("main", "refs/heads/main"), trust("tags", "refs/tags/*"), trust("any", "refs/**")],
    }
}

fn verify(token: &str, keys: &IssuerKeys) -> Result<Workload, OidcError> {
    issuer().verify(OidcToken::looks_like(token).ok_or(OidcError::Malformed)?, keys, NOW)
}

#[test]
fn good_tokens_of_both_kinds() {
    for signer in [Signer::rsa(), Signer::ec()] {
        let keys = keys(&[signer.jwk("k1"), Signer::ec().jwk("k2")]);
        let token = signer.sign(&json!({"alg": signer.algorithm(), "kid": "k1", "typ": "JWT"}), &claims());
        let workload = verify(&token, &keys).unwrap();
        assert_eq!(workload.name, format!("{ISSUER} {SUBJECT}"));
        let names: Vec<_> = workload.trusted.iter().map(|rule| rule.name()).collect();
        assert_eq!(names, ["main", "any"]);
        assert_eq!(workload.expires, NOW + 600);
        let ids: Vec<_> = workload.trusted.iter().map(|rule| rule.id().to_owned()).collect();
        assert_eq!(issuer().recall(&workload.name, &ids), workload.trusted);
        assert!(issuer().recall("https://issuer.example.evil a", &ids).is_empty());
        let fewer = OidcIssuer { rules: vec![trust("main", "refs/heads/release")], ..issuer() };
        assert!(fewer.recall(&workload.name, &ids).is_empty(), "a rule that was changed is another one");
    }
}

/// However long the issuer's token lives.
#[test]
fn nobody_is_believed_for_more_than_fifteen_minutes() {
    let signer = Signer::ec();
    let mut long = claims();
    long["exp"] = json!(NOW + 86_400);
    long["aud"] = json!(["https://kubernetes.default.svc", "registry.example"]);
    let token = signer.sign(&json!({"alg": "ES256", "kid": "k"}), &long);
    assert_eq!(verify(&token, &keys(&[signer.jwk("k")])).unwrap().expires, NOW + 900);
}

#[test]
fn every_claim_is_checked() {
    let signer = Signer::ec();
    let keys = keys(&[signer.jwk("k")]);
    let ours = || OidcError::Audience("registry.example".into());
    let no_rule = |subject: &str| OidcError::NoRule(subject.into());
    for (claim, value, error) in [
        ("iss", json!("https://issuer.example/"), OidcError::Issuer),
        ("iss", json!("https://evil.example"), OidcError::Issuer),
        ("iss", json!([ISSUER]), OidcError::Claim("iss")),
        ("iss", Value::Null, OidcError::Claim("iss")),
        ("aud", json!("registry.example.evil"), ours()),
        ("aud", json!(["other"]), ours()),
        ("aud", json!([["registry.example"]]), ours()),
        ("aud", Value::Null, ours()),
        ("exp", json!(NOW), OidcError::Expired),
        ("exp", json!(0), OidcError::Expired),
        ("exp", Value::Null, OidcError::Claim("exp")),
        ("exp", json!("2030"), OidcError::Claim("exp")),
        ("exp", json!(-1), OidcError::Claim("exp")),
        ("exp", json!(1e300), OidcError::Claim("exp")),
        ("iat", Value::Null, OidcError::Claim("iat")),
        ("iat", json!(NOW + 61), OidcError::NotYet),
        ("nbf", json!(NOW + 61), OidcError::NotYet),
        ("nbf", json!("soon"), OidcError::Claim("nbf")),
        ("sub", Value::Null, OidcError::Claim("sub")),
        ("sub", json!(""), OidcError::Claim("sub")),
        ("sub", json!("repo:acme/a\nb:x"), OidcError::Claim("sub")),
        ("sub", json!("repo:acme/".to_owned() + &"a".repeat(600)), OidcError::Claim("sub")),
        ("sub", json!("repo:evil/app:ref:refs/heads/main"), no_rule("repo:evil/app:ref:refs/heads/main")),
        ("ref", json!("elsewhere"), no_rule(SUBJECT)),
        ("ref", Value::Null, no_rule(SUBJECT)),
    ] {
        let mut wrong = claims();
        if value.is_null() {
            wrong.as_object_mut().unwrap().remove(claim);
        } else {
            wrong[claim] = value.clone();
        }
        let token = signer.sign(&json!({"alg": "ES256", "kid": "k"}), &wrong);
        assert_eq!(verify(&token, &keys), Err(error), "{claim} {value}");
    }
    for allowed in [json!(NOW + 60), json!(NOW as f64 + 0.5)] {
        let mut early = claims();
        (early["iat"], early["nbf"]) = (allowed.clone(), allowed);
        assert!(verify(&signer.sign(&json!({"alg": "ES256", "kid": "k"}), &early), &keys).is_ok());
    }
}

/// distribution CVE-2025-24976, and its relatives.
#[test]
fn the_header_chooses_a_key_and_nothing_else() {
    let (ours, theirs) = (Signer::ec(), Signer::ec());
    let keys = keys(&[ours.jwk("k")]);
    let jwk = theirs.jwk("k");
    for header in [
        json!({"alg": "ES256", "kid": "k"}),
        json!({"alg": "ES256", "kid": "k", "jwk": jwk}),
        json!({"alg": "ES256", "kid": "k", "jku": "https://evil.example/keys"}),
        json!({"alg": "ES256", "kid": "k", "x5u": "https://evil.example/cert", "x5c": ["MIIB"]}),
    ] {
        assert_eq!(verify(&theirs.sign(&header, &claims()), &keys), Err(OidcError::Signature), "{header}");
        assert!(verify(&ours.sign(&header, &claims()), &keys).is_ok(), "{header}");
    }
    for (header, error) in [
        (json!({"alg": "ES256", "kid": "other", "jwk": jwk}), OidcError::UnknownKey("other".into())),
        (json!({"alg": "ES256", "jwk": jwk}), OidcError::Malformed),
        (json!({"alg": "ES256", "kid": "k", "crit": ["exp"]}), OidcError::Malformed),
        (json!({"alg": "ES256", "kid": "k", "zip": "DEF"}), OidcError::Malformed),
        (json!({"alg": "ES384", "kid": "k"}), OidcError::Algorithm),
        (json!({"alg": "RS256", "kid": "k"}), OidcError::Algorithm),
        (json!({"alg": "EdDSA", "kid": "k"}), OidcError::Algorithm),
        (json!({"alg": "HS256", "kid": "k"}), OidcError::Algorithm),
        (json!({"alg": "none", "kid": "k"}), OidcError::Malformed),
        (json!({"kid": "k"}), OidcError::Malformed),
    ] {
        assert_eq!(verify(&ours.sign(&header, &claims()), &keys), Err(error.clone()), "{header}");
        let token = ours.sign(&header, &claims());
        let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
        assert_eq!(verify(&unsigned, &keys), Err(error), "{header} without a signature");
    }
}

#[test]
fn what_is_changed_after_signing_is_refused() {
    for signer in [Signer::rsa(), Signer::ec()] {
        let keys = keys(&[signer.jwk("k")]);
        let token = signer.sign(&json!({"alg": signer.algorithm(), "kid": "k"}), &claims());
        for at in (0..token.len()).step_by(7) {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(verify(&String::from_utf8(bytes).unwrap(), &keys).is_err(), "{at}");
        }
    }
    for bad in ["", "eyJ", "eyJ..", "eyJhbGciOiJFUzI1NiJ9.e30.AA", &format!("eyJ.{}.", "x".repeat(MAX_TOKEN))]
    {
        assert!(verify(bad, &IssuerKeys::default()).is_err(), "{bad}");
    }
    assert!(OidcToken::looks_like("correct horse").is_none() && OidcToken::looks_like("rreg_00").is_none());
}

#[test]
fn keys_that_are_no_use_are_left_out() {
    let (rsa, ec) = (Signer::rsa(), Signer::ec());
    let with = |mut key: Value, name: &str, value: Value| {
        key[name] = value;
        key
    };
    let short = with(rsa.jwk("short"), "n", json!(url(&[&[0; 200][..], &[0xff; 128]].concat())));
    for (key, usable) in [
        (rsa.jwk("a"), true),
        (ec.jwk("a"), true),
        (with(ec.jwk("a"), "use", json!("enc")), false),
        (with(ec.jwk("a"), "alg", json!("RS256")), false),
        (with(ec.jwk("a"), "alg", json!("ECDH-ES")), false),
        (with(ec.jwk("a"), "crv", json!("P-521")), false),
        (with(ec.jwk("a"), "kid", Value::Null), false),
        (short, false),
        (json!({"kty": "oct", "kid": "a", "k": "c2VjcmV0"}), false),
        (json!({"kty": "new", "kid": "a"}), false),
        (json!(7), false),
    ] {
        assert_eq!(keys(std::slice::from_ref(&key)).len(), usize::from(usable), "{key}");
    }
    let many = vec![ec.jwk("a"); MAX_KEYS + 1];
    assert!(IssuerKeys::parse(json!({ "keys": many }).to_string().as_bytes()).is_err());
    for bad in ["", "[]", "{}", r#"{"keys": 1}"#] {
        assert!(IssuerKeys::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    // An RSA key that names RS256 is not for RS512.
    let token = rsa.sign(&json!({"alg": "RS512", "kid": "a"}), &claims());
    assert_eq!(verify(&token, &keys(&[rsa.jwk("a")])), Err(OidcError::Algorithm));
}
