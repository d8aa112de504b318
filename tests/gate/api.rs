//! Policies of a registry: set, shown, explained, tried, and taken away again.

use super::{Desk, has, policy};
use crate::harness::Registry;
use crate::harness::image::Image;
use crate::harness::wait_until;

on_each_backend!(a_registry_obeys_what_is_put, what_if_tells_what_would_change);

async fn a_registry_obeys_what_is_put(registry: Registry) {
    let desk = Desk::new();
    let host = registry.address();
    let repository = registry.repository();
    let image = Image::layered(&repository, 1);
    registry.api().push(&repository, &image, Some("v1")).await;
    let name = format!("{host}/{repository}:v1");
    desk.key("team");
    let text = policy("signed", "signature: {any: [{key: team.pub}]}")
        + &format!("match: {{repos: [\"{repository}\"]}}\n");
    desk.write("signed.yaml", &text);
    let put = ["policy", "put", host, "signed.yaml"];
    has(&desk.rreg(&put).stderr(), &["team.pub"]);
    has(&desk.rreg(&["trust", "put", host, "team.pub", "team.key"]).stderr(), &["private key"]);
    desk.rreg(&["trust", "put", host, "team.pub", "team.pub"]).done();
    has(&desk.rreg(&["trust", "list", host]).done(), &["team.pub"]);
    desk.rreg(&put).done();
    has(&desk.rreg(&["policy", "list", host]).done(), &["signed", "enforce", &repository]);
    assert_eq!(desk.rreg(&["policy", "get", host, "signed"]).done(), text);

    let explained = desk.rreg(&["policy", "explain", &name, "--at", "pull"]).exit(1);
    has(&explained, &["denied", "policy signed (enforce, refused)", "require[0].signature", "fix"]);
    let json = desk.rreg(&["policy", "explain", &name, "--output", "json"]).json(1);
    assert_eq!(json[0]["decisions"]["pull"]["outcome"], "deny", "{json}");
    registry.api().get_manifest(&repository, "v1").expect(403).await;
    desk.rreg(&["policy", "delete", host, "signed"]).done();
    wait_until("the policy is gone", || {
        desk.rreg(&["policy", "explain", &name]).output.status.code() == Some(0)
    });
    desk.rreg(&["policy", "get", host, "signed"]).exit(1);
    desk.rreg(&["trust", "delete", host, "team.pub"]).done();
    desk.rreg(&["trust", "delete", host, "team.pub"]).exit(1);
    desk.rreg(&["policy", "explain", &format!("{host}/{repository}:none")]).exit(2);
    desk.rreg(&["policy", "list", "127.0.0.1:1"]).exit(2);
}

async fn what_if_tells_what_would_change(registry: Registry) {
    let desk = Desk::new();
    let host = registry.address();
    let (first, second) = (registry.repository(), registry.repository());
    for repository in [&first, &second] {
        registry.api().push(repository, &Image::layered(repository, 1), Some("v1")).await;
    }
    desk.key("team");
    desk.rreg(&["trust", "put", host, "team.pub", "team.pub"]).done();
    desk.write("new.yaml", &policy("new", "signature: {any: [{key: team.pub}]}"));
    let ask = |target: &str| {
        let what_if =
            ["policy", "explain", "--what-if", "new.yaml", "--at", "pull", "--output", "json", target];
        desk.rreg(&what_if).json(0)
    };
    let one = ask(&format!("{host}/{first}"));
    assert_eq!(one["changes"].as_array().unwrap().len(), 1, "{one}");
    let change = &one["changes"][0];
    let told = [&change["repository"], &change["before"], &change["after"], &change["tags"][0]];
    assert_eq!(told, [first.as_str(), "allow", "deny", "v1"], "{one}");
    assert_eq!(ask(host)["changes"].as_array().unwrap().len(), 2);
    let human = desk.rreg(&["policy", "explain", "--what-if", "new.yaml", "--at", "pull", host]).exit(0);
    has(&human, &[&second, "allow → deny", "2 of 2 images would change"]);
    // Nothing was set.
    desk.rreg(&["policy", "explain", &format!("{host}/{first}:v1")]).exit(0);
    desk.rreg(&["policy", "explain", "--what-if", "nothing.yaml", host]).exit(2);
    desk.rreg(&["policy", "explain", "--what-if", "new.yaml", host, "127.0.0.1:1"]).exit(64);
}
