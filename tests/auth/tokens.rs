//! The token flow: GET and POST, what is asked for and what is given.

use serde_json::Value;

use crate::harness::Backend;
use crate::harness::http::uploads;
use crate::harness::image::Blob;

use super::{PASSWORD, Team, basic, bearing, by, token};

async fn get_and_post(backend: Backend) {
    let Some(team) = Team::start(backend, &[]).await else { return };
    let api = team.0.api();
    let scopes = |answer: &Value| answer["scope"].as_str().unwrap().to_owned();
    let all = "repository:team/app:pull,push,delete";
    for (name, given) in [
        ("anonymous", ""),
        ("stranger", ""),
        ("reader", "repository:team/app:pull"),
        ("writer", "repository:team/app:pull,push"),
        ("maintainer", all),
        ("root", all),
    ] {
        let got =
            by(api.get(format!("/v2/token?service=rreg&scope={all}&account=x")), name).expect(200).await;
        assert_eq!(scopes(&got.json()), given, "{name}");
        assert_eq!(got.json()["expires_in"], 300);
        if name == "anonymous" {
            continue;
        }
        let form = format!(
            "grant_type=password&username={name}&password={}&service=rreg&client_id=test&scope={all}",
            PASSWORD.replace(' ', "+")
        );
        let posted = api.post("/v2/token").body(form).expect(200).await.json();
        assert_eq!(scopes(&posted), given, "{name}");
        let bearer = posted["access_token"].as_str().unwrap();
        bearing(api.get("/v2/"), bearer).expect(200).await;
    }
    for (form, status) in [
        ("", 400),
        ("grant_type=refresh_token&refresh_token=x", 400),
        ("grant_type=password&username=root", 400),
        ("grant_type=password&username=root&password=wrong", 401),
        ("grant_type=password&username=nobody&password=wrong", 401),
    ] {
        assert_eq!(api.post("/v2/token").body(form).send().await.status, status, "{form}");
    }
    assert_eq!(api.post("/v2/token").body(vec![b'x'; 40_000]).send().await.status, 413);
    for (query, status) in [
        ("service=other", 400),
        // What cannot be granted is left out, and the rest is granted.
        ("scope=repository:../x:pull", 200),
        ("scope=nonsense", 200),
        ("scope=repository(plugin):x:pull", 200),
        ("", 200),
    ] {
        assert_eq!(by(api.get(format!("/v2/token?{query}")), "root").send().await.status, status, "{query}");
    }
    let many: Vec<String> = (0..40).map(|n| format!("scope=repository:team/r{n}:pull")).collect();
    for (others, granted) in
        [("scope=repository:Team/App:pull&scope=aws".to_owned(), 1), (many.join("&"), 32)]
    {
        let query = format!("/v2/token?scope=repository:team/app:pull&{others}");
        let answer = by(api.get(query), "root").expect(200).await.json();
        let scopes: Vec<&str> = answer["scope"].as_str().unwrap().split(' ').collect();
        assert_eq!((scopes.len(), scopes[0]), (granted, "repository:team/app:pull"), "{answer}");
    }
    // A token does not get the next one.
    let bearer = token(&team, "root", &[]).await;
    bearing(api.get("/v2/token"), &bearer).refused(401, "UNAUTHORIZED").await;
}

async fn a_mount_needs_two_scopes(backend: Backend) {
    let Some(team) = Team::start(backend, &[]).await else { return };
    let api = team.0.api();
    let blob = Blob::random("mounted", 100_000);
    let target = format!("{}?digest={}", uploads("team/from"), blob.digest);
    by(api.post(target).body(blob.bytes.clone()).octets(), "root").expect(201).await;
    let mount = |to: &str| format!("{}?mount={}&from=team/from", uploads(to), blob.digest);
    let challenge = api.post(mount("team/to")).refused(401, "UNAUTHORIZED").await;
    let scope = "scope=\"repository:team/to:pull,push repository:team/from:pull\"";
    assert!(challenge.header("www-authenticate").contains(scope), "{challenge}");
    let one = token(&team, "writer", &["repository:team/to:pull,push"]).await;
    bearing(api.post(mount("team/to")), &one).expect(202).await;
    let both = ["repository:team/to:pull,push", "repository:team/from:pull"];
    bearing(api.post(mount("team/to")), &token(&team, "writer", &both).await).expect(201).await;
    // One parameter with both, as some clients send it.
    let joined = ["repository:team/two:pull,push%20repository:team/from:pull"];
    bearing(api.post(mount("team/two")), &token(&team, "writer", &joined).await).expect(201).await;
}

async fn what_is_taken_away_is_gone_for_tokens_too(backend: Backend) {
    let Some(mut team) = Team::start(backend, &[]).await else { return };
    let scopes = ["repository:team/app:pull,push"];
    let (writer, reader) = (token(&team, "writer", &scopes).await, token(&team, "reader", &scopes).await);
    bearing(team.0.api().post(uploads("team/app")), &writer).expect(202).await;
    team.rreg(&["org", "add", "team", "writer", "reader"]);
    team.rreg(&["user", "rm", "reader"]);
    // What was believed for 30 seconds is forgotten with the process; keys and tokens are not.
    team.0.stop();
    team.0.resume();
    let api = team.0.api();
    bearing(api.post(uploads("team/app")), &writer).refused(403, "DENIED").await;
    bearing(api.get("/v2/"), &reader).refused(401, "UNAUTHORIZED").await;
    by(api.get("/v2/"), "reader").refused(401, "UNAUTHORIZED").await;
    api.get("/v2/").header("authorization", &basic("writer", PASSWORD)).expect(200).await;
}

async fn replicas_know_each_others_tokens(backend: Backend) {
    let Some(team) = Team::start(backend, &[]).await else { return };
    if !team.0.is_shareable() {
        return;
    }
    let replica = team.0.replica();
    let bearer = token(&team, "writer", &["repository:team/app:pull,push"]).await;
    bearing(replica.api().post(uploads("team/app")), &bearer).expect(202).await;
}

super::on_both!(
    get_and_post,
    a_mount_needs_two_scopes,
    what_is_taken_away_is_gone_for_tokens_too,
    replicas_know_each_others_tokens,
);
