//! Everything is found wherever it lies, once, and nothing that is missing goes unsaid.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bytes::Bytes;
use rreg_oci::{Descriptor, Digest, Reference, media_type};
use serde_json::{Value, json};

use super::*;
use crate::content::ReadError;
use crate::evidence::{EvidenceKind, Found};

mod image;

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const NOTATION: &str = "application/vnd.cncf.notary.signature";
const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const STATEMENT: &str = "application/vnd.in-toto+json";

/// A repository in memory.
#[derive(Default)]
struct Memory {
    manifests: BTreeMap<String, ManifestContent>,
    blobs: BTreeMap<Digest, Bytes>,
    referrers: BTreeMap<Digest, Vec<Descriptor>>,
    /// What cannot be read now.
    broken: BTreeSet<String>,
}

impl Memory {
    fn store(&mut self, kind: &str, content: &str) -> Value {
        let bytes = Bytes::from(content.to_owned());
        let digest = Digest::sha256(&bytes);
        self.blobs.insert(digest, bytes);
        json!(Descriptor::new(kind, digest, content.len() as u64))
    }

    fn put(&mut self, mut manifest: Value) -> ManifestContent {
        manifest["schemaVersion"] = json!(2);
        let media_type = manifest["mediaType"].as_str().unwrap_or(media_type::OCI_MANIFEST).to_owned();
        manifest["mediaType"] = json!(media_type);
        let body = Bytes::from(serde_json::to_vec(&manifest).unwrap());
        let digest = Digest::sha256(&body);
        let content = ManifestContent { media_type, digest, body };
        self.manifests.insert(digest.to_string(), content.clone());
        content
    }

    fn image(&mut self, label: &str) -> ManifestContent {
        let config = json!({"os": "linux", "architecture": "amd64", "created": "2024-01-01T00:00:00Z", "config": {
            "User": "65532", "Labels": {"label": label, "org.opencontainers.image.base.name": "base:1"},
            "Entrypoint": ["/app"], "Cmd": null, "ExposedPorts": {"80/tcp": {}}, "Env": ["PATH=/bin", "TOKEN=secret"]}});
        let config = self.store(media_type::OCI_CONFIG, &config.to_string());
        let layer = self.store("application/vnd.oci.image.layer.v1.tar", label);
        self.put(json!({"config": config, "layers": [layer]}))
    }

    fn index(&mut self, entries: Vec<Value>) -> ManifestContent {
        self.put(json!({"mediaType": media_type::OCI_INDEX, "manifests": entries}))
    }

    /// A manifest with one layer of a kind, about `subject` where there is one.
    fn holding(&mut self, kind: &str, content: &str, subject: Option<&ManifestContent>) -> ManifestContent {
        let layer = self.store(kind, content);
        let config = self.store(media_type::OCI_EMPTY, "{}");
        let mut manifest = json!({"artifactType": kind, "config": config, "layers": [layer]});
        if let Some(subject) = subject {
            manifest["subject"] = descriptor(subject);
        }
        self.put(manifest)
    }

    fn refer(&mut self, subject: &ManifestContent, referrer: &ManifestContent) {
        let entry = serde_json::from_value(descriptor(referrer)).unwrap();
        self.referrers.entry(subject.digest).or_default().push(entry);
    }

    fn tag(&mut self, tag: String, manifest: &ManifestContent) {
        self.manifests.insert(tag, manifest.clone());
    }

    fn check(&self, what: &str) -> Result<(), ReadError> {
        let read = ReadError::new(what, "broken");
        if self.broken.contains(what) { Err(read) } else { Ok(()) }
    }
}

fn descriptor(manifest: &ManifestContent) -> Value {
    json!(Descriptor::new(&manifest.media_type, manifest.digest, manifest.body.len() as u64))
}

#[async_trait]
impl Content for Memory {
    async fn manifest(&self, reference: &Reference) -> Result<Option<ManifestContent>, ReadError> {
        self.check(&reference.to_string())?;
        Ok(self.manifests.get(&reference.to_string()).cloned())
    }

