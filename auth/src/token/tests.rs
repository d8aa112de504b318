use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;

const NOW: u64 = 1_800_000_000;

fn settings() -> TokenSettings {
    TokenSettings { issuer: "rreg".into(), audience: "rreg".into(), lifetime: Duration::from_secs(300) }
}

fn issuer(keys: &[SigningKey]) -> TokenIssuer {
    TokenIssuer::new(settings(), keys)
}

fn alice() -> Identity {
    "user:alice".parse().unwrap()
}

fn caller() -> Caller {
    Caller::new(alice())
}

fn scopes() -> Vec<Scope> {
    Scope::parse_list("repository:team/app:pull,push registry:catalog:*").unwrap()
}

fn claims() -> Value {
    json!({"iss": "rreg", "aud": "rreg", "sub": "user:alice", "scope": "", "jti": "0",
           "iat": NOW, "nbf": NOW, "exp": NOW + 300})
}

/// A token with any header and claims, signed by `key`.
fn signed(header: &Value, claims: &Value, key: &SigningKey) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(header), part(claims));
    let key = EncodingKey::from_ec_der(key.expose());
    let signature = jsonwebtoken::crypto::sign(text.as_bytes(), &key, Algorithm::ES256).unwrap();
    format!("{text}.{signature}")
}

#[test]
fn what_is_issued_verifies_until_it_expires() {
    let issuer = issuer(&[SigningKey::generate().unwrap()]);
    let issued = issuer.issue(&caller(), &scopes(), NOW, 1).unwrap();
    assert_eq!(issued.lifetime, Duration::from_secs(300));
    let claims = issuer.verify(&issued.token, NOW + 299).unwrap();
    assert!(claims.made > 0);
    let made = claims.made;
    assert_eq!(
        claims,
        Claims { identity: alice(), scopes: scopes(), trust: vec![], expires: NOW + 300, made }
    );
    assert_eq!(issuer.verify(&issued.token, NOW + 300), Err(TokenError::Expired));
    assert_eq!(issuer.verify(&issued.token, NOW - 31), Err(TokenError::Invalid));
    assert!(issuer.verify(&issued.token, NOW - 30).is_ok(), "clocks of replicas differ");
}

#[test]
fn a_token_is_good_no_longer_than_what_was_presented_for_it() {
    let issuer = issuer(&[SigningKey::generate().unwrap()]);
    for (expires, lifetime) in [(NOW + 20, 20), (NOW + 1000, 300), (NOW, 0), (0, 0)] {
        let caller = Caller { expires: Some(expires), ..caller() };
        let issued = issuer.issue(&caller, &[], NOW, 1).unwrap();
        assert_eq!(issued.lifetime, Duration::from_secs(lifetime));
        assert_eq!(issuer.verify(&issued.token, NOW + lifetime), Err(TokenError::Expired));
    }
}

#[test]
fn private_keys_are_not_shown() {
    let key = SigningKey::generate().unwrap();
    let shown = format!("{key:?} {:?}", issuer(std::slice::from_ref(&key)));
    assert!(shown.contains(key.id()), "{shown}");
    let secret = &key.expose()[36..68];
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    for form in [format!("{secret:?}"), hex, URL_SAFE_NO_PAD.encode(secret)] {
        assert!(!shown.contains(&form[1..form.len() - 1]), "{shown}");
    }
}

#[test]
fn keys_are_replaced_with_overlap() {
    let (old, new) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let before = issuer(std::slice::from_ref(&old));
    let both = issuer(&[old.clone(), new.clone()]);
    let after = issuer(std::slice::from_ref(&new));
    let first = before.issue(&caller(), &[], NOW, 1).unwrap().token;
    let second = both.issue(&caller(), &[], NOW, 2).unwrap().token;
    assert!(both.verify(&first, NOW).is_ok() && both.verify(&second, NOW).is_ok());
    assert_eq!(before.verify(&second, NOW), Err(TokenError::UnknownKey));
    assert_eq!(after.verify(&first, NOW), Err(TokenError::UnknownKey));
    assert!(after.verify(&second, NOW).is_ok());
    let stored = SigningKey::from_pkcs8(new.expose()).unwrap();
    assert_eq!(stored.id(), new.id());
    assert!(issuer(&[stored]).verify(&second, NOW).is_ok());
    assert!(issuer(&[]).issue(&caller(), &[], NOW, 1).is_err());
    assert!(SigningKey::from_pkcs8(b"nonsense").is_err());
}

