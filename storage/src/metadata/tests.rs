//! What is kept in memory: how much, and until when.

use bytes::Bytes;
use proptest::prelude::*;
use rreg_oci::{Manifest, ManifestLimits, Reference, Tag};
use serde_json::{Value, json};

use super::*;

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
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
    for blob in
        [manifest.pointer("/config/digest"), manifest.pointer("/layers/0/digest")].into_iter().flatten()
    {
        let content = BlobContent::Inline(Bytes::from_static(b"{}"));
        let digest = blob.as_str().unwrap().parse().unwrap();
        store
            .commit_blob(&here(), NewBlob { digest, size: 2, content, replace: false }, None, None)
            .await
            .unwrap();
    }
    store.put_manifest(new).await.unwrap();
    digest
}

/// An image with this config, and something beside it that makes it another one.
fn image(config: &str, beside: &str) -> Value {
    let of = |what: &str| json!({"mediaType": "application/json", "digest": Digest::sha256(what.as_bytes()), "size": 2});
    json!({
        "schemaVersion": 2, "mediaType": IMAGE, "config": of(config), "layers": [of("layer")],
        "annotations": {"beside": beside},
    })
}

pub(super) fn new_manifest(manifest: &Value, tags: &[&str]) -> NewManifest {
    let body = Bytes::from(manifest.to_string());
    let media_type = manifest["mediaType"].as_str();
    NewManifest {
        repository: here(),
        digest: Digest::sha256(&body),
        manifest: Manifest::parse(media_type, &body, &ManifestLimits::default()).unwrap(),
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
    let before = store.facts_epoch(&here(), &one).await.unwrap().unwrap();
    for n in 0..20 {
        let other = put(&store, &index(&[], None, &n.to_string()), &["latest"]).await;
        decide(&store, &other).await;
    }
    assert!(store.is_now(&before));
    put(&store, &index(&[], None, "two"), &["one"]).await;
    assert!(!store.is_now(&before), "its tag has gone");
}

#[tokio::test]
async fn a_name_of_one_makes_all_of_its_form_stale_at_the_cost_of_one_row() {
    let (_dir, store) = store().await;
    let mut twins = Vec::new();
    for n in 0..100 {
        twins.push(put(&store, &image("config", &n.to_string()), &[&format!("t{n}")]).await);
        decide(&store, &twins[n]).await;
    }
    let other = put(&store, &image("another", ""), &["another"]).await;
    for digest in twins.iter().chain([&other]) {
        decide(&store, digest).await;
    }
    let stale =
        async |digest: &Digest| store.decision(&here(), digest).await.unwrap().unwrap().revision.is_empty();
    let emptied = async || {
        let row = sqlx::query("SELECT COUNT(*) FROM decisions WHERE revision = ''");
        row.fetch_one(&mut *store.db.read().await.unwrap()).await.unwrap().try_get::<i64, _>(0).unwrap()
    };
    assert_eq!(emptied().await, 0);
    let about = store.undecided(&here(), &twins[7]).await.unwrap().unwrap();
    // Another twin gets a name; one goes; one is part of an index with a name.
    let index = index(&twins, None, "");
    for change in 0..3 {
        match change {
            0 => drop(put(&store, &image("config", "1"), &["more"]).await),
            1 => {
                store.delete_manifest(&here(), &Reference::Tag("more".parse().unwrap()), None).await.unwrap()
            }
            _ => drop(put(&store, &index, &["index"]).await),
        }
        for twin in &twins {
            assert!(stale(twin).await, "{twin} after change {change}");
            assert!(!store.undecided(&here(), twin).await.unwrap().unwrap().facts_hold);
        }
        assert!(!stale(&other).await);
        assert!(emptied().await <= 64, "{} rows after change {change}", emptied().await);
        assert!(!store.keep_decision(&about, made()).await.unwrap(), "it was made on older facts");
        for twin in &twins {
            decide(&store, twin).await;
            assert!(!stale(twin).await, "{twin} is decided again");
        }
    }
}

#[tokio::test]
async fn what_is_attached_to_a_large_index_is_about_all_inside_it() {
    let (_dir, store) = store().await;
    let mut children = Vec::new();
    for n in 0..100 {
        children.push(put(&store, &image(&n.to_string(), ""), &[]).await);
    }
    let root = put(&store, &index(&children, None, ""), &["index"]).await;
    for digest in children.iter().chain([&root]) {
        decide(&store, digest).await;
    }
    put(&store, &index(&[], Some(&root), "evidence"), &[]).await;
    for digest in children.iter().chain([&root]) {
        assert_eq!(store.decision(&here(), digest).await.unwrap().unwrap().revision, "", "{digest}");
    }
}

#[tokio::test]
async fn what_is_attached_to_an_image_is_about_all_indexes_that_have_it() {
    let (_dir, store) = store().await;
    let child = put(&store, &image("config", ""), &[]).await;
    let other = put(&store, &image("another", ""), &[]).await;
    let mut indexes = Vec::new();
    for n in 0..100 {
        indexes.push(put(&store, &index(&[child], None, &n.to_string()), &[&format!("t{n}")]).await);
    }
    let beside = put(&store, &index(&[other], None, ""), &["beside"]).await;
    for digest in indexes.iter().chain([&child, &other, &beside]) {
        decide(&store, digest).await;
    }
    put(&store, &index(&[], Some(&child), "evidence"), &[]).await;
    let revision = async |digest| store.decision(&here(), digest).await.unwrap().unwrap().revision;
    for digest in indexes.iter().chain([&child]) {
        assert_eq!(revision(digest).await, "", "{digest}");
    }
    for digest in [&other, &beside] {
        assert_eq!(revision(digest).await, "now", "{digest}");
    }
}

#[tokio::test]
async fn a_count_of_changes_goes_with_the_last_of_its_form_and_does_not_come_again() {
    let (_dir, store) = store().await;
    decide(&store, &put(&store, &index(&[], None, ""), &["beside"]).await).await;
    let counts = async || {
        let rows = sqlx::query("SELECT changes FROM form_changes WHERE form = $1");
        let rows = rows.bind(Digest::sha256(b"config").to_string());
        let rows = rows.fetch_all(&mut *store.db.read().await.unwrap()).await.unwrap();
        rows.iter().map(|row| row.try_get::<i64, _>(0).unwrap()).collect::<Vec<_>>()
    };
    let twins = [image("config", "a"), image("config", "b")];
    let mut digests = Vec::new();
    for (twin, tag) in twins.iter().zip(["a", "b"]) {
        digests.push(put(&store, twin, &[tag]).await);
    }
    let before = counts().await;
    assert_eq!(before.len(), 1);
    store.delete_manifest(&here(), &Reference::Digest(digests[0]), None).await.unwrap();
    assert!(counts().await > before);
    store.delete_manifest(&here(), &Reference::Digest(digests[1]), None).await.unwrap();
    assert_eq!(counts().await, [0; 0]);
    put(&store, &twins[0], &["a"]).await;
    assert!(counts().await > before);
}

fn made() -> NewDecision {
    NewDecision {
        revision: "now".into(),
        by_tag: "allow".into(),
        by_digest: "allow".into(),
        due_at: None,
        good: "{}".into(),
        body: "{}".into(),
        trust: String::new(),
        facts: None,
        audit: Vec::new(),
    }
}

async fn decide(store: &MetadataStore, digest: &Digest) {
    let about = store.undecided(&here(), digest).await.unwrap().unwrap();
    store.keep_decision(&about, made()).await.unwrap();
}

/// What may happen to a manifest, by the numbers of those that are there.
#[derive(Clone, Debug)]
enum Change {
    Push {
        children: Vec<usize>,
        subject: Option<usize>,
        tag: u8,
        cosign: Option<usize>,
    },
    /// An image with one of few configs.
    Twin {
        config: u8,
        tag: u8,
    },
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
        2 => (0..2u8, 0..4u8).prop_map(|(config, tag)| Change::Twin { config, tag }),
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
                    Change::Twin { config, tag } => {
                        let image = image(&config.to_string(), &n.to_string());
                        known.push(put(&store, &image, &[&format!("t{tag}")]).await);
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
                            let epoch = store.facts_epoch(&here(), &digest).await.unwrap().unwrap();
                            let row = store.decision(&here(), &digest).await.unwrap();
                            remembered.insert(digest, (epoch, row));
                        }
                    }
                }
                for (digest, (epoch, row)) in &remembered {
                    if store.is_now(epoch) {
                        assert_eq!(&store.decision(&here(), digest).await.unwrap(), row, "{digest} after {change:?}");
                    }
                }
            }
        });
    }
}