    async fn referrers(&self, subject: &Digest, limit: usize) -> Result<(Vec<Descriptor>, bool), ReadError> {
        self.check(&format!("referrers {subject}"))?;
        let all = self.referrers.get(subject).cloned().unwrap_or_default();
        Ok((all.iter().take(limit).cloned().collect(), all.len() > limit))
    }

    async fn blob(&self, digest: &Digest, limit: usize) -> Result<Bytes, ReadError> {
        self.check(&digest.to_string())?;
        let bytes = self.blobs.get(digest).ok_or_else(|| ReadError::new(digest.to_string(), "absent"))?;
        let too_long = || ReadError::too_long(digest.to_string(), "too long");
        if bytes.len() > limit { Err(too_long()) } else { Ok(bytes.clone()) }
    }
}

fn limits() -> Limits {
    Limits::default()
}

/// Kinds and ways, in order.
fn shown(gathered: &Gathered) -> Vec<(EvidenceKind, Vec<Found>)> {
    gathered.evidence.iter().map(|e| (e.kind, e.found.iter().copied().collect())).collect()
}

#[tokio::test]
async fn each_form_is_found_in_each_place() {
    let mut memory = Memory::default();
    let image = memory.image("a");
    for (kind, found) in [
        (BUNDLE, EvidenceKind::Bundle),
        ("application/vnd.dev.sigstore.bundle+json;version=0.2", EvidenceKind::Bundle),
        ("application/vnd.in-toto.provenance+dsse", EvidenceKind::CosignAttestation),
        ("application/spdx+json", EvidenceKind::Sbom),
        (STATEMENT, EvidenceKind::Statement),
    ] {
        let holder = memory.holding(kind, kind, Some(&image));
        memory.refer(&image, &holder);
        let gathered = gather(&memory, &image, &[], &limits()).await;
        let of_kind = gathered.evidence.iter().find(|e| e.media_type == kind);
        assert_eq!(of_kind.map(|e| e.kind), Some(found), "{kind}");
    }
    for (suffix, kind) in
        [("sig", SIMPLE), ("att", "application/vnd.dsse.envelope.v1+json"), ("sbom", "text/spdx")]
    {
        let holder = memory.holding(kind, suffix, None);
        memory.tag(format!("{}.{suffix}", image.digest.referrers_tag()), &holder);
    }
    let gathered = gather(&memory, &image, &[], &limits()).await;
    let last: Vec<_> = shown(&gathered).into_iter().skip(5).collect();
    let tagged = vec![Found::CosignTag];
    let expected = [EvidenceKind::CosignSignature, EvidenceKind::CosignAttestation, EvidenceKind::Sbom];
    assert_eq!(last, expected.map(|kind| (kind, tagged.clone())));
    assert!(gathered.incomplete.is_empty() && gathered.passed_over.is_empty(), "{gathered:?}");
}

#[tokio::test]
async fn notation_is_known_by_artifact_type_or_config() {
    let mut memory = Memory::default();
    let image = memory.image("a");
    let layer = memory.store("application/jose+json", "{}");
    let config = memory.store(NOTATION, "{}");
    let old = memory.put(json!({"config": config, "layers": [layer], "subject": descriptor(&image)}));
    memory.refer(&image, &old);
    let gathered = gather(&memory, &image, &[], &limits()).await;
    assert_eq!(shown(&gathered), [(EvidenceKind::Notation, vec![Found::Referrer])]);
    assert_eq!(gathered.evidence[0].media_type, "application/jose+json");
    // The same layer elsewhere is nobody's signature.
    let layer = memory.store("application/jose+json", "{}");
    let other = memory.store(media_type::OCI_EMPTY, "{}");
    let plain = memory.put(json!({"config": other, "layers": [layer], "subject": descriptor(&image)}));
    memory.refer(&image, &plain);
    assert_eq!(gather(&memory, &image, &[], &limits()).await.evidence.len(), 1);
}

