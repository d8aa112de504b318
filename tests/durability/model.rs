//! What the registry must hold, as far as its answers tell.

use std::collections::BTreeMap;

use bytes::Bytes;
use rreg_oci::{Algorithm, Digest};

use super::random::Random;

/// Lengths around every border there is: inline blobs, the hashing thread, parts of a directory's objects.
const LENGTHS: [usize; 12] = [
    0,
    1,
    300,
    (32 << 10) - 1,
    32 << 10,
    (32 << 10) + 1,
    (128 << 10) + 7,
    (1 << 20) - 1,
    1 << 20,
    (1 << 20) + 1,
    (2 << 20) + 12345,
    5 << 19,
];

/// Something to push.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) bytes: Bytes,
    pub(super) digest: Digest,
}

impl Content {
    pub(super) fn new(bytes: Vec<u8>, algorithm: Algorithm) -> Self {
        Self { digest: Digest::of(algorithm, &bytes), bytes: bytes.into() }
    }

    pub(super) fn is_sha512(&self) -> bool {
        self.digest.algorithm() == Algorithm::Sha512
    }
}

/// All clients push the same contents, so that they meet in the rows and objects of each.
pub(super) fn contents(random: &mut Random) -> Vec<Content> {
    let algorithm = |n: usize| if n.is_multiple_of(5) { Algorithm::Sha512 } else { Algorithm::Sha256 };
    let content = |(n, length): (usize, &usize)| Content::new(random.bytes(*length), algorithm(n));
    LENGTHS.iter().chain(&LENGTHS[2..]).enumerate().map(content).collect()
}

/// Whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    No,
    Yes,
    /// A write was not acknowledged: either is right.
    Maybe,
}

impl Presence {
    pub(super) fn or_yes(self) -> Self {
        if self == Self::Yes { Self::Yes } else { Self::Maybe }
    }

    pub(super) fn or_no(self) -> Self {
        if self == Self::No { Self::No } else { Self::Maybe }
    }
}

/// A manifest that was pushed at least once.
#[derive(Clone, Debug)]
pub(super) struct ManifestState {
    pub(super) body: Bytes,
    pub(super) digest: Digest,
    pub(super) media_type: &'static str,
    pub(super) blobs: Vec<usize>,
    pub(super) children: Vec<String>,
    /// The manifest that it says something about.
    pub(super) subject: Option<String>,
    /// As the last answer left it; see [`Repository::manifest`].
    pub(super) presence: Presence,
}

/// An upload session that was opened.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    pub(super) id: String,
    pub(super) content: usize,
    /// Bytes that the registry has said it has,
    pub(super) acknowledged: u64,
    /// and those that it may have.
    pub(super) sent: u64,
    /// Whether a commit or cancel was not acknowledged.
    pub(super) may_be_gone: bool,
}

/// One repository, written by one client.
#[derive(Clone, Debug, Default)]
pub(super) struct Repository {
    pub(super) name: String,
    pub(super) blobs: BTreeMap<usize, Presence>,
    pub(super) manifests: BTreeMap<String, ManifestState>,
    /// What each tag may point at; `None` is nothing.
    pub(super) tags: BTreeMap<String, Vec<Option<String>>>,
    pub(super) uploads: Vec<Upload>,
    /// Whether what nothing holds goes by itself, at any time.
    pub(super) reclaims: bool,
}

impl Repository {
    /// The process is gone, and with it, on SQLite, the sessions that had no bytes: their clients begin again.
    pub(super) fn forget_empty_uploads(&mut self) {
        for upload in &mut self.uploads {
            upload.may_be_gone |= upload.acknowledged == 0;
        }
    }

    pub(super) fn blob(&self, content: usize) -> Presence {
        match self.blobs.get(&content).copied().unwrap_or(Presence::No) {
            Presence::Yes if self.reclaims && self.blob_in_use(content) != Presence::Yes => Presence::Maybe,
            presence => presence,
        }
    }

    pub(super) fn manifest(&self, digest: &str) -> Presence {
        match self.manifests.get(digest).map_or(Presence::No, |m| m.presence) {
            Presence::Yes if self.reclaims && !self.is_held(digest) => Presence::Maybe,
            presence => presence,
        }
    }

    /// Whether it must stay: for its tag, or for an index or a subject that must stay. There are no cycles: a
    /// manifest names digests of manifests that were made before it.
    fn is_held(&self, digest: &str) -> bool {
        let tagged = |values: &Vec<Option<String>>| matches!(&values[..], [Some(one)] if one == digest);
        let subject = self.manifests.get(digest).and_then(|m| m.subject.as_ref());
        self.tags.values().any(tagged)
            || subject.is_some_and(|subject| self.manifest(subject) == Presence::Yes)
            || self.child_in_use(digest) == Presence::Yes
    }

    /// Enters that the manifest `there` is there, by `change`. What says something about it and was not held until
    /// now may have gone before: that its subject is there again does not bring it back.
    pub(super) fn held_anew(&mut self, there: &str, change: impl FnOnce(&mut Self)) {
        let unsure = |(digest, state): (&String, &ManifestState)| {
            let said = state.presence == Presence::Yes && state.subject.is_some() && digest != there;
            (said && self.manifest(digest) == Presence::Maybe).then(|| digest.clone())
        };
        let unsure: Vec<String> = self.manifests.iter().filter_map(unsure).collect();
        change(self);
        for digest in unsure {
            if self.manifest(&digest) == Presence::Yes && self.child_in_use(&digest) != Presence::Yes {
                self.manifests.entry(digest).and_modify(|state| state.presence = Presence::Maybe);
            }
        }
    }

    /// Whether a manifest that is there needs the blob.
    pub(super) fn blob_in_use(&self, content: usize) -> Presence {
        self.strongest(|m| m.blobs.contains(&content))
    }

    pub(super) fn child_in_use(&self, digest: &str) -> Presence {
        self.strongest(|m| m.children.iter().any(|c| c == digest))
    }

    fn strongest(&self, is_user: impl Fn(&ManifestState) -> bool) -> Presence {
        let users =
            self.manifests.iter().filter(|(_, m)| is_user(m)).map(|(digest, _)| self.manifest(digest));
        users.fold(Presence::No, |found, user| match (found, user) {
            (Presence::Yes, _) | (_, Presence::Yes) => Presence::Yes,
            (Presence::Maybe, _) | (_, Presence::Maybe) => Presence::Maybe,
            _ => Presence::No,
        })
    }

    pub(super) fn tag(&self, name: &str) -> Vec<Option<String>> {
        self.tags.get(name).cloned().unwrap_or_else(|| vec![None])
    }

    /// The tag may also mean `value` from now on.
    pub(super) fn tag_or(&mut self, name: &str, value: Option<String>) {
        let values = self.tags.entry(name.to_owned()).or_insert_with(|| vec![None]);
        if !values.contains(&value) {
            values.push(value);
        }
    }

    pub(super) fn set_tag(&mut self, name: &str, value: Option<String>) {
        self.tags.insert(name.to_owned(), vec![value]);
    }

    /// Names of manifests that are there for certain.
    pub(super) fn present_manifests(&self) -> Vec<String> {
        let present = self.manifests.iter().filter(|(_, m)| m.presence == Presence::Yes);
        present.map(|(digest, _)| digest.clone()).collect()
    }

    pub(super) fn present_blobs(&self) -> Vec<usize> {
        self.blobs.iter().filter(|(_, p)| **p == Presence::Yes).map(|(content, _)| *content).collect()
    }
}
