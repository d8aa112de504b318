//! The random client's steps with manifests and tags.

use bytes::Bytes;
use rreg_oci::Digest;

use super::client::Client;
use super::model::{ManifestState, Presence};
use super::target::{Fail, Push, Target};

pub(super) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

impl<T: Target> Client<T> {
    fn descriptor(media_type: &str, digest: &Digest, size: usize) -> serde_json::Value {
        serde_json::json!({"mediaType": media_type, "digest": digest, "size": size})
    }

    pub(super) fn manifest(
        &mut self,
        media_type: &'static str,
        blobs: Vec<usize>,
        children: Vec<String>,
        subject: Option<String>,
    ) -> ManifestState {
        let nonce = self.random.below(1000);
        let blob = |content: &usize| {
            let content = &self.contents[*content];
            Self::descriptor("application/octet-stream", &content.digest, content.bytes.len())
        };
        let child = |name: &String| {
            let child = &self.repository.manifests[name];
            Self::descriptor(child.media_type, &child.digest, child.body.len())
        };
        let mut body = if media_type == IMAGE {
            serde_json::json!({"schemaVersion": 2, "mediaType": media_type, "config": blob(&blobs[0]),
                "layers": blobs[1..].iter().map(blob).collect::<Vec<_>>(), "annotations": {"n": nonce.to_string()}})
        } else {
            serde_json::json!({"schemaVersion": 2, "mediaType": media_type,
                "manifests": children.iter().map(child).collect::<Vec<_>>(), "annotations": {"n": nonce.to_string()}})
        };
        if let Some(subject) = &subject {
            body["subject"] = child(subject);
        }
        let body = Bytes::from(body.to_string());
        let presence = Presence::No;
        ManifestState { digest: Digest::sha256(&body), body, media_type, blobs, children, subject, presence }
    }

    pub(super) async fn push_image(&mut self) {
        let mut blobs = self.repository.present_blobs();
        blobs.truncate(1 + self.random.below(4));
        let missing = self.random.one_in(6).then(|| self.any_content().0);
        blobs.extend(missing);
        if blobs.is_empty() {
            return self.post().await;
        }
        let known: Vec<String> = self.repository.manifests.keys().cloned().collect();
        // There or not: a subject need not be.
        let subject = if self.random.one_in(4) { self.random.pick(&known).cloned() } else { None };
        let manifest = self.manifest(IMAGE, blobs, Vec::new(), subject);
        self.push(manifest).await;
    }

    pub(super) async fn push_index(&mut self) {
        let mut children = self.repository.present_manifests();
        children.truncate(1 + self.random.below(3));
        if children.is_empty() {
            return self.push_image().await;
        }
        let manifest = self.manifest(INDEX, Vec::new(), children, None);
        self.push(manifest).await;
    }

    pub(super) async fn tag_again(&mut self) {
        let present = self.repository.present_manifests();
        if let Some(name) = self.random.pick(&present) {
            let manifest = self.repository.manifests[name].clone();
            self.push(manifest).await;
        }
    }

    async fn push(&mut self, manifest: ManifestState) {
        let name = manifest.digest.to_string();
        let mut tags: Vec<String> = (0..self.random.below(4)).map(|_| self.any_tag()).collect();
        tags.dedup();
        let push = Push {
            media_type: manifest.media_type,
            digest: manifest.digest,
            body: manifest.body.clone(),
            tags: &tags,
        };
        let answer = self.target.put_manifest(&self.repository.name, push).await;
        let has = |p: Presence| p != Presence::No;
        let all_there = manifest.blobs.iter().all(|blob| has(self.repository.blob(*blob)));
        let some_missing = manifest.blobs.iter().any(|blob| self.repository.blob(*blob) != Presence::Yes)
            || manifest.children.iter().any(|child| self.repository.manifest(child) != Presence::Yes);
        match answer {
            Ok(()) => {
                assert!(all_there, "{name} was taken although a blob of it is missing");
                self.repository.held_anew(&name, |repository| {
                    manifest.blobs.iter().for_each(|b| {
                        repository.blobs.insert(*b, Presence::Yes);
                    });
                    for child in &manifest.children {
                        if let Some(child) = repository.manifests.get_mut(child) {
                            child.presence = Presence::Yes;
                        }
                    }
                    repository
                        .manifests
                        .insert(name.clone(), ManifestState { presence: Presence::Yes, ..manifest.clone() });
                    tags.iter().for_each(|tag| repository.set_tag(tag, Some(name.clone())));
                });
            }
            Err(Fail::Lost) => {
                let before = self.repository.manifests.get(&name).map_or(Presence::No, |m| m.presence);
                let presence = before.or_yes();
                self.repository.manifests.insert(name.clone(), ManifestState { presence, ..manifest });
                tags.iter().for_each(|tag| self.repository.tag_or(tag, Some(name.clone())));
            }
            Err(Fail::Refused(404)) if some_missing => {}
            Err(fail) => self.unexpected("manifest push", fail),
        }
    }

    pub(super) async fn delete_tag(&mut self) {
        let tag = self.any_tag();
        let before = self.repository.tag(&tag);
        match self.target.delete_manifest(&self.repository.name, &tag).await {
            Ok(()) => {
                assert_ne!(before, [None], "{tag} was deleted, but was not there");
                self.repository.set_tag(&tag, None);
            }
            Err(Fail::Refused(404)) => {
                assert!(before.contains(&None), "{tag} must be there: {before:?}");
                self.repository.set_tag(&tag, None);
            }
            Err(Fail::Lost) => self.repository.tag_or(&tag, None),
            Err(fail) => self.unexpected("tag delete", fail),
        }
    }

    pub(super) async fn delete_manifest(&mut self) {
        let names: Vec<String> = self.repository.manifests.keys().cloned().collect();
        let Some(name) = self.random.pick(&names).cloned() else { return };
        let used = self.repository.child_in_use(&name);
        let before = self.repository.manifest(&name);
        let answer = self.target.delete_manifest(&self.repository.name, &name).await;
        let after = match answer {
            Ok(()) => {
                assert!(before != Presence::No && used != Presence::Yes, "{name} could not be deleted");
                Presence::No
            }
            Err(Fail::Refused(404)) => {
                assert_ne!(before, Presence::Yes, "{name} must be there");
                Presence::No
            }
            Err(Fail::Refused(409)) => {
                assert_ne!(used, Presence::No, "nothing refers to {name}");
                Presence::Yes
            }
            Err(Fail::Lost) => before.or_no(),
            Err(fail) => self.unexpected("manifest delete", fail),
        };
        self.repository.held_anew(&name, |repository| {
            if let Some(manifest) = repository.manifests.get_mut(&name) {
                manifest.presence = after;
            }
        });
        let tagged: Vec<String> = self.repository.tags.keys().cloned().collect();
        for tag in tagged {
            let mut values = self.repository.tag(&tag);
            if after != Presence::Yes && values.contains(&Some(name.clone())) {
                values.retain(|value| after != Presence::No || value.as_ref() != Some(&name));
                if !values.contains(&None) {
                    values.push(None);
                }
                self.repository.tags.insert(tag, values);
            }
        }
    }
}