#[tokio::test]
async fn what_is_found_twice_counts_once() {
    let mut memory = Memory::default();
    let image = memory.image("a");
    let bundle = memory.holding(BUNDLE, "bundle", Some(&image));
    memory.refer(&image, &bundle);
    let index = memory.index(vec![descriptor(&bundle)]);
    memory.tag(image.digest.referrers_tag(), &index);
    // The same bundle under another manifest.
    let again = memory.store(BUNDLE, "bundle");
    let config = memory.store(media_type::OCI_EMPTY, "{}");
    let again = memory.put(json!({"artifactType": BUNDLE, "config": config, "layers": [again],
        "subject": descriptor(&image), "annotations": {"another": "one"}}));
    memory.refer(&image, &again);
    let gathered = gather(&memory, &image, &[image.digest, image.digest], &limits()).await;
    assert_eq!(shown(&gathered), [(EvidenceKind::Bundle, vec![Found::Referrer, Found::ReferrersTag])]);
    // Two signatures of cosign 2 have the same payload.
    let layer = memory.store(SIMPLE, "payload");
    let sign = |signature: &str| {
        let mut layer = layer.clone();
        layer["annotations"] = json!({"dev.cosignproject.cosign/signature": signature});
        layer
    };
    let signed = json!({"config": memory.store(media_type::OCI_CONFIG, "{}"), "layers": [sign("a"), sign("b"), sign("a")]});
    let signed = memory.put(signed);
    memory.tag(format!("{}.sig", image.digest.referrers_tag()), &signed);
    assert_eq!(gather(&memory, &image, &[], &limits()).await.evidence.len(), 3);
}

#[tokio::test]
async fn buildkit_and_parents() {
    let mut memory = Memory::default();
    let (image, other) = (memory.image("a"), memory.image("b"));
    let attestation = |memory: &mut Memory, about: &ManifestContent, subject: bool| {
        let made = memory.holding(STATEMENT, &about.digest.to_string(), subject.then_some(about));
        let mut entry = descriptor(&made);
        entry["platform"] = json!({"os": "unknown", "architecture": "unknown"});
        entry["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": about.digest.to_string()});
        (made, entry)
    };
    let (newer, first) = attestation(&mut memory, &image, true);
    let (_, second) = attestation(&mut memory, &other, false);
    let index = memory.index(vec![descriptor(&image), descriptor(&other), first, second]);
    memory.refer(&image, &newer);
    let bundle = memory.holding(BUNDLE, "of the index", Some(&index));
    memory.refer(&index, &bundle);

    let gathered = gather(&memory, &image, &[index.digest], &limits()).await;
    let both = vec![Found::Referrer, Found::Index];
    assert_eq!(
        shown(&gathered),
        [(EvidenceKind::Statement, both), (EvidenceKind::Bundle, vec![Found::Referrer])]
    );
    assert_eq!(gathered.evidence[0].subject, image.digest);
    assert_eq!(gathered.evidence[1].subject, index.digest, "a signature of the index names the index");

    let of_index = gather(&memory, &index, &[], &limits()).await;
    let subjects: BTreeSet<_> = of_index.evidence.iter().map(|e| e.subject).collect();
    assert_eq!(subjects, BTreeSet::from([index.digest, image.digest, other.digest]));
    let gone = gather(&memory, &image, &[Digest::sha256(b"gone")], &limits()).await;
    assert!(gone.incomplete.iter().any(|line| line.contains("is not there")), "{gone:?}");
}

#[tokio::test]
async fn what_is_attached_to_the_images_of_an_index_is_found_with_it() {
    let mut memory = Memory::default();
    let (image, other) = (memory.image("a"), memory.image("b"));
    let index = memory.index(vec![descriptor(&image), descriptor(&other), descriptor(&image)]);
    for (subject, content) in [(&image, "of a"), (&other, "of b"), (&index, "of the index")] {
        let bundle = memory.holding(BUNDLE, content, Some(subject));
        memory.refer(subject, &bundle);
    }
    let of_images = gather_images(&memory, &index, &limits()).await;
    let subjects: Vec<_> = of_images.evidence.iter().map(|piece| piece.subject).collect();
    assert_eq!(BTreeSet::from_iter(subjects.clone()), BTreeSet::from([image.digest, other.digest]));
    assert_eq!(subjects.len(), 2, "each once");
    assert!(gather_images(&memory, &image, &limits()).await.evidence.is_empty());
    memory.broken.insert(format!("referrers {}", other.digest));
    assert_eq!(gather_images(&memory, &index, &limits()).await.incomplete.len(), 1);
}

