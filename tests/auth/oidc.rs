//! Workloads log in with the OIDC tokens of an issuer that is made here.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::harness::http::{manifest, uploads};
use crate::harness::image::Image;
use crate::harness::{Backend, tool};

use super::issuer::{Issuer, Mood, Signer, url};
use super::{Team, basic, bearing};

const AUDIENCE: &str = "registry.example";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn claims(issuer: &Issuer) -> Value {
    json!({"iss": issuer.address, "aud": AUDIENCE, "sub": "repo:acme/app:ref:refs/heads/main",
           "repository": "acme/app", "ref": "refs/heads/main", "iat": now() - 2, "nbf": now() - 2,
           "exp": now() + 3000})
}

/// `[[auth.oidc]]` with a rule for the main branch and one for tags.
fn setting(issuer: &Issuer, main: &str) -> String {
    format!(
        "[{{issuer='{}', private=true, audience='{AUDIENCE}', rules=[\
         {{name='main', claims={{repository='acme/*', ref='{main}'}}, organisation='team', \
           repositories=['team/app'], role='writer'}}, \
         {{name='tags', claims={{sub='repo:acme/app:ref:refs/tags/v*'}}, organisation='team', role='reader'}}]}}]",
        issuer.address
    )
}

async fn scene(backend: Backend, keys: &[&Signer]) -> Option<(Team, Issuer)> {
    let issuer = Issuer::start(keys).await;
    let setting = setting(&issuer, "refs/heads/main");
    let team = Team::start(backend, &[("RREG_AUTH__OIDC", &setting)]).await?;
    Some((team, issuer))
}

