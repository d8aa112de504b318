//! Layouts and archives, also hostile ones.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rreg_oci::{Descriptor, Digest, media_type};
use tar::{Builder, EntryType, Header};

use super::*;
use crate::client::FetchedManifest;
use crate::transfer::{Origin, Target, Transfer};

fn blob(kind: &str, bytes: &[u8]) -> Descriptor {
    Descriptor::new(kind, Digest::sha256(bytes), bytes.len() as u64)
}

fn json(descriptor: &Descriptor) -> String {
    serde_json::to_string(descriptor).unwrap()
}

fn image(layers: &[&[u8]], subject: Option<&Descriptor>) -> FetchedManifest {
    let layers: Vec<_> = layers.iter().map(|layer| json(&blob("application/x", layer))).collect();
    let subject = subject.map(|s| format!(r#","subject":{}"#, json(s))).unwrap_or_default();
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{}]{subject}}}"#,
        media_type::OCI_MANIFEST,
        json(&blob(media_type::OCI_EMPTY, b"{}")),
        layers.join(",")
    );
    FetchedManifest::new(media_type::OCI_MANIFEST, text.into())
}

/// Writes a layout with one image of two layers under the tag `t`, and a referrer to it.
async fn written(path: &Path) -> (FetchedManifest, FetchedManifest) {
    let writer = LayoutWriter::create(path).unwrap();
    let root = image(&[b"one", b"two"], None);
    let referrer = image(&[b"one"], Some(&root.descriptor));
    for bytes in [&b"{}"[..], b"one", b"two"] {
        writer.write_blob(&blob("x", bytes), &Bytes::copy_from_slice(bytes)).await.unwrap();
    }
    for manifest in [&root, &referrer] {
        writer.write_blob(&manifest.descriptor, &manifest.bytes).await.unwrap();
    }
    let named = Descriptor {
        annotations: Some([(REF_NAME.to_owned(), "t".to_owned())].into()),
        ..root.descriptor.clone()
    };
    writer.finish(vec![named, referrer.descriptor.clone()]).unwrap();
    (root, referrer)
}

#[tokio::test]
async fn directory_and_archive_read_back() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["layout", "layout.tar"] {
        let path = dir.path().join(name);
        let (root, referrer) = written(&path).await;
        let reader = Arc::new(LayoutReader::open(&path).await.unwrap());
        let found = reader.select(Some("t")).unwrap();
        assert_eq!(found.digest, root.descriptor.digest);
        assert_eq!(reader.select(None).unwrap().digest, root.descriptor.digest);
        assert!(
            reader
                .select(Some("other"))
                .unwrap_err()
                .to_string()
                .contains("choose one of its images by name: t")
        );
        assert_eq!(reader.manifest(found).await.unwrap().bytes, root.bytes);
        let referrers = reader.referrers(&root.descriptor.digest);
        assert_eq!(referrers.iter().map(|d| d.digest).collect::<Vec<_>>(), [referrer.descriptor.digest]);
        let error = reader.blob(&blob("x", b"absent")).unwrap_err();
        assert!(error.to_string().contains("not in the layout"), "{error}");
    }
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "nothing temporary is left: {left:?}");
}

#[tokio::test]
async fn a_layout_goes_into_another_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from.tar"), dir.path().join("to"));
    let (root, _) = written(&from).await;
    for (referrers, expected) in [(false, 0), (true, 1)] {
        let transfer = Transfer {
            origin: Origin::Layout(Arc::new(LayoutReader::open(&from).await.unwrap())),
            target: Target::Layout(Arc::new(LayoutWriter::create(&to).unwrap())),
            tags: vec!["new".parse().unwrap()],
            platform: None,
            referrers,
            jobs: 2,
            progress: Arc::new(()),
        };
        let report = transfer.run(root.clone()).await.unwrap();
        assert_eq!((report.referrers, report.blobs_copied + report.blobs_present), (expected, 3));
        assert_eq!(report.blobs_present, 3 * expected, "the second time they are there");
    }
    let reader = Arc::new(LayoutReader::open(&to).await.unwrap());
    let found = reader.select(Some("new")).unwrap().clone();
    assert_eq!(reader.manifest(&found).await.unwrap().bytes, root.bytes);
    assert_eq!(reader.referrers(&found.digest).len(), 1);
}