#[tokio::test]
async fn what_anybody_attaches_takes_no_signatures_place() {
    let mut memory = Memory::default();
    let image = memory.image("a");
    let refer = |memory: &mut Memory, kind: &str, content: &str| {
        let referrer = memory.holding(kind, content, Some(&image));
        let mut entry = descriptor(&referrer);
        entry["artifactType"] = kind.into();
        let entry = serde_json::from_value(entry).unwrap();
        memory.referrers.entry(image.digest).or_default().push(entry);
        referrer.digest
    };
    let signature = refer(&mut memory, BUNDLE, "a signature");
    for n in 0..limits().max_referrers + 5 {
        refer(&mut memory, "application/vnd.example.junk", &n.to_string());
    }
    let gathered = gather(&memory, &image, &[], &limits()).await;
    assert!(gathered.evidence.iter().any(|piece| piece.manifest == signature), "{gathered:?}");
    // Attaching more makes no error, so that `onError: allow` lets nothing through for it.
    assert!(gathered.incomplete.is_empty(), "{:?}", gathered.incomplete);
    assert!(gathered.over[0].contains("were looked at"), "{:?}", gathered.over);
    // Of those that may be signatures the newest come first.
    for n in 0..limits().max_referrers {
        refer(&mut memory, BUNDLE, &format!("newer {n}"));
    }
    let gathered = gather(&memory, &image, &[], &limits()).await;
    assert!(!gathered.evidence.iter().any(|piece| piece.manifest == signature));
    assert!(gathered.incomplete.is_empty() && !gathered.over.is_empty());
}

/// Cosign appends to the attestations of a tag, and whoever attaches an old one again makes it no newer.
#[tokio::test]
async fn the_newest_comes_first() {
    let mut memory = Memory::default();
    let image = memory.image("a");
    let envelopes = ["first", "second"].map(|it| memory.store("application/vnd.dsse.envelope.v1+json", it));
    let kept = json!({"config": memory.store(media_type::OCI_CONFIG, "{}"), "layers": envelopes});
    let kept = memory.put(kept);
    memory.tag(format!("{}.att", image.digest.referrers_tag()), &kept);
    let contents = |gathered: &Gathered| -> Vec<String> {
        gathered.evidence.iter().map(|piece| String::from_utf8_lossy(&piece.content).into_owned()).collect()
    };
    assert_eq!(contents(&gather(&memory, &image, &[], &limits()).await), ["second", "first"]);

    let image = memory.image("b");
    for (name, content) in [("1", "old"), ("2", "new"), ("3", "old")] {
        let layer = memory.store(BUNDLE, content);
        let config = memory.store("application/vnd.oci.empty.v1+json", "{}");
        let subject = descriptor(&image);
        let referrer = memory.put(json!({"config": config, "layers": [layer], "subject": subject,
            "annotations": {"name": name}}));
        memory.refer(&image, &referrer);
    }
    assert_eq!(contents(&gather(&memory, &image, &[], &limits()).await), ["new", "old"]);
}

#[tokio::test]
async fn nothing_unread_goes_unsaid() {
    let mut memory = Memory::default();
    let (image, other) = (memory.image("a"), memory.image("b"));
    let bundle = memory.holding(BUNDLE, "bundle", Some(&image));
    let stranger = memory.holding(BUNDLE, "about another", Some(&other));
    memory.refer(&image, &bundle);
    memory.refer(&image, &stranger);
    let whole = gather(&memory, &image, &[], &limits()).await;
    assert_eq!((whole.evidence.len(), whole.incomplete.len(), whole.passed_over.len()), (1, 0, 1));
    let tag = image.digest.referrers_tag();
    let places = [
        bundle.digest.to_string(),
        Digest::sha256(b"bundle").to_string(),
        format!("referrers {}", image.digest),
        tag.clone(),
        format!("{tag}.sig"),
        format!("{tag}.att"),
        format!("{tag}.sbom"),
    ];
    for place in places {
        memory.broken = BTreeSet::from([place.clone()]);
        let gathered = gather(&memory, &image, &[], &limits()).await;
        assert_eq!(gathered.incomplete.len(), 1, "{place}: {gathered:?}");
        assert!(gathered.incomplete[0].contains("broken"), "{gathered:?}");
    }
    memory.broken.clear();
    memory.manifests.remove(&bundle.digest.to_string());
    let gathered = gather(&memory, &image, &[], &limits()).await;
    assert!(gathered.incomplete[0].contains("is listed but not there"), "{gathered:?}");
}

