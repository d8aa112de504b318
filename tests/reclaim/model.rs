//! Random steps against a model that knows exactly what must be there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use rreg_oci::{Algorithm, ContentRange, Digest, Reference, RepositoryName};
use rreg_storage::{ChunkHeaders, Storage, StorageError};

use super::store::{Rows, assert_sound, at_once, image, index, open, pieces, push, put, read};
use crate::durability::random::{Random, rounds, seed};
use crate::harness::postgres;

const TAGS: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Debug, Default)]
struct Manifest {
    body: Bytes,
    blobs: BTreeSet<Digest>,
    children: BTreeSet<Digest>,
    subject: Option<Digest>,
}

/// What a repository must hold.
#[derive(Debug, Default)]
struct Repository {
    blobs: BTreeSet<Digest>,
    manifests: BTreeMap<Digest, Manifest>,
    tags: BTreeMap<&'static str, Digest>,
}

impl Repository {
    fn is_child(&self, digest: &Digest) -> bool {
        self.manifests.values().any(|m| m.children.contains(digest))
    }

    fn is_held(&self, digest: &Digest, manifest: &Manifest) -> bool {
        self.tags.values().any(|tagged| tagged == digest)
            || self.is_child(digest)
            || manifest.subject.is_some_and(|subject| self.manifests.contains_key(&subject))
    }

    fn needs(&self, blob: &Digest) -> bool {
        self.manifests.values().any(|m| m.blobs.contains(blob))
    }

    /// What a sweep with no patience leaves.
    fn reclaim(&mut self, untagged: bool) {
        loop {
            let unheld = self.manifests.iter().find(|(digest, m)| !self.is_held(digest, m));
            match unheld.map(|(digest, _)| *digest).filter(|_| untagged) {
                Some(digest) => self.manifests.remove(&digest),
                None => break,
            };
        }
        let needed: BTreeSet<Digest> = self.blobs.iter().filter(|blob| self.needs(blob)).copied().collect();
        self.blobs = needed;
    }

    fn any_manifest(&self, random: &mut Random) -> Option<Digest> {
        let all: Vec<Digest> = self.manifests.keys().copied().collect();
        random.pick(&all).copied()
    }
}

struct Walk {
    random: Random,
    rows: Rows,
    data: PathBuf,
    /// One, or two replicas over the same database.
    replicas: Vec<Storage>,
    contents: Vec<Bytes>,
    names: Vec<RepositoryName>,
    model: Vec<Repository>,
    salt: u64,
}

impl Walk {
    async fn new(rows: Rows, data: PathBuf, replicas: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        // In the database (up to 1000 bytes) and in objects.
        let contents = (0..16).map(|n| random.bytes(if n % 3 == 0 { 100 + n } else { 2000 + n }).into());
        let contents = contents.collect();
        let names = (0..3).map(|n| format!("model/r{n}").parse().unwrap()).collect();
        let model = (0..3).map(|_| Repository::default()).collect();
        let mut walk = Self { random, rows, data, replicas: Vec::new(), contents, names, model, salt: 0 };
        for _ in 0..replicas {
            walk.replicas.push(open(&walk.rows, &walk.data).await);
        }
        walk
    }

    fn storage(&mut self) -> Storage {
        self.random.pick(&self.replicas).unwrap().clone()
    }

    async fn step(&mut self) {
        let at = self.random.below(self.names.len());
        match self.random.below(34) {
            0..8 => self.push(at).await,
            8..11 => self.chunked(at).await,
            11..13 => self.mount(at).await,
            13..20 => self.image(at).await,
            20..22 => self.index(at).await,
            22..25 => self.retag(at).await,
            25..27 => self.delete_tag(at).await,
            27..29 => self.delete_manifest(at).await,
            29 => self.delete_blob(at).await,
            30 => self.abandon(at).await,
            31 => self.restart().await,
            _ => self.sweep().await,
        }
    }

    async fn push(&mut self, at: usize) {
        let content = self.random.pick(&self.contents).unwrap().clone();
        push(&self.storage(), &self.names[at], &content).await.unwrap();
        self.model[at].blobs.insert(Digest::sha256(&content));
    }

    /// In two chunks, on whichever replica.
    async fn chunked(&mut self, at: usize) {
        let content = self.random.pick(&self.contents).unwrap().clone();
        let digest = Digest::sha256(&content);
        let (name, cut) = (self.names[at].clone(), 1 + self.random.below(content.len() - 1));
        let id = self.storage().metadata().begin_upload(&name, Algorithm::Sha256).await.unwrap();
        let range = ContentRange { first: 0, last: cut as u64 - 1 };
        let headers = ChunkHeaders { range: Some(range), length: Some(cut as u64) };
        self.storage().append(&name, &id, headers, pieces(&content.slice(..cut))).await.unwrap();
        let rest = pieces(&content.slice(cut..));
        self.storage().commit(&name, &id, &digest, ChunkHeaders::default(), rest, None).await.unwrap();
        self.model[at].blobs.insert(digest);
    }

