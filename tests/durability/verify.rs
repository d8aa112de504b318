//! Compares a registry at rest with the model, and the model with what was found.

use rreg_oci::Digest;

use super::client::{Client, SHARED};
use super::model::Presence;
use super::target::{Answer, Fail, Target};

fn found<T>(answer: Answer<T>, what: &str) -> Option<T> {
    match answer {
        Ok(value) => Some(value),
        Err(Fail::Refused(404)) => None,
        Err(fail) => panic!("{what}: {fail:?}"),
    }
}

fn settle(presence: &mut Presence, there: bool, what: &str) {
    match (*presence, there) {
        (Presence::Yes, false) => panic!("{what} was acknowledged and is lost"),
        (Presence::No, true) => panic!("{what} must not be there"),
        _ => *presence = if there { Presence::Yes } else { Presence::No },
    }
}

/// Everything that client knows of its repository; what was open is settled afterwards.
pub(super) async fn repository<T: Target>(client: &mut Client<T>) {
    let (target, contents) = (client.target.clone(), client.contents.clone());
    let name = client.repository.name.clone();
    for (number, content) in contents.iter().enumerate() {
        let bytes = found(target.blob(&name, &content.digest).await, "blob");
        assert!(bytes.as_ref().is_none_or(|b| *b == content.bytes), "{} has other bytes", content.digest);
        let mut presence = client.repository.blob(number);
        settle(&mut presence, bytes.is_some(), &format!("blob {} in {name}", content.digest));
        client.repository.blobs.insert(number, presence);
    }
    let known: Vec<String> = client.repository.manifests.keys().cloned().collect();
    let expected: Vec<Presence> = known.iter().map(|digest| client.repository.manifest(digest)).collect();
    for ((digest, manifest), expected) in client.repository.manifests.iter_mut().zip(expected) {
        manifest.presence = expected;
        let body = found(target.manifest(&name, digest).await, "manifest");
        assert!(body.as_ref().is_none_or(|b| *b == manifest.body), "{digest} has other bytes");
        settle(&mut manifest.presence, body.is_some(), &format!("manifest {digest} in {name}"));
    }
    tags(client).await;
    let mut open = Vec::new();
    for mut upload in std::mem::take(&mut client.repository.uploads) {
        match found(target.status(&name, &upload.id).await, "upload") {
            Some(at) => {
                let allowed = upload.acknowledged..=upload.sent;
                assert!(allowed.contains(&at), "upload {} stands at {at}, must be in {allowed:?}", upload.id);
                (upload.acknowledged, upload.sent, upload.may_be_gone) = (at, at, false);
                open.push(upload);
            }
            None => assert!(upload.may_be_gone, "upload {} is lost", upload.id),
        }
    }
    client.repository.uploads = open;
    no_dangling_references(&target, &name).await;
}

async fn tags<T: Target>(client: &mut Client<T>) {
    let name = client.repository.name.clone();
    let listed = found(client.target.tags(&name).await, "tags").unwrap_or_default();
    let known: Vec<String> = client.repository.tags.keys().cloned().collect();
    assert!(listed.iter().all(|tag| known.contains(tag)), "{listed:?} has more than {known:?}");
    for tag in known {
        let body = found(client.target.manifest(&name, &tag).await, "tag");
        assert_eq!(body.is_some(), listed.contains(&tag), "{tag}: list and read differ");
        let value = body.map(|body| Digest::sha256(&body).to_string());
        let allowed = client.repository.tag(&tag);
        assert!(allowed.contains(&value), "{name}:{tag} is {value:?}, must be one of {allowed:?}");
        client.repository.set_tag(&tag, value);
    }
}

/// Whatever is tagged can be pulled whole.
pub(super) async fn no_dangling_references<T: Target>(target: &T, name: &str) {
    for tag in found(target.tags(name).await, "tags").unwrap_or_default() {
        let body = target.manifest(name, &tag).await.unwrap();
        let mut waiting = vec![body];
        while let Some(body) = waiting.pop() {
            let manifest: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let digest = |descriptor: &serde_json::Value| descriptor["digest"].as_str().unwrap().to_owned();
            let list = |field: &str| manifest[field].as_array().cloned().unwrap_or_default();
            for child in list("manifests") {
                waiting.push(target.manifest(name, &digest(&child)).await.unwrap());
            }
            let config = manifest.get("config").cloned();
            for blob in list("layers").iter().chain(&config) {
                let digest: Digest = digest(blob).parse().unwrap();
                let bytes = target.blob(name, &digest).await;
                let bytes = bytes.unwrap_or_else(|fail| panic!("{name}:{tag} needs {digest}: {fail:?}"));
                assert_eq!(Digest::of(digest.algorithm(), &bytes), digest);
            }
        }
    }
}

/// The repositories of all clients, and the one that they share.
pub(super) async fn all<T: Target>(clients: &mut [Client<T>]) {
    for client in clients.iter_mut() {
        repository(client).await;
    }
    if let Some(client) = clients.first() {
        no_dangling_references(&client.target, SHARED).await;
    }
}