#[tokio::test]
async fn wrong_content_gets_no_name() {
    let dir = tempfile::tempdir().unwrap();
    let writer = LayoutWriter::create(&dir.path().join("l")).unwrap();
    let wanted = blob("x", b"good");
    for bad in [&b"evil"[..], b"goo", b"good and more"] {
        assert!(writer.write_blob(&wanted, &Bytes::from_static(bad)).await.is_err());
        assert!(!writer.has_blob(&wanted));
    }
    let blobs = dir.path().join("l/blobs/sha256");
    assert_eq!(std::fs::read_dir(blobs).unwrap().count(), 0, "no temporary file is left");
}

#[tokio::test]
async fn damage_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l");
    let (root, _) = written(&path).await;
    let file = path.join("blobs/sha256").join(root.descriptor.digest.hex());
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let error = LayoutReader::open(&path).await.err().unwrap();
    assert!(error.to_string().contains("damaged"), "{error}");
    assert!(matches!(LayoutReader::open(&dir.path().join("no")).await, Err(ImageError::Missing { .. })));
    assert!(LayoutReader::open(dir.path()).await.err().unwrap().to_string().contains("no index.json"));
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("thesis.txt"), "x").unwrap();
    assert!(LayoutWriter::create(dir.path()).is_err());
}

fn entry(builder: &mut Builder<Vec<u8>>, kind: EntryType, name: &[u8], link: &[u8], body: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
    header.set_size(body.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    builder.append(&header, body).unwrap();
}

/// A `docker save` archive of one layer, reached through a link, with names that try to climb out.
fn docker_archive(layer: &[u8]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let manifest =
        br#"[{"Config":"c.json","RepoTags":["app:1","h.x/app:2"],"Layers":["a/layer.tar","../../l.tar"]}]"#;
    entry(&mut builder, EntryType::Regular, b"./c.json", b"", br#"{"os":"linux"}"#);
    entry(&mut builder, EntryType::Regular, b"l.tar", b"", layer);
    entry(&mut builder, EntryType::Symlink, b"a/layer.tar", b"../l.tar", b"");
    entry(&mut builder, EntryType::Symlink, b"passwd", b"/etc/passwd", b"");
    entry(&mut builder, EntryType::Symlink, b"loop", b"loop", b"");
    entry(&mut builder, EntryType::Regular, b"manifest.json", b"", manifest);
    builder.into_inner().unwrap()
}

#[tokio::test]
async fn docker_archives_become_images() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("saved");
    for (layer, kind) in [(&b"plain tar"[..], "tar"), (b"\x1f\x8bzipped", "tar+gzip")] {
        std::fs::write(&path, docker_archive(layer)).unwrap();
        let reader = Arc::new(LayoutReader::open(&path).await.unwrap());
        assert_eq!(reader.select(Some("1")).unwrap().digest, reader.select(Some("2")).unwrap().digest);
        let manifest = reader.manifest(reader.select(None).unwrap()).await.unwrap().parse().unwrap();
        assert_eq!(manifest.layers.len(), 2);
        assert!(
            manifest.layers.iter().all(|l| l.digest == Digest::sha256(layer) && l.media_type.ends_with(kind))
        );
        assert!(
            matches!(reader.blob(&manifest.layers[0]).unwrap(), LocalBlob::File(span) if span.path == path)
        );
    }
}

#[test]
fn names_in_archives_stay_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("saved");
    std::fs::write(&path, docker_archive(b"x")).unwrap();
    let index = tar_index::TarIndex::scan(&path).unwrap();
    assert_eq!(index.find("/../../l.tar"), index.find("l.tar"), "the archive's root is as high as it goes");
    assert_eq!(index.find("passwd"), None, "a link to a file outside leads nowhere");
    assert_eq!(index.find("loop"), None);
}

#[test]
fn hostile_archives_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tar");
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        tar_index::TarIndex::scan(&path).err().unwrap().to_string()
    };
    assert!(refused(b"").contains("empty"));
    assert!(refused(b"\x1f\x8b......").contains("gunzip"));
    assert!(refused(&[1; 2000]).contains("damaged"));
    let mut long_name = Builder::new(Vec::new());
    entry(&mut long_name, EntryType::GNULongName, b"././@LongLink", b"", &[b'a'; 100_000]);
    assert!(refused(&long_name.into_inner().unwrap()).contains("extension header is too long"));
    let mut pax = Builder::new(Vec::new());
    entry(&mut pax, EntryType::XHeader, b"x", b"", b"29 size=18446744073709551615\n");
    entry(&mut pax, EntryType::Regular, b"index.json", b"", b"{}");
    assert!(refused(&pax.into_inner().unwrap()).contains("longer than the archive"));
    let mut cut = docker_archive(&[7; 4000]);
    cut.truncate(2500);
    assert!(refused(&cut).contains("longer than the archive"));
}
