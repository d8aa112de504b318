//! Evidence goes where its image goes, in whatever form it is kept, and counts once wherever it is found.

use std::collections::BTreeSet;

use hyper::Method;
use rreg_oci::media_type;
use serde_json::{Value, json};

use super::cosign::{NO_SERVICES, cosign};
use super::{evidence, file, json, key_pair, output, person, rreg};
use crate::clients::Home;
use crate::harness::image::{Image, Stored};
use crate::harness::proxy::{Harm, Proxy, Rule};
use crate::harness::{Backend, Registry, distribution, tool};

on_each_backend!(
    survives_a_copy_and_counts_once,
    the_referrers_tag_alone,
    every_form_survives,
    nothing_is_overwritten
);

async fn survives_a_copy_and_counts_once(registry: Registry) {
    let (home, repository, api) = (person(), registry.repository(), registry.api());
    let image = Image::layered(&repository, 2);
    api.push(&repository, &image, Some("v1")).await;
    let (private, public) = key_pair(&home, "team");
    let name = format!("{}/{repository}:v1", registry.address());
    let (done, _) = json(&home, &["sign", &name, "--key", &private]);

    // The tag that clients keep for registries without a referrers API names the same signature.
    let referrer = done["referrer"].as_str().unwrap();
    let manifest = api.get_manifest(&repository, referrer).expect(200).await;
    let entry =
        json!({"mediaType": media_type::OCI_MANIFEST, "digest": referrer, "size": manifest.body.len()});
    let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [entry]});
    let tag = image.root().digest.referrers_tag();
    api.push_manifest(&repository, &tag, &Stored::new(&index)).await;
    let (found, code) = json(&home, &["verify", &name, "--key", &public]);
    assert_eq!((code, evidence(&found).len()), (0, 1), "{found}");
    assert_eq!(evidence(&found)[0]["found"], json!(["referrer", "referrers-tag"]));

    let Some(second) = Registry::start(Backend::SqliteDirectory).await else { return };
    let copy = format!("{}/{repository}:copied", second.address());
    rreg(&home, &["cp", &name, &copy]);
    let (found, code) = json(&home, &["verify", &copy, "--key", &public]);
    assert_eq!((code, evidence(&found).len()), (0, 1), "{found}");
    let bare = format!("{}/{repository}/bare:v1", second.address());
    rreg(&home, &["cp", "--no-referrers", &name, &bare]);
    assert_eq!(json(&home, &["verify", &bare, "--key", &public]).1, 1);
}

/// What a referrers tag lists is not believed: what is not there or about something else stays where it is.
async fn the_referrers_tag_alone(registry: Registry) {
    let (home, repository, api) = (person(), registry.repository(), registry.api());
    let image = Image::layered(&repository, 1);
    api.push(&repository, &image, Some("v1")).await;
    let stranger = Image::layered(&format!("{repository}/stranger"), 1);
    api.push(&repository, &stranger, None).await;
    let gone = Image::artifact("gone", "application/vnd.example");
    let listed = [stranger.root().descriptor(), gone.root().descriptor()];
    let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": listed});
    let tag = image.root().digest.referrers_tag();
    if api.put_manifest(&repository, &tag, &Stored::new(&index)).send().await.status != 201 {
        // A registry that takes no index with holes.
        let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": listed[..1]});
        api.push_manifest(&repository, &tag, &Stored::new(&index)).await;
    }
    let to = format!("{}/{repository}/copy:v1", registry.address());
    let (copied, code) = json(&home, &["cp", &format!("{}/{repository}:v1", registry.address()), &to]);
    assert_eq!(code, 0, "{copied}");
    assert!(copied["referrers_left_out"].as_u64() >= Some(1), "{copied}");
    let digest = stranger.root().digest.to_string();
    api.get_manifest(&format!("{repository}/copy"), &digest).expect(404).await;
}

/// Where there may be a signature that cannot be asked for, an image is not copied as if it had none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_is_not_no_evidence() {
    let Some(registry) = Registry::start(Backend::SqliteDirectory).await else { return };
    let (home, repository) = (person(), registry.repository());
    let image = Image::layered(&repository, 1);
    registry.api().push(&repository, &image, Some("v1")).await;
    let proxy = Proxy::before(registry.address().parse().unwrap());
    let (from, to) = (format!("{}/{repository}:v1", proxy.address()), home.path("copy.tar"));
    let to = to.display().to_string();
    proxy.harm(Rule::new(Method::GET, ".sig", usize::MAX, Harm::Status(503)));
    let done = output(&home, &["pull", &from, &to]);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(!done.status.success() && said.contains(".sig") && said.contains("503"), "{said}");
    proxy.mend();
    rreg(&home, &["pull", &from, &to]);
}

/// A home with a key of cosign's and a certificate of notation's.
fn signer() -> Option<Home> {
    let home = Home::for_programs(&["cosign", "notation"])?;
    tool::run(&mut cosign(&home, &["generate-key-pair"]));
    file(&home, "services.json", NO_SERVICES);
    tool::run(home.command("notation").args(["cert", "generate-test", "--default", "team"]));
    Some(home)
}

/// Signs with cosign 2's tags, with a bundle, and with notation.
fn sign_each_way(home: &Home, name: &str) {
    let key = ["--key", "cosign.key", "--allow-http-registry"];
    let tags = ["--new-bundle-format=false", "--tlog-upload=false", "--use-signing-config=false"];
    for flags in [&tags[..], &["--signing-config", "services.json"]] {
        tool::run(&mut cosign(home, &[&["sign"][..], &key, flags, &[name]].concat()));
    }
    tool::run(home.command("notation").args(["sign", "--insecure-registry", name]));
}

