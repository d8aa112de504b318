//! Evidence goes where its image goes, and counts once wherever it is found.

use rreg_oci::media_type;
use serde_json::json;

use super::{evidence, json, key_pair, person, rreg};
use crate::harness::image::{Image, Stored};
use crate::harness::{Backend, Registry};

on_each_backend!(survives_a_copy_and_counts_once);

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
