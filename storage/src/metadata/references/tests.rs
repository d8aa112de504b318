use bytes::Bytes;
use rreg_oci::{Reference, media_type};
use serde_json::{Value, json};

use super::*;
use crate::metadata::judge::Holder;
use crate::metadata::tests::{here, index, new_manifest, put, store};
use crate::metadata::{BlobContent, NewBlob};

#[tokio::test]
async fn what_has_gone_since_it_was_looked_up_is_noticed() {
    let (_dir, store) = store().await;
    let child = put(&store, &index(&[], None, "child"), &[]).await;
    let new = new_manifest(&index(&[child], None, "parent"), &[]);
    let references = References::find(&mut store.db.read().await.unwrap(), &new).await.unwrap();
    let there = || async {
        let mut conn = store.db.read().await.unwrap();
        let repository = find_repository(&mut conn, &here()).await.unwrap();
        references.confirm(&mut conn, repository).await
    };
    there().await.unwrap();
    store.delete_manifest(&here(), &Reference::Digest(child), None).await.unwrap();
    assert!(matches!(there().await, Err(StorageError::Conflict)));
    // And a push says what is missing.
    assert!(matches!(store.put_manifest(new).await, Err(StorageError::MissingReferences(m)) if m == [child]));
}

#[tokio::test]
async fn what_goes_after_it_was_confirmed_is_not_left_out() {
    let (_dir, store) = store().await;
    let child = put(&store, &index(&[], None, "child"), &[]).await;
    let parent = put(&store, &index(&[], None, "parent"), &[]).await;
    let new = new_manifest(&index(&[child], None, "new"), &[]);
    let found = References::find(&mut store.db.read().await.unwrap(), &new).await.unwrap();
    let repository = found.repository;
    let gone = |blobs, children| References { repository, blobs, children, awaited: Vec::new() };
    let (blobs, children) = (gone(vec![i64::MAX], Vec::new()), gone(Vec::new(), vec![i64::MAX]));
    for gone in [blobs, children] {
        let linked = store
            .db
            .write(
                (gone, parent),
                |conn, (gone, parent)| {
                    Box::pin(async move {
                        let repository = find_repository(conn, &here()).await?;
                        let parent = manifest_members(conn, repository, &[*parent]).await?[parent];
                        gone.link(conn, repository.unwrap(), parent).await
                    })
                },
                |_, ()| {},
            )
            .await;
        // With one writer nothing goes meanwhile; here the foreign key stands for what goes with several.
        assert!(linked.is_err(), "left out in silence");
    }
}