    async fn mount(&mut self, at: usize) {
        let content = self.random.pick(&self.contents).unwrap();
        let (digest, from) = (Digest::sha256(content), self.random.below(self.names.len()));
        let storage = self.storage();
        let mounted =
            storage.metadata().mount(&digest, Some(&self.names[from]), &self.names[at], |_| true, None).await;
        let expected = self.model[from].blobs.contains(&digest);
        assert_eq!(mounted.is_ok(), expected, "{mounted:?}");
        if expected {
            self.model[at].blobs.insert(digest);
        }
    }

    async fn image(&mut self, at: usize) {
        let held = self.contents.iter().filter(|c| self.model[at].blobs.contains(&Digest::sha256(c)));
        let held: Vec<Bytes> = held.cloned().collect();
        let count = 1 + self.random.below(3);
        let picked: Vec<Bytes> = (0..count).filter_map(|_| self.random.pick(&held).cloned()).collect();
        if picked.is_empty() {
            return;
        }
        let subject = match self.random.below(4) {
            0 => self.model[at].any_manifest(&mut self.random),
            // Not here (yet).
            1 => Some(Digest::sha256(&self.random.next().to_le_bytes())),
            _ => None,
        };
        self.salt += 1;
        let value = image(&picked.iter().collect::<Vec<_>>(), subject.as_ref(), self.salt % 40);
        let blobs = picked.iter().map(|bytes| Digest::sha256(bytes)).collect();
        self.put(at, &value, Manifest { blobs, subject, ..Manifest::default() }).await;
    }

    async fn index(&mut self, at: usize) {
        let count = 1 + self.random.below(3);
        let children = (0..count).filter_map(|_| self.model[at].any_manifest(&mut self.random));
        let children: BTreeSet<Digest> = children.collect();
        if children.is_empty() {
            return;
        }
        self.salt += 1;
        let value = index(&children.iter().copied().collect::<Vec<_>>(), self.salt % 40);
        self.put(at, &value, Manifest { children, ..Manifest::default() }).await;
    }

    async fn put(&mut self, at: usize, value: &serde_json::Value, manifest: Manifest) {
        let tag = if self.random.one_in(2) { self.random.pick(&TAGS).copied() } else { None };
        let digest = put(&self.storage(), &self.names[at], value, tag).await.unwrap();
        let body = value.to_string().into();
        self.model[at].manifests.insert(digest, Manifest { body, ..manifest });
        if let Some(tag) = tag {
            self.model[at].tags.insert(tag, digest);
        }
    }

    /// Pushes a manifest again that is there, under a tag.
    async fn retag(&mut self, at: usize) {
        let Some(digest) = self.model[at].any_manifest(&mut self.random) else { return };
        let value = serde_json::from_slice(&self.model[at].manifests[&digest].body).unwrap();
        let tag = *self.random.pick(&TAGS).unwrap();
        assert_eq!(put(&self.storage(), &self.names[at], &value, Some(tag)).await.unwrap(), digest);
        self.model[at].tags.insert(tag, digest);
    }

    async fn delete_tag(&mut self, at: usize) {
        let tag = *self.random.pick(&TAGS).unwrap();
        let reference = Reference::Tag(tag.parse().unwrap());
        let storage = self.storage();
        let deleted = storage.metadata().delete_manifest(&self.names[at], &reference, None).await;
        assert_eq!(deleted.is_ok(), self.model[at].tags.remove(tag).is_some(), "{deleted:?}");
    }

    async fn delete_manifest(&mut self, at: usize) {
        let Some(digest) = self.model[at].any_manifest(&mut self.random) else { return };
        let storage = self.storage();
        let reference = Reference::Digest(digest);
        let deleted = storage.metadata().delete_manifest(&self.names[at], &reference, None).await;
        let in_use = self.model[at].is_child(&digest);
        assert_eq!(matches!(deleted, Err(StorageError::InUse { .. })), in_use, "{deleted:?}");
        if !in_use {
            deleted.unwrap();
            self.model[at].manifests.remove(&digest);
            self.model[at].tags.retain(|_, tagged| *tagged != digest);
        }
    }

    async fn delete_blob(&mut self, at: usize) {
        let digest = Digest::sha256(self.random.pick(&self.contents).unwrap());
        let deleted = self.storage().metadata().delete_blob(&self.names[at], &digest, 0, None).await;
        let (there, needed) = (self.model[at].blobs.contains(&digest), self.model[at].needs(&digest));
        assert_eq!(deleted.is_ok(), there && !needed, "{deleted:?}");
        if there && !needed {
            self.model[at].blobs.remove(&digest);
        }
    }

