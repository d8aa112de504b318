//! Whether a signer's certificate was revoked is asked where its authority says, here of a list that the test serves.

use std::fs;
use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber, date_time_ymd,
};
use serde_json::json;

use super::{evidence, json};
use crate::clients::Home;
use crate::harness::image::Image;
use crate::harness::{Registry, tool};

on_each_backend!(authorities_are_asked);

/// An authority that signs lists.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

fn params(name: &str, usages: Vec<KeyUsagePurpose>) -> CertificateParams {
    let mut params = CertificateParams::default();
    for (kind, text) in
        [(DnType::CountryName, "XX"), (DnType::OrganizationName, "Example"), (DnType::CommonName, name)]
    {
        params.distinguished_name.push(kind, text);
    }
    params.key_usages = usages;
    (params.not_before, params.not_after) = (date_time_ymd(2025, 1, 1), date_time_ymd(2099, 1, 1));
    params
}

impl Authority {
    fn new() -> Self {
        let usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let mut params = params("authority", usages);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A signer's key and chain whose revocation is told at `url`.
    fn signer(&self, serial: u64, url: &str) -> (String, String) {
        let mut params = params("signer", vec![KeyUsagePurpose::DigitalSignature]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        params.serial_number = Some(SerialNumber::from(serial));
        params.use_authority_key_identifier_extension = true;
        params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![url.to_owned()] }];
        let key = KeyPair::generate().unwrap();
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem() + &self.pem;
        (key.serialize_pem(), chain)
    }

    fn list(&self, revoked: &[u64]) -> Vec<u8> {
        let of = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2025, 2, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2025, 3, 1),
            next_update: date_time_ymd(2099, 1, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(of).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().der().to_vec()
    }
}

/// What is served, if anything.
type Served = Arc<Mutex<Option<Vec<u8>>>>;

/// Serves it everywhere; gives the address.
async fn serve(served: Served) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/list.crl", listener.local_addr().unwrap());
    let answer = move || {
        let list = served.lock().unwrap().clone();
        async move {
            list.map_or_else(|| StatusCode::NOT_FOUND.into_response(), |list| Response::new(list.into()))
        }
    };
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await });
    address
}

async fn authorities_are_asked(registry: Registry) {
    let Some(home) = Home::for_programs(&["notation"]) else { return };
    let served = Served::default();
    let authority = Authority::new();
    let (key, chain) = authority.signer(77, &serve(served.clone()).await);
    let trust = home.path(".config/notation");
    let store = trust.join("truststore/x509/ca/team");
    fs::create_dir_all(&store).unwrap();
    fs::write(store.join("authority.pem"), &authority.pem).unwrap();
    fs::write(trust.join("signer.key"), key).unwrap();
    fs::write(trust.join("signer.pem"), chain).unwrap();
    let keys = json!({"default": "team", "keys": [{"name": "team",
        "keyPath": trust.join("signer.key"), "certPath": trust.join("signer.pem")}]});
    fs::write(trust.join("signingkeys.json"), keys.to_string()).unwrap();

    let repository = registry.repository();
    let image = Image::layered(&repository, 1);
    registry.api().push(&repository, &image, Some("v1")).await;
    let name = format!("{}/{repository}@{}", registry.address(), image.root().digest);
    tool::run(home.command("notation").args(["sign", "--insecure-registry", &name]));
    let trust = trust.display().to_string();
    let verify = |more: &[&str]| {
        let (found, code) = json(&home, &[&["verify", &name, "--notation-trust", &trust][..], more].concat());
        (code, evidence(&found)[0]["verification"]["verdict"].as_str().unwrap().to_owned(), found)
    };

    // Nobody answers: that is no answer, and what it means is said by whoever asks.
    let (code, verdict, found) = verify(&[]);
    assert_eq!((code, verdict.as_str()), (2, "error"), "{found}");
    for check in ["lenient", "off"] {
        let (code, verdict, found) = verify(&["--revocation", check]);
        assert_eq!((code, verdict.as_str()), (0, "valid"), "{check}: {found}");
    }
    *served.lock().unwrap() = Some(authority.list(&[78]));
    let (code, verdict, found) = verify(&[]);
    assert_eq!((code, verdict.as_str()), (0, "valid"), "{found}");
    *served.lock().unwrap() = Some(authority.list(&[77]));
    for check in ["strict", "lenient"] {
        let (code, verdict, found) = verify(&["--revocation", check]);
        assert_eq!((code, verdict.as_str()), (1, "invalid"), "{check}: {found}");
    }
    // Not signed by the authority: no answer either.
    *served.lock().unwrap() = Some(Authority::new().list(&[]));
    let (code, verdict, found) = verify(&[]);
    assert_eq!((code, verdict.as_str()), (2, "error"), "{found}");
}