async fn rsa_and_elliptic_tokens_log_in(backend: Backend) {
    let (rsa, ec) = (Signer::rsa("one"), Signer::ec("two"));
    let Some((mut team, issuer)) = scene(backend, &[&rsa, &ec]).await else { return };
    let image = Image::layered("oidc", 1);
    for signer in [&rsa, &ec] {
        let api = team.0.api();
        let as_workload = basic("oidc", &signer.sign(&signer.header(), &claims(&issuer)));
        let scopes = "scope=repository:team/app:pull,push,delete&scope=repository:team/lib:pull";
        let got = api.get(format!("/v2/token?service=rreg&{scopes}")).header("authorization", &as_workload);
        let got = got.expect(200).await.json();
        assert_eq!(got["scope"], "repository:team/app:pull,push");
        assert_eq!(got["expires_in"], 300);
        let bearer = got["token"].as_str().unwrap();
        for stored in &image.blobs {
            let target = format!("{}?digest={}", uploads("team/app"), stored.digest);
            bearing(api.post(target).body(stored.bytes.clone()).octets(), bearer).expect(201).await;
        }
        bearing(api.put_manifest("team/app", "v1", image.root()), bearer).expect(201).await;
        // And by Basic alone.
        api.get_manifest("team/app", "v1").header("authorization", &as_workload).expect(200).await;
        for (target, method) in [(manifest("team/app", "v1"), "DELETE"), (manifest("team/lib", "v1"), "GET")]
        {
            let call = if method == "GET" { api.get(&target) } else { api.delete(&target) };
            let refused = call.header("authorization", &as_workload).refused(403, "DENIED").await;
            assert!(
                String::from_utf8_lossy(&refused.body).contains("a trust rule of auth.oidc"),
                "{refused}"
            );
        }
        api.post(uploads("other/app")).header("authorization", &as_workload).refused(403, "DENIED").await;
        let listed = api.get("/v2/_catalog").header("authorization", &as_workload).expect(200).await;
        assert_eq!(listed.texts("repositories"), ["team/app"]);
    }
    team.0.stop();
    let events = team.rreg(&["audit", "-n", "1000"]);
    let of = |event: &str| {
        let actor = format!("workload:{} repo:acme/app:ref:refs/heads/main", issuer.address);
        let all = events["events"].as_array().unwrap().iter();
        all.filter(|e| e["event"] == event && e["actor"] == *actor)
            .map(|e| e["rule"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("login"), ["trust rules of auth.oidc: main"; 2]);
    assert_eq!(of("manifest_put"), ["trust rule \"main\" of auth.oidc (writer)"; 2]);
}

async fn a_token_lives_no_longer_than_the_issuers_or_fifteen_minutes(backend: Backend) {
    let signer = Signer::ec("k");
    let issuer = Issuer::start(&[&signer]).await;
    let setting = setting(&issuer, "refs/heads/main");
    let settings = [("RREG_AUTH__OIDC", &*setting), ("RREG_AUTH__TOKEN_LIFETIME", "1h")];
    let Some(team) = Team::start(backend, &settings).await else { return };
    for (left, at_most) in [(100_000, 900), (600, 600)] {
        let mut claims = claims(&issuer);
        claims["exp"] = json!(now() + left);
        let secret = signer.sign(&signer.header(), &claims);
        let api = team.0.api();
        let form = format!("grant_type=password&username=oidc&password={secret}&service=rreg");
        for _ in 0..2 {
            let got = api.post("/v2/token").body(form.clone()).expect(200).await.json();
            let lifetime = got["expires_in"].as_u64().unwrap();
            assert!((1..=at_most).contains(&lifetime), "{lifetime}");
        }
    }
}

async fn every_mutation_is_refused(backend: Backend) {
    let (ours, theirs) = (Signer::ec("k"), Signer::ec("k"));
    let elsewhere = Issuer::start(&[&theirs]).await;
    let Some((team, issuer)) = scene(backend, &[&ours]).await else { return };
    let api = team.0.api();
    let good = claims(&issuer);
    let mut tokens = Vec::new();
    for (claim, value, why) in [
        ("iss", json!(elsewhere.address), "no issuer"),
        ("iss", json!(format!("{}/", issuer.address)), "no issuer"),
        ("aud", json!("another.example"), "not for this registry"),
        ("aud", json!([]), "not for this registry"),
        ("exp", json!(now() - 1), "has expired"),
        ("nbf", json!(now() + 600), "not valid yet"),
        ("iat", json!(now() + 600), "not valid yet"),
        ("sub", json!(7), "claim \\\"sub\\\""),
        ("repository", json!("evil/app"), "no trust rule"),
        ("ref", json!("refs/heads/feature"), "no trust rule"),
        ("ref", Value::Null, "no trust rule"),
    ] {
        let mut wrong = good.clone();
        wrong[claim] = value;
        tokens.push((ours.sign(&ours.header(), &wrong), why));
    }
    for (claim, why) in
        [("exp", "claim \\\"exp\\\""), ("iat", "claim \\\"iat\\\""), ("aud", "not for this registry")]
    {
        let mut wrong = good.clone();
        wrong.as_object_mut().unwrap().remove(claim);
        tokens.push((ours.sign(&ours.header(), &wrong), why));
    }
    let with = |name: &str, value: Value| {
        let mut header = ours.header();
        header[name] = value;
        header
    };
    for (header, why) in [
        (ours.header(), "signature is wrong"),
        (with("jwk", theirs.jwk()), "signature is wrong"),
        (with("jku", json!(format!("{}/keys", elsewhere.address))), "signature is wrong"),
        (with("x5u", json!(format!("{}/keys", elsewhere.address))), "signature is wrong"),
        (with("kid", json!("another")), "does not publish"),
        (with("alg", json!("RS256")), "public-key algorithm"),
        (with("alg", json!("HS256")), "public-key algorithm"),
        (with("alg", json!("none")), "is none"),
        (with("crit", json!(["b64"])), "is none"),
    ] {
        tokens.push((theirs.sign(&header, &good), why));
    }
    let unsigned = format!("{}.{}.", url(br#"{"alg":"none"}"#), url(good.to_string().as_bytes()));
    tokens.push((unsigned, "is none"));
    for (token, why) in &tokens {
        for target in ["/v2/token?service=rreg", "/v2/", "/v2/team/app/manifests/v1"] {
            let call = api.get(target).header("authorization", &basic("oidc", token));
            let answer = call.refused(401, "UNAUTHORIZED").await;
            let text = String::from_utf8_lossy(&answer.body);
            assert!(text.contains(why), "{why}: {text}");
        }
        // Nor is it a bearer token of ours.
        bearing(api.get("/v2/"), token).refused(401, "UNAUTHORIZED").await;
    }
    assert!(elsewhere.asked().is_empty(), "{:?}", elsewhere.asked());
    // Unknown keys make us ask now and then only: discovery and keys, once each.
    assert_eq!(issuer.asked(), ["/.well-known/openid-configuration", "/keys"]);
    let as_workload = basic("oidc", &ours.sign(&ours.header(), &good));
    api.get("/v2/").header("authorization", &as_workload).expect(200).await;
}

async fn an_issuer_that_misbehaves(backend: Backend) {
    let signer = Signer::ec("k");
    let elsewhere = Issuer::start(&[&signer]).await;
    let away = Mood::Away(format!("{}/keys", elsewhere.address));
    for (mood, why) in [
        (Mood::Down, "the answer is 503"),
        (away, "redirected to another server"),
        (Mood::Other, "another issuer"),
    ] {
        let Some((mut team, issuer)) = scene(backend, &[&signer]).await else { return };
        issuer.set(mood.clone());
        let as_workload = basic("oidc", &signer.sign(&signer.header(), &claims(&issuer)));
        let request = format!(
            "GET /v2/token HTTP/1.1\r\nhost: x\r\nauthorization: {as_workload}\r\nconnection: close\r\n\r\n"
        );
        let answer = team.0.api().raw(request.as_bytes());
        assert!(
            answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 30"),
            "{mood:?}: {answer}"
        );
        assert!(!answer.contains(why), "the reason is for the operator: {answer}");
        team.0.stop();
        let trail = tool::run(&mut team.0.command(&["audit", "--export", "jsonl"]));
        assert!(trail.contains(why), "{mood:?}: {trail}");
    }
    assert!(elsewhere.asked().is_empty());
}

async fn a_rule_that_is_changed_ends_the_tokens_that_it_gave(backend: Backend) {
    let signer = Signer::rsa("k");
    let Some((mut team, issuer)) = scene(backend, &[&signer]).await else { return };
    let as_workload = basic("oidc", &signer.sign(&signer.header(), &claims(&issuer)));
    let scope = "/v2/token?service=rreg&scope=repository:team/app:pull,push";
    let got = team.0.api().get(scope).header("authorization", &as_workload).expect(200).await.json();
    let bearer = got["token"].as_str().unwrap();
    bearing(team.0.api().post(uploads("team/app")), bearer).expect(202).await;
    for (branch, status) in [("refs/heads/main", 202), ("refs/heads/release", 401)] {
        team.0.stop();
        team.0.set("RREG_AUTH__OIDC", &setting(&issuer, branch));
        team.0.resume();
        assert_eq!(
            bearing(team.0.api().post(uploads("team/app")), bearer).send().await.status,
            status,
            "{branch}"
        );
    }
}

super::on_both!(
    rsa_and_elliptic_tokens_log_in,
    a_token_lives_no_longer_than_the_issuers_or_fifteen_minutes,
    every_mutation_is_refused,
    an_issuer_that_misbehaves,
    a_rule_that_is_changed_ends_the_tokens_that_it_gave,
);
