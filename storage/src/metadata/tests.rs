//! What is kept in memory: how much, and until when.

use bytes::Bytes;
use proptest::prelude::*;
use rreg_oci::{Manifest, ManifestLimits, Reference, Tag};
use serde_json::{Value, json};

use super::*;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LIMIT: u64 = 1 << 20;

pub(super) async fn store() -> (tempfile::TempDir, MetadataStore) {
    let dir = tempfile::tempdir().unwrap();
    let limits = CacheLimits { manifests: LIMIT, ..CacheLimits::default() };
    let store = MetadataStore::sqlite(&dir.path().join("rreg.db"), limits).await.unwrap();
    (dir, store)
}

pub(super) fn here() -> RepositoryName {
    "team/app".parse().unwrap()
}

/// An index of these, with as much beside them as is wanted.
pub(super) fn index(children: &[Digest], subject: Option<&Digest>, beside: &str) -> Value {
    let of = |digest: &Digest| json!({"mediaType": INDEX, "digest": digest, "size": 2});
    let mut index = json!({
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": children.iter().map(of).collect::<Vec<_>>(),
        "annotations": {"beside": beside},
    });
    if let Some(subject) = subject {
        index["subject"] = of(subject);
    }
    index
}

pub(super) async fn put(store: &MetadataStore, manifest: &Value, tags: &[&str]) -> Digest {
    let new = new_manifest(manifest, tags);
    let digest = new.digest;
    store.put_manifest(new).await.unwrap();
    digest
}

pub(super) fn new_manifest(manifest: &Value, tags: &[&str]) -> NewManifest {
    let body = Bytes::from(manifest.to_string());
    NewManifest {
        repository: here(),
        digest: Digest::sha256(&body),
        manifest: Manifest::parse(Some(INDEX), &body, &ManifestLimits::default()).unwrap(),
        body,
        tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
        allow_sparse: false,
        list_packages: false,
        audit: None,
    }
}

async fn get(store: &MetadataStore, tag: &str) -> std::sync::Arc<StoredManifest> {
    store.manifest(&here(), &Reference::Tag(tag.parse::<Tag>().unwrap())).await.unwrap()
}

#[tokio::test]
async fn bodies_are_kept_once_and_within_their_bytes_whatever_asked_for_them() {
    let (_dir, store) = store().await;
    let large = "x".repeat(100_000);
    for n in 0..40 {
        put(&store, &index(&[], None, &format!("{n}{large}")), &[&format!("v{n}")]).await;
    }
    for n in 0..40 {
        get(&store, &format!("v{n}")).await;
        assert!(store.cache.manifest_bytes() <= LIMIT, "{n}: {}", store.cache.manifest_bytes());
    }
    assert!(store.cache.manifest_bytes() > LIMIT / 2, "it keeps what it has room for");
    let one = index(&[], None, "many tags");
    for n in 0..300 {
        put(&store, &one, &[&format!("t{n}")]).await;
    }
    let mut held = Vec::new();
    for _ in 0..2 {
        held.clear();
        for n in 0..300 {
            held.push(get(&store, &format!("t{n}")).await);
        }
    }
    let first = &held[0];
    assert!(held.iter().all(|manifest| std::sync::Arc::ptr_eq(manifest, first)), "one body for all tags");
}

#[tokio::test]
async fn a_push_elsewhere_leaves_what_is_remembered_of_others() {
    let (_dir, store) = store().await;
    let one = put(&store, &index(&[], None, "one"), &["one"]).await;
    decide(&store, &one).await;
    let before = store.facts_epoch(&one).unwrap();
    for n in 0..20 {
        let other = put(&store, &index(&[], None, &n.to_string()), &["latest"]).await;
        decide(&store, &other).await;
    }
    assert_eq!(store.facts_epoch(&one), Some(before));
    put(&store, &index(&[], None, "two"), &["one"]).await;
    assert_ne!(store.facts_epoch(&one), Some(before), "its tag has gone");
}

async fn decide(store: &MetadataStore, digest: &Digest) {
    let about = store.undecided(&here(), digest).await.unwrap().unwrap();
    let new = NewDecision {
        revision: "now".into(),
        by_tag: "allow".into(),
        by_digest: "allow".into(),
        due_at: None,
        good: "{}".into(),
        body: "{}".into(),
        trust: String::new(),
        facts: None,
        audit: Vec::new(),
    };
    store.keep_decision(&about, new).await.unwrap();
}

/// What may happen to a manifest, by the numbers of those that are there.
#[derive(Clone, Debug)]
enum Change {
    Push { children: Vec<usize>, subject: Option<usize>, tag: u8, cosign: Option<usize> },
    DeleteTag(u8),
    Delete(usize),
    Decide(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let push = (
        prop::collection::vec(0..8usize, 0..3),
        prop::option::of(0..8usize),
        0..4u8,
        prop::option::of(0..8usize),
    );
    prop_oneof![
        3 => push.prop_map(|(children, subject, tag, cosign)| Change::Push { children, subject, tag, cosign }),
        1 => (0..4u8).prop_map(Change::DeleteTag),
        1 => (0..8usize).prop_map(Change::Delete),
        4 => (0..8usize).prop_map(Change::Decide),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever happens: where the count of changes is what it was, the row is what it was.
    #[test]
    fn what_is_remembered_is_what_would_be_read(changes in prop::collection::vec(change(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let (_dir, store) = store().await;
            let mut known: Vec<Digest> = vec![put(&store, &index(&[], None, "first"), &["t0"]).await];
            let mut remembered = std::collections::HashMap::new();
            for (n, change) in changes.iter().enumerate() {
                let pick = |place: &usize| known[place % known.len()];
                match change {
                    Change::Push { children, subject, tag, cosign } => {
                        let mut there = Vec::new();
                        for child in children.iter().map(pick) {
                            if store.undecided(&here(), &child).await.unwrap().is_some() {
                                there.push(child);
                            }
                        }
                        let new = index(&there, subject.as_ref().map(pick).as_ref(), &n.to_string());
                        let tag = cosign.as_ref().map_or(format!("t{tag}"), |of| format!("{}.sig", pick(of).to_string().replace(':', "-")));
                        let digest = put(&store, &new, &[&tag]).await;
                        known.push(digest);
                        if known.len() > 8 {
                            known.remove(0);
                        }
                    }
                    Change::DeleteTag(tag) => {
                        let tag = Reference::Tag(format!("t{tag}").parse().unwrap());
                        let _ = store.delete_manifest(&here(), &tag, None).await;
                    }
                    Change::Delete(place) => {
                        let _ = store.delete_manifest(&here(), &Reference::Digest(pick(place)), None).await;
                    }
                    Change::Decide(place) => {
                        let digest = pick(place);
                        if store.undecided(&here(), &digest).await.unwrap().is_some() {
                            decide(&store, &digest).await;
                            let epoch = store.facts_epoch(&digest).unwrap();
                            let row = store.decision(&here(), &digest).await.unwrap();
                            remembered.insert(digest, (epoch, row));
                        }
                    }
                }
                for (digest, (epoch, row)) in &remembered {
                    if store.facts_epoch(digest) == Some(*epoch) {
                        assert_eq!(&store.decision(&here(), digest).await.unwrap(), row, "{digest} after {change:?}");
                    }
                }
            }
        });
    }
}
