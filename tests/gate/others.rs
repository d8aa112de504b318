//! Images of a registry that is not rreg, and signatures that rreg did not make.

use super::{Desk, has};
use crate::harness::image::Image;
use crate::harness::{Backend, Registry, distribution, tool};

/// Without a referrers API signatures are found by tag; a copy takes them along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn distribution_is_as_good() {
    let desk = Desk::new();
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &[]).await else { return };
    let Some((_running, other)) = distribution::start(&desk.path("")) else { return };
    desk.prod();
    let image = Image::index("other");
    registry.api().push("team/app", &image, Some("v1")).await;
    let here = format!("{}/team/app:v1", registry.address());
    let there = format!("{other}/team/app:v1");
    desk.rreg(&["cp", &here, &there]).done();
    has(&desk.gate(&there, &[]).exit(1), &["denied", "linux/arm64"]);
    desk.rreg(&["sign", &there, "--key", "policies/keys/team.key"]).done();
    has(&desk.gate(&there, &[]).exit(0), &["allowed"]);
    desk.gate(&here, &[]).exit(1);
    desk.rreg(&["cp", &there, &here]).done();
    desk.gate(&here, &[]).exit(0);
}

/// Both ways in which cosign keeps signatures.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cosign_signs() {
    let desk = Desk::new();
    let Some(cosign) = tool::find("cosign") else {
        tool::skip("cosign is not installed");
        return;
    };
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &[]).await else { return };
    desk.prod();
    let offline = r#"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json",
        "rekorTlogConfig":{},"tsaConfig":{}}"#;
    desk.write("signing.json", offline);
    let forms: [(&str, &[&str]); 2] = [
        ("bundle", &["--signing-config", "signing.json"]),
        ("tag", &["--new-bundle-format=false", "--use-signing-config=false", "--tlog-upload=false"]),
    ];
    for (form, flags) in forms {
        let image = Image::layered(form, 1);
        registry.api().push("team/app", &image, Some(form)).await;
        let name = format!("{}/team/app@{}", registry.address(), image.root().digest);
        desk.gate(&name, &[]).exit(1);
        let mut sign = desk.command(&cosign);
        sign.args(["sign", "--key", "policies/keys/team.key", "--allow-http-registry"])
            .args(flags)
            .arg(&name);
        sign.env("COSIGN_YES", "true");
        tool::run(&mut sign);
        desk.gate(&name, &[]).exit(0);
    }
}