#[tokio::test]
async fn past_a_limit_is_said() {
    let mut memory = Memory::default();
    let image = memory.image("a");
    for label in ["one", "two", "three"] {
        let bundle = memory.holding(BUNDLE, label, Some(&image));
        memory.refer(&image, &bundle);
    }
    let layers: Vec<Value> = ["w", "x", "y", "z"].map(|text| memory.store(SIMPLE, text)).to_vec();
    let config = memory.store(media_type::OCI_CONFIG, "{}");
    let signed = memory.put(json!({"config": config, "layers": layers}));
    memory.tag(format!("{}.sig", image.digest.referrers_tag()), &signed);
    let cases = [
        (Limits { max_referrers: 2, ..limits() }, "2 manifests about", 6),
        (Limits { max_evidence: 4, ..limits() }, "more than the limit of 4", 6),
        (Limits { max_total: 10, ..limits() }, "more than 10 bytes", 6),
        (Limits { max_layers: 3, ..limits() }, "only 3 layers", 6),
        (Limits { max_pieces: 4, ..limits() }, "of 7 signatures, attestations and documents 4", 4),
    ];
    for (limits, said, evidence) in cases {
        let gathered = gather(&memory, &image, &[], &limits).await;
        assert!(gathered.incomplete.is_empty(), "{said}: it is no error: {gathered:?}");
        let told = gathered.unread.iter().chain(&gathered.over);
        assert!(told.into_iter().any(|line| line.contains(said)), "{said}: {gathered:?}");
        assert!(gathered.evidence.len() <= evidence, "{said}");
    }
    // A descriptor that says less than the blob has.
    let mut liar = memory.store(BUNDLE, "longer than said");
    liar["size"] = json!(3);
    let config = memory.store(media_type::OCI_EMPTY, "{}");
    let liar = memory.put(json!({"config": config, "layers": [liar], "subject": descriptor(&image)}));
    memory.refer(&image, &liar);
    let gathered = gather(&memory, &image, &[], &limits()).await;
    assert!(gathered.unread[0].contains("too long") && gathered.incomplete.is_empty(), "{gathered:?}");
}

#[tokio::test]
async fn much_that_is_attached_takes_no_place() {
    let mut memory = Memory::default();
    let image = memory.image("a");
    let signature = memory.holding(BUNDLE, "a signature", Some(&image));
    memory.refer(&image, &signature);
    let large = memory.holding(BUNDLE, &"large".repeat(40), Some(&image));
    memory.refer(&image, &large);
    let layers: Vec<Value> = (0..9).map(|n| memory.store(SIMPLE, &format!("{n}"))).collect();
    let config = memory.store(media_type::OCI_EMPTY, "{}");
    let many = memory.put(json!({"config": config, "layers": layers, "subject": descriptor(&image)}));
    memory.refer(&image, &many);
    for few in [Limits { max_total: 40, ..limits() }, Limits { max_pieces: 3, ..limits() }] {
        let gathered = gather(&memory, &image, &[], &few).await;
        assert!(gathered.evidence.iter().any(|piece| piece.manifest == signature.digest), "{gathered:?}");
        assert!(!gathered.unread.is_empty() && gathered.incomplete.is_empty(), "{gathered:?}");
    }
}

/// Servers run these on any thread.
#[test]
fn what_gathers_may_move_between_threads() {
    fn movable<T: Send>(_: &T) {}
    let mut memory = Memory::default();
    let image = memory.image("a");
    let limits = limits();
    movable(&gather(&memory, &image, &[], &limits));
    movable(&attached(&memory, &image.digest, &limits));
    movable(&image_facts(&memory, "", "", &[], &image, &[], &limits));
    movable(&evidence_of(&memory, &[], (&mut Vec::new(), &mut Vec::new()), &limits));
}