    /// An upload that nobody finishes.
    async fn abandon(&mut self, at: usize) {
        let name = self.names[at].clone();
        let id = self.storage().metadata().begin_upload(&name, Algorithm::Sha256).await.unwrap();
        let bytes: Bytes = self.random.bytes(3000).into();
        self.storage().append(&name, &id, ChunkHeaders::default(), pieces(&bytes)).await.unwrap();
    }

    async fn restart(&mut self) {
        let at = self.random.below(self.replicas.len());
        self.replicas[at].metadata().close().await;
        self.replicas[at] = open(&self.rows, &self.data).await;
    }

    async fn sweep(&mut self) {
        // What was queued in this millisecond is not yet "so long ago" for an upload.
        tokio::time::sleep(Duration::from_millis(2)).await;
        let (storage, untagged) = (self.storage(), self.random.one_in(2));
        let schedule = at_once(untagged);
        let planned = rreg_gc::plan(&storage, &schedule, 0).await.unwrap();
        let report = rreg_gc::sweep(&storage, &schedule).await.unwrap();
        // More may go than was planned: what goes lets other things go.
        assert!(report.blobs + report.manifests >= planned.count, "{planned:?} {report:?}");
        self.model.iter_mut().for_each(|repository| repository.reclaim(untagged));
        let after = rreg_gc::plan(&storage, &schedule, 0).await.unwrap();
        assert_eq!((after.count, after.kept, after.objects), (0, 0, 0), "{after:?}");
        self.compare().await;
    }

    /// The store's records are of exactly the manifests that are there, with their tags.
    async fn compare_records(&mut self) {
        let storage = self.storage();
        rreg_gc::write_records(&storage).await.unwrap();
        let mut found = BTreeSet::new();
        let mut records = Box::pin(storage.blobs().records());
        while let Some(record) = records.next().await {
            let record = record.unwrap().unwrap();
            let at = self.names.iter().position(|name| *name == record.repository).unwrap();
            let tags = self.model[at].tags.iter().filter(|(_, tagged)| **tagged == record.digest);
            let expected: Vec<String> = tags.map(|(tag, _)| (*tag).to_owned()).collect();
            let tags: Vec<String> = record.tags.iter().map(|tag| tag.name.to_string()).collect();
            assert_eq!(tags, expected, "{}", record.digest);
            assert_eq!(record.body, self.model[at].manifests[&record.digest].body);
            found.insert((at, record.digest));
        }
        let expected = self.model.iter().map(|repository| repository.manifests.len()).sum::<usize>();
        assert_eq!(found.len(), expected, "records outlive their manifests");
    }

    async fn compare(&mut self) {
        self.compare_records().await;
        let mut all = BTreeSet::new();
        for at in 0..self.names.len() {
            let storage = self.storage();
            let (name, model) = (&self.names[at], &self.model[at]);
            all.extend(model.blobs.iter().copied());
            for content in &self.contents {
                let digest = Digest::sha256(content);
                match read(&storage, name, &digest).await {
                    Ok(bytes) => assert!(model.blobs.contains(&digest) && bytes == *content, "{digest}"),
                    Err(StorageError::UnknownBlob { .. }) => {
                        assert!(!model.blobs.contains(&digest), "{name} has lost {digest}");
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            for (digest, manifest) in &model.manifests {
                let found = storage.metadata().manifest(name, &Reference::Digest(*digest)).await.unwrap();
                assert_eq!(found.body, manifest.body);
            }
            for (tag, digest) in &model.tags {
                let reference = Reference::Tag(tag.parse().unwrap());
                assert_eq!(storage.metadata().manifest(name, &reference).await.unwrap().digest, *digest);
            }
        }
        let mut after = -1;
        let mut manifests = 0;
        let storage = self.storage();
        while let Some(last) = storage.metadata().stored_manifests(after, 100).await.unwrap().last() {
            manifests += storage.metadata().stored_manifests(after, 100).await.unwrap().len();
            after = last.row;
        }
        assert_eq!(manifests, self.model.iter().map(|repository| repository.manifests.len()).sum::<usize>());
        assert_eq!(assert_sound(&storage).await, all.len() as u64, "blobs outlive their grace");
    }
}

async fn walk(rows: Rows, replicas: usize, steps: u64) {
    let data = tempfile::tempdir().unwrap();
    let mut walk = Walk::new(rows, data.path().to_owned(), replicas, seed(1)).await;
    for _ in 0..steps {
        walk.step().await;
    }
    walk.sweep().await;
    for storage in &walk.replicas {
        storage.metadata().close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_is_what_is_held_sqlite() {
    walk(Rows::Sqlite, 1, rounds(1500)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_is_what_is_held_postgres_two_replicas() {
    let Some(url) = postgres::database() else { return };
    walk(Rows::Postgres(url), 2, rounds(1500)).await;
}