#[tokio::test]
async fn more_references_than_one_statement_takes_are_all_kept() {
    let (_dir, store) = store().await;
    let mut children = Vec::new();
    for number in 0..2 * BATCH + 1 {
        children.push(put(&store, &index(&[], None, &number.to_string()), &[]).await);
    }
    put(&store, &index(&children, None, "parent"), &[]).await;
    for child in children {
        let refused = store.delete_manifest(&here(), &Reference::Digest(child), None).await;
        assert!(matches!(refused, Err(StorageError::InUse { .. })), "{child}");
    }
}

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An index as BuildKit writes its cache: members are blobs.
fn cache(members: &[(&str, &'static [u8], u64)]) -> Value {
    let of = |(kind, bytes, size): &(&str, &'static [u8], u64)| json!({"mediaType": kind, "digest": Digest::sha256(bytes), "size": size});
    let members: Vec<Value> = members.iter().map(of).collect();
    json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": members})
}

async fn push(store: &MetadataStore, bytes: &'static [u8]) -> Digest {
    let (digest, size) = (Digest::sha256(bytes), bytes.len() as u64);
    let blob =
        NewBlob { digest, size, content: BlobContent::Inline(Bytes::from_static(bytes)), replace: false };
    store.commit_blob(&here(), blob, None, None).await.unwrap();
    digest
}

/// What holds this content in the repository: garbage collection takes what nothing holds.
async fn holders(store: &MetadataStore, digest: &Digest) -> Vec<Holder> {
    store.presences(digest).await.unwrap().into_iter().flat_map(|presence| presence.holders).collect()
}

#[tokio::test]
async fn an_index_holds_its_members_that_are_blobs() {
    let (_dir, store) = store().await;
    let (layer, config) = (push(&store, b"layer").await, push(&store, b"config").await);
    let members = [(LAYER, &b"layer"[..], 5), ("application/vnd.buildkit.cacheconfig.v0", b"config", 6)];
    let cached = put(&store, &cache(&members), &["cache"]).await;
    for blob in [layer, config] {
        assert_eq!(holders(&store, &blob).await, [Holder::Manifest(cached)]);
        let refused = store.delete_blob(&here(), &blob, 0, None).await;
        assert!(matches!(refused, Err(StorageError::InUse { .. })), "{refused:?}");
    }
    // What is called a manifest and is none could not be pulled, and what is not there is missing.
    for member in [(media_type::OCI_MANIFEST, &b"layer"[..], 5), (LAYER, b"gone", 4)] {
        let refused = store.put_manifest(new_manifest(&cache(&[member]), &[])).await;
        let missing = Digest::sha256(member.1);
        assert!(
            matches!(&refused, Err(StorageError::MissingReferences(it)) if *it == [missing]),
            "{refused:?}"
        );
    }
    store.delete_manifest(&here(), &Reference::Digest(cached), None).await.unwrap();
    assert_eq!(holders(&store, &layer).await, []);
}

#[tokio::test]
async fn a_sparse_index_holds_what_is_there_and_what_comes() {
    let (_dir, store) = store().await;
    let child = index(&[], None, "child");
    let child_digest = Digest::sha256(child.to_string().as_bytes());
    let before = push(&store, b"before").await;
    let mut sparse =
        cache(&[(LAYER, b"before", 6), (LAYER, b"after", 5), (media_type::OCI_MANIFEST, b"never", 5)]);
    let members = sparse["manifests"].as_array_mut().unwrap();
    members.push(json!({"mediaType": media_type::OCI_INDEX, "digest": child_digest, "size": 2}));
    let mut new = new_manifest(&sparse, &["cache"]);
    new.allow_sparse = true;
    let parent = new.digest;
    store.put_manifest(new).await.unwrap();
    assert_eq!(holders(&store, &before).await, [Holder::Manifest(parent)]);
    let after = push(&store, b"after").await;
    assert_eq!(holders(&store, &after).await, [Holder::Manifest(parent)]);
    put(&store, &child, &[]).await;
    assert_eq!(holders(&store, &child_digest).await, [Holder::Index(parent)]);
    // The same blob from another repository.
    let other: RepositoryName = "other/app".parse().unwrap();
    let blob = NewBlob {
        digest: Digest::sha256(b"never"),
        size: 5,
        content: BlobContent::Inline(Bytes::from_static(b"never")),
        replace: false,
    };
    store.commit_blob(&other, blob.clone(), None, None).await.unwrap();
    assert_eq!(holders(&store, &blob.digest).await, []);
    store.mount(&blob.digest, Some(&other), &here(), |_| true, None).await.unwrap();
    assert_eq!(holders(&store, &blob.digest).await, [Holder::Manifest(parent)]);
}

#[tokio::test]
async fn a_length_of_nothing_is_not_known() {
    let (_dir, store) = store().await;
    let members = [(LAYER, &b"unsaid"[..], 0), (LAYER, b"said", 4), (media_type::OCI_INDEX, b"child", 5)];
    let mut new = new_manifest(&cache(&members), &["cache"]);
    new.allow_sparse = true;
    store.cache_manifest(new, "up").await.unwrap();
    for (bytes, size) in [(&b"unsaid"[..], None), (b"said", Some(4)), (b"child", None)] {
        assert_eq!(store.awaited_size(&here(), &Digest::sha256(bytes)).await.unwrap(), size);
    }
    // What has come is the image's, and counts.
    let said = push(&store, b"said").await;
    assert_eq!(holders(&store, &said).await.len(), 1);
    assert_eq!(store.cached_bytes(Some("up")).await.unwrap(), 4);
}