/// distribution CVE-2025-24976: a key in the token's own header was trusted.
#[test]
fn keys_and_addresses_in_the_header_count_for_nothing() {
    let (ours, theirs) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let issuer = issuer(std::slice::from_ref(&ours));
    let good = json!({"alg": "ES256", "kid": ours.id()});
    assert!(issuer.verify(&signed(&good, &claims(), &ours), NOW).is_ok());
    let (x, y) = theirs.public[1..].split_at(32);
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": ours.id()});
    for (header, error) in [
        (json!({"alg": "ES256", "kid": ours.id(), "jwk": jwk}), TokenError::Invalid),
        (json!({"alg": "ES256", "jwk": jwk}), TokenError::Invalid),
        (json!({"alg": "ES256", "kid": ours.id(), "jku": "https://evil.example/keys"}), TokenError::Invalid),
        (json!({"alg": "ES256", "kid": ours.id(), "x5u": "https://evil.example/cert"}), TokenError::Invalid),
        (json!({"alg": "ES256", "kid": "https://evil.example/key"}), TokenError::UnknownKey),
        (json!({"alg": "ES256", "kid": "../../etc/passwd"}), TokenError::UnknownKey),
        (json!({"alg": "ES256", "kid": theirs.id()}), TokenError::UnknownKey),
        (json!({"alg": "ES256"}), TokenError::Invalid),
    ] {
        assert_eq!(issuer.verify(&signed(&header, &claims(), &theirs), NOW), Err(error), "{header}");
    }
    // With a foreign key in the header and our signature it is still our key that counts.
    let header = json!({"alg": "ES256", "kid": ours.id(), "jwk": jwk});
    assert!(issuer.verify(&signed(&header, &claims(), &ours), NOW).is_ok());
}

#[test]
fn the_algorithm_is_pinned() {
    let key = SigningKey::generate().unwrap();
    let issuer = issuer(std::slice::from_ref(&key));
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for algorithm in ["none", "None", "HS256", "HS512", "RS256", "ES384", "EdDSA", ""] {
        let header = json!({"alg": algorithm, "kid": key.id()});
        let token = signed(&header, &claims(), &key);
        assert_eq!(issuer.verify(&token, NOW), Err(TokenError::Invalid), "{algorithm}");
        let unsigned = format!("{}.{}.", part(&header), part(&claims()));
        assert_eq!(issuer.verify(&unsigned, NOW), Err(TokenError::Invalid), "{algorithm}");
    }
    // The public key taken for an HMAC secret.
    let header = Header { kid: Some(key.id().into()), ..Header::new(Algorithm::HS256) };
    let confused = jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(&key.public)).unwrap();
    assert_eq!(issuer.verify(&confused, NOW), Err(TokenError::Invalid));
}

#[test]
fn every_claim_is_checked() {
    let key = SigningKey::generate().unwrap();
    let issuer = issuer(std::slice::from_ref(&key));
    let header = json!({"alg": "ES256", "kid": key.id()});
    for (claim, value) in [
        ("iss", json!("other")),
        ("aud", json!("other")),
        ("aud", json!(["other", "rreg"])),
        ("sub", json!("root")),
        ("sub", json!("")),
        ("scope", json!("repository:../x:pull")),
        ("exp", json!(NOW + 86_400)),
        ("exp", json!("never")),
        ("exp", Value::Null),
        ("iss", Value::Null),
        ("aud", Value::Null),
        ("sub", Value::Null),
    ] {
        let mut wrong = claims();
        wrong[claim] = value.clone();
        assert_eq!(
            issuer.verify(&signed(&header, &wrong, &key), NOW),
            Err(TokenError::Invalid),
            "{claim} {value}"
        );
    }
    let token = signed(&header, &claims(), &key);
    for at in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        // The last character of base64 has bits that mean nothing; nothing else may change.
        assert!(issuer.verify(&changed, NOW).is_err() || at == token.len() - 1, "{at}");
    }
    for bad in ["", ".", "..", "a.b.c", &"x".repeat(MAX_TOKEN + 1)] {
        assert_eq!(issuer.verify(bad, NOW), Err(TokenError::Invalid));
    }
}