/// Every piece of evidence of an image that is valid, by key and by certificate, with its signer. Each is there once.
fn signers(home: &Home, name: &str) -> BTreeSet<String> {
    let trust = home.path(".config/notation").display().to_string();
    let mut all = BTreeSet::new();
    for asked in [["--key", "cosign.pub"], ["--notation-trust", &trust]] {
        let (found, code) = json(home, &[&["verify", name][..], &asked].concat());
        assert_eq!(code, 0, "{name} {asked:?}: {found}");
        assert_eq!(found["incomplete"], json!([]), "{found}");
        let mut ids = BTreeSet::new();
        for piece in evidence(&found) {
            let of =
                |field: &str| piece[field].as_str().unwrap_or_else(|| panic!("{field}: {piece}")).to_owned();
            assert!(ids.insert(of("id")), "twice: {found}");
            if piece["accepted"] == true {
                all.insert(
                    [of("kind"), of("id"), of("subject"), piece["verification"]["signer"].to_string()]
                        .join(" "),
                );
            }
        }
        assert_eq!(ids.len(), 3, "one in each form: {found}");
    }
    assert_eq!(all.len(), 3, "{all:?}");
    all
}

async fn every_form_survives(registry: Registry) {
    let Some(home) = signer() else { return };
    let Some((_running, other)) = distribution::start(&home.path("")) else { return };
    let Some(last) = Registry::start(Backend::SqliteDirectory).await else { return };
    let upstream = format!(r#"[{{name="up", url="http://{}"}}]"#, registry.address());
    let cache = Registry::start_with(Backend::SqliteDirectory, &[("RREG_UPSTREAMS", &upstream)]).await;
    let Some(cache) = cache else { return };
    let repository = registry.repository();
    for (shape, image) in [("image", Image::layered(&repository, 2)), ("index", Image::index(&repository))] {
        let name = |host: &str| format!("{host}/{repository}/{shape}:v1");
        registry.api().push(&format!("{repository}/{shape}"), &image, Some("v1")).await;
        let mut about = vec![image.root().digest];
        if shape == "index" {
            about.extend(image.manifests.first().map(|child| child.digest));
        }
        let digests: Vec<String> = about.iter().map(|digest| format!("@{digest}")).collect();
        let named = |host: &str| {
            let of = |digest: &String| format!("{host}/{repository}/{shape}{digest}");
            digests.iter().map(of).collect::<Vec<_>>()
        };
        let here = registry.address();
        let mut known = Vec::new();
        for one in named(here) {
            sign_each_way(&home, &one);
            known.push(signers(&home, &one));
        }
        rreg(&home, &["cp", &name(here), &name(&other)]);
        rreg(&home, &["cp", &name(&other), &name(last.address())]);
        let archive = home.path(&format!("{shape}.tar")).display().to_string();
        rreg(&home, &["pull", &name(&other), &archive]);
        rreg(&home, &["push", &archive, &format!("{}/{repository}/{shape}/back:v1", last.address())]);
        let back = named(last.address()).into_iter().map(|name| name.replace('@', "/back@")).collect();
        let cached = named(&format!("{}/up", cache.address()));
        for copies in [named(&other), named(last.address()), back, cached] {
            for (copy, known) in copies.iter().zip(&known) {
                assert_eq!(signers(&home, copy), *known, "{copy}");
                let offline =
                    ["--insecure-ignore-tlog", "--allow-http-registry", "--new-bundle-format=false"];
                tool::run(&mut cosign(
                    &home,
                    &[&["verify", "--key", "cosign.pub"][..], &offline, &[copy]].concat(),
                ));
            }
        }
        // A second time there is nothing to do.
        let (again, _) = json(&home, &["cp", &name(here), &name(&other)]);
        assert_eq!((&again["manifests_copied"], &again["blobs_copied"]), (&json!(0), &json!(0)), "{again}");
    }
}

/// Signatures of the destination's own under cosign 2's tag stay beside those that come.
async fn nothing_is_overwritten(registry: Registry) {
    let Some(home) = signer() else { return };
    let repository = registry.repository();
    let image = Image::layered(&repository, 1);
    let name = |part: &str| format!("{}/{repository}/{part}", registry.address());
    let (private, public) = key_pair(&home, "here");
    let tags = ["--new-bundle-format=false", "--tlog-upload=false", "--use-signing-config=false"];
    for (part, key) in [("from", "cosign.key"), ("to", private.as_str())] {
        registry.api().push(&format!("{repository}/{part}"), &image, Some("v1")).await;
        let one = format!("{}@{}", name(part), image.root().digest);
        let sign = [&["sign", "--key", key, "--allow-http-registry"][..], &tags, &[&one]].concat();
        tool::run(&mut cosign(&home, &sign));
    }
    let (from, to) = (name("from") + ":v1", name("to") + ":v1");
    let accepted = |image: &str, key: &str| {
        let (found, _): (Value, i32) = json(&home, &["verify", image, "--key", key]);
        (evidence(&found).iter().filter(|piece| piece["accepted"] == true).count(), evidence(&found).len())
    };
    assert_eq!((accepted(&to, "cosign.pub"), accepted(&to, &public)), ((0, 1), (1, 1)));
    rreg(&home, &["cp", &from, &to]);
    assert_eq!((accepted(&to, "cosign.pub"), accepted(&to, &public)), ((1, 2), (1, 2)));
    rreg(&home, &["cp", &from, &to]);
    rreg(&home, &["cp", &to, &from]);
    assert_eq!((accepted(&to, "cosign.pub"), accepted(&from, &public)), ((1, 2), (1, 2)));
}
