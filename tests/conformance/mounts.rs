//! Taking a blob from another repository.

use rreg_oci::Algorithm;

use crate::harness::http::{blob, commit, uploads};
use crate::harness::image::{Blob, Image, noise};
use crate::harness::{Api, Registry};

on_each_backend!(mount_from, mount_without_from, mount_of_nothing, mount_needs_membership);

fn mount(repository: &str, content: &Blob, from: Option<&str>) -> String {
    let from = from.map(|f| format!("&from={f}")).unwrap_or_default();
    format!("{}?mount={}{from}", uploads(repository), content.digest)
}

async fn assert_mounted(api: &Api, repository: &str, content: &Blob, from: Option<&str>) {
    let answer = api.post(mount(repository, content, from)).expect(201).await;
    answer.assert_digest(&content.digest, api.is_strict());
    assert_eq!(api.get(answer.location()).expect(200).await.body, content.bytes);
    api.head(blob(repository, &content.digest)).expect(200).await;
}

async fn mount_from(registry: Registry) {
    let (api, source, target) = (registry.api(), registry.repository(), registry.repository());
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let content = Blob::with(algorithm, noise(&source, 512));
        api.push_blob(&source, &content).await;
        assert_mounted(&api, &target, &content, Some(&source)).await;
        // Mounting what is there already is no error.
        assert_mounted(&api, &target, &content, Some(&source)).await;
        // And it is its own: deleting the source leaves it.
        api.delete(blob(&source, &content.digest)).expect(202).await;
        api.head(blob(&source, &content.digest)).expect(404).await;
        assert_eq!(api.get(blob(&target, &content.digest)).expect(200).await.body, content.bytes);
    }
}

async fn mount_without_from(registry: Registry) {
    let (api, source, target) = (registry.api(), registry.repository(), registry.repository());
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let content = Blob::with(algorithm, noise(&source, 512));
        api.push_blob(&source, &content).await;
        assert_mounted(&api, &target, &content, None).await;
    }
}

/// The answer is an ordinary upload, through which the client then sends the bytes.
async fn mount_of_nothing(registry: Registry) {
    let (api, source, target) = (registry.api(), registry.repository(), registry.repository());
    for from in [Some(source.as_str()), None] {
        let content = Blob::random(&format!("{target}{from:?}"), 512);
        let location = api.post(mount(&target, &content, from)).expect(202).await.location();
        api.put(commit(&location, &content.digest), content.bytes.clone()).octets().expect(201).await;
        assert_eq!(api.get(blob(&target, &content.digest)).expect(200).await.body, content.bytes);
    }
}

/// `from` names a repository that does not hold the blob, though another does.
async fn mount_needs_membership(registry: Registry) {
    let (api, owner, bystander) = (registry.api(), registry.repository(), registry.repository());
    let target = registry.repository();
    let content = Blob::random(&owner, 512);
    api.push_blob(&owner, &content).await;
    api.push(&bystander, &Image::layered(&bystander, 1), None).await;
    if api.is_strict() {
        api.post(mount(&target, &content, Some(&bystander))).expect(202).await;
        api.head(blob(&target, &content.digest)).expect(404).await;
        api.post(mount(&target, &content, Some("Not/A/Name"))).refused(400, "NAME_INVALID").await;
    }
    api.post(format!("{}?mount=sha256:bad&from={owner}", uploads(&target)))
        .refused(400, "DIGEST_INVALID")
        .await;
}
