//! An issuer of OIDC tokens on loopback, which can misbehave.

use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use axum::Router;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::base64;

/// A key, with the name that tokens give it.
pub(super) enum Signer {
    Rsa(&'static str, RsaKeyPair),
    Ec(&'static str, EcdsaKeyPair),
}

impl Signer {
    pub(super) fn rsa(id: &'static str) -> Self {
        Self::Rsa(id, RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    pub(super) fn ec(id: &'static str) -> Self {
        Self::Ec(id, EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(super) fn header(&self) -> Value {
        match self {
            Self::Rsa(id, _) => json!({"alg": "RS256", "kid": id, "typ": "JWT"}),
            Self::Ec(id, _) => json!({"alg": "ES256", "kid": id, "typ": "JWT"}),
        }
    }

    pub(super) fn jwk(&self) -> Value {
        match self {
            Self::Rsa(id, pair) => {
                // RSAPublicKey (RFC 8017, A.1.1): 2048 bits after a sign byte, then 65537.
                let der = pair.public_key().as_ref();
                assert_eq!((der.len(), &der[der.len() - 3..]), (270, &[1, 0, 1][..]));
                json!({"kty": "RSA", "kid": id, "use": "sig", "e": "AQAB", "n": url(&der[9..265])})
            }
            Self::Ec(id, pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "kid": id, "use": "sig", "x": url(x), "y": url(y)})
            }
        }
    }

    pub(super) fn sign(&self, header: &Value, claims: &Value) -> String {
        let text = format!("{}.{}", url(header.to_string().as_bytes()), url(claims.to_string().as_bytes()));
        let random = SystemRandom::new();
        let signature = match self {
            Self::Rsa(_, pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature).unwrap();
                signature
            }
            Self::Ec(_, pair) => pair.sign(&random, text.as_bytes()).unwrap().as_ref().to_vec(),
        };
        format!("{text}.{}", url(&signature))
    }
}

/// URL-safe alphabet without padding (RFC 4648, section 5).
pub(super) fn url(bytes: &[u8]) -> String {
    base64(bytes).trim_end_matches('=').replace('+', "-").replace('/', "_")
}

/// What the issuer answers instead of its keys.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Mood {
    Well,
    Down,
    /// Redirects to another server.
    Away(String),
    /// Says that it is somebody else.
    Other,
}

struct State {
    mood: Mood,
    keys: Vec<Value>,
    asked: Vec<String>,
}

pub(super) struct Issuer {
    pub(super) address: String,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Issuer {
    pub(super) async fn start(keys: &[&Signer]) -> Self {
        let keys = keys.iter().map(|signer| signer.jwk()).collect();
        let state = Arc::new(Mutex::new(State { mood: Mood::Well, keys, asked: Vec::new() }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (shared, own) = (state.clone(), address.clone());
        let router = Router::new().fallback(async move |uri: Uri| answer(&shared, &own, uri.path()));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, state, task }
    }

    pub(super) fn set(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    /// The paths that it was asked for.
    pub(super) fn asked(&self) -> Vec<String> {
        self.state.lock().unwrap().asked.clone()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(state: &Mutex<State>, address: &str, path: &str) -> Response {
    let mut state = state.lock().unwrap();
    state.asked.push(path.to_owned());
    match (&state.mood, path) {
        (Mood::Down, _) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        (Mood::Away(there), _) => (StatusCode::FOUND, [(header::LOCATION, there.clone())]).into_response(),
        (Mood::Other, "/.well-known/openid-configuration") => {
            json!({"issuer": "https://issuer.example", "jwks_uri": format!("{address}/keys")})
                .to_string()
                .into_response()
        }
        (_, "/.well-known/openid-configuration") => {
            json!({"issuer": address, "jwks_uri": format!("{address}/keys")}).to_string().into_response()
        }
        (_, "/keys") => json!({"keys": state.keys}).to_string().into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}
