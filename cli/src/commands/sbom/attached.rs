//! Documents that others attached to an image, wherever their tools put them:
//!
//! - referrers, by the API or by the tag `sha256-<hex>` (oras, cosign 3, rreg);
//! - attestation manifests in the image's index (BuildKit);
//! - the tags `sha256-<hex>.att` and `.sbom` (cosign 2, syft, trivy through cosign).
//!
//! No signature is checked.

use std::time::Duration;

use futures_util::StreamExt as _;
use rreg_oci::{Descriptor, Digest, Hasher, Manifest, Reference};
use rreg_runtime::client::FetchedManifest;
use rreg_runtime::transfer::Origin;
use rreg_sbom::read::{self, Attached, DocumentFormat};
use rreg_sbom::{Finding, FindingKind};
use serde::Serialize;

use super::Image;

/// Most manifests that are looked into, and most documents.
const MAX_MANIFESTS: usize = 64;
/// BuildKit's (attestation storage, docs of BuildKit).
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
/// Signatures, which are the most frequent referrers and hold no SBOM.
const SIGNATURES: [&str; 2] =
    ["application/vnd.cncf.notary.signature", "application/vnd.dev.cosign.artifact.sig.v1+json"];

/// How a document hangs on its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Place {
    Referrer,
    IndexEntry,
    CosignTag,
}

impl Place {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Referrer => "a referrer",
            Self::IndexEntry => "an attestation manifest in the index",
            Self::CosignTag => "a tag named after the image's digest",
        }
    }
}

/// A document and where it was.
#[derive(Debug, Serialize)]
pub(super) struct Hanging {
    pub(super) place: Place,
    /// The manifest that holds it.
    pub(super) manifest: Digest,
    /// The blob in that manifest.
    pub(super) blob: Digest,
    #[serde(flatten)]
    pub(super) attached: Attached,
}

/// What was looked into.
#[derive(Default)]
pub(super) struct Search {
    pub(super) found: Option<Hanging>,
    /// Why others were not used.
    pub(super) findings: Vec<Finding>,
}

/// A manifest that may hold documents.
struct Candidate {
    place: Place,
    manifest: FetchedManifest,
}

/// Finds the first document about `image` in one of the `wanted` forms.
pub(super) async fn find(
    origin: &Image,
    image: &FetchedManifest,
    wanted: &[DocumentFormat],
    timeout: u64,
) -> Search {
    let mut search = Search::default();
    let late = Duration::from_secs(timeout);
    if tokio::time::timeout(late, search.run(origin, image, wanted)).await.is_err() {
        search.complain("attached documents", "not read in time (--timeout)");
    }
    search
}

impl Search {
    async fn run(&mut self, image: &Image, subject: &FetchedManifest, wanted: &[DocumentFormat]) {
        let about = subject.descriptor.digest;
        for candidate in self.candidates(image, &about).await {
            if self.found.is_none() {
                self.found = self.open(&image.origin, candidate, &about, wanted).await;
            }
        }
    }

    async fn candidates(&mut self, image: &Image, about: &Digest) -> Vec<Candidate> {
        let mut found = Vec::<Candidate>::new();
        let mut listed = match image.origin.referrers(about).await {
            Ok(listed) => listed,
            Err(e) => {
                self.complain("referrers", &e.to_string());
                Vec::new()
            }
        };
        // The newest first, as its maker says, then one order for all registries.
        listed.sort_by(|a, b| {
            created(b).cmp(&created(a)).then_with(|| a.digest.to_string().cmp(&b.digest.to_string()))
        });
        let referrers = listed.into_iter().filter(may_hold).map(|entry| (Place::Referrer, entry));
        let entries = image.root.parse().map(|root| root.manifests).unwrap_or_default();
        let entries = entries.into_iter().filter(|entry| is_attestation_of(entry, about));
        for (place, entry) in referrers.chain(entries.map(|entry| (Place::IndexEntry, entry))) {
            if found.len() == MAX_MANIFESTS {
                let why = format!("more than {MAX_MANIFESTS}; the rest was not looked into");
                self.findings.push(finding(FindingKind::TooMany, "attached manifests", &why));
                break;
            }
            // BuildKit's newer attestations are both.
            if found.iter().any(|known| known.manifest.descriptor.digest == entry.digest) {
                continue;
            }
            match image.origin.manifest(&entry).await {
                Ok(manifest) => found.push(Candidate { place, manifest }),
                Err(e) => self.complain(&entry.digest.to_string(), &e.to_string()),
            }
        }
        if let Origin::Registry { client, repository } = &image.origin {
            for suffix in ["att", "sbom"] {
                let Ok(tag) = format!("{}.{suffix}", about.referrers_tag()).parse() else { continue };
                match client.fetch_manifest(repository, &Reference::Tag(tag)).await {
                    Ok(manifest) => found.push(Candidate { place: Place::CosignTag, manifest }),
                    Err(e) if e.is_not_found() => {}
                    Err(e) => self.complain(&format!("{}.{suffix}", about.referrers_tag()), &e.to_string()),
                }
            }
        }
        found
    }

    /// The first document in a manifest that can be used.
    async fn open(
        &mut self,
        origin: &Origin,
        candidate: Candidate,
        about: &Digest,
        wanted: &[DocumentFormat],
    ) -> Option<Hanging> {
        let name = candidate.manifest.descriptor.digest;
        let parsed = match candidate.manifest.parse() {
            Ok(parsed) => parsed,
            Err(e) => {
                self.findings.push(finding(FindingKind::Malformed, &name.to_string(), &e.to_string()));
                return None;
            }
        };
        // That a registry lists it is no proof.
        if candidate.place == Place::Referrer && parsed.subject.as_ref().map(|s| s.digest) != Some(*about) {
            let why = format!("the manifest's subject is not {about}");
            self.findings.push(finding(FindingKind::OtherSubject, &name.to_string(), &why));
            return None;
        }
        for layer in documents(&parsed).take(MAX_MANIFESTS) {
            let path = format!("{name} {}", layer.digest);
            let read = match fetch(origin, layer).await {
                Ok(bytes) => read_blocking(layer.media_type.clone(), bytes, *about).await,
                Err(found) => Err(found),
            };
            match read {
                Ok(Some(attached)) if wanted.contains(&attached.document.format) => {
                    return Some(Hanging {
                        place: candidate.place,
                        manifest: name,
                        blob: layer.digest,
                        attached,
                    });
                }
                Ok(_) => {}
                Err(found) => self.findings.push(Finding { path: Some(path), ..found }),
            }
        }
        None
    }

    fn complain(&mut self, path: &str, why: &str) {
        self.findings.push(finding(FindingKind::NotFetched, path, why));
    }
}

/// Blobs of a manifest that may be documents. Where the manifest says what the statement in it is about, others
/// are not fetched: provenance lies beside SBOMs.
fn documents(manifest: &Manifest) -> impl Iterator<Item = &Descriptor> {
    let stated = manifest.annotations.get("dev.sigstore.bundle.predicateType");
    manifest.layers.iter().filter(move |layer| {
        let notes = layer.annotations.as_ref();
        let predicate =
            notes.and_then(|notes| notes.get("in-toto.io/predicate-type").or(notes.get("predicateType")));
        let sbom = predicate.or(stated).is_none_or(|predicate| read::is_sbom_predicate(predicate));
        read::carries_sbom(&layer.media_type) && sbom
    })
}

fn may_hold(referrer: &Descriptor) -> bool {
    referrer.artifact_type.as_deref().is_none_or(|kind| !SIGNATURES.contains(&kind))
}

fn created(descriptor: &Descriptor) -> Option<&String> {
    descriptor.annotations.as_ref()?.get("org.opencontainers.image.created")
}

fn is_attestation_of(entry: &Descriptor, about: &Digest) -> bool {
    let note = |key: &str| entry.annotations.as_ref().and_then(|notes| notes.get(key)).map(String::as_str);
    note(REFERENCE_TYPE) == Some("attestation-manifest")
        && note(REFERENCE_DIGEST) == Some(about.to_string().as_str())
}

/// A document, whole and verified.
async fn fetch(origin: &Origin, blob: &Descriptor) -> Result<Vec<u8>, Finding> {
    let failed = |kind: FindingKind, why: String| Finding { kind, layer: None, path: None, message: why };
    if blob.size > read::MAX_DOCUMENT {
        let why = format!("{} bytes; documents are read up to {} bytes", blob.size, read::MAX_DOCUMENT);
        return Err(failed(FindingKind::FileTooLarge, why));
    }
    let source = origin.blob(blob).map_err(|e| failed(FindingKind::NotFetched, e.to_string()))?;
    let mut stream = source.open(0).await.map_err(|e| failed(FindingKind::NotFetched, e.to_string()))?;
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|e| failed(FindingKind::NotFetched, e.to_string()))?;
        if bytes.len() as u64 + chunk.len() as u64 > blob.size {
            return Err(failed(FindingKind::Malformed, "the blob is longer than its descriptor says".into()));
        }
        bytes.extend_from_slice(&chunk);
    }
    let mut hasher = Hasher::new(blob.digest.algorithm());
    hasher.update(&bytes);
    match hasher.finish() {
        found if found == blob.digest => Ok(bytes),
        found => Err(failed(FindingKind::Malformed, format!("its content is {found}"))),
    }
}

async fn read_blocking(
    media_type: String,
    bytes: Vec<u8>,
    about: Digest,
) -> Result<Option<Attached>, Finding> {
    let work = move || read::attached(&media_type, bytes, &[about.to_string()]);
    let broken = |e: tokio::task::JoinError| Finding {
        kind: FindingKind::Malformed,
        layer: None,
        path: None,
        message: format!("reading it broke off: {e}"),
    };
    tokio::task::spawn_blocking(work).await.map_err(broken)?
}

fn finding(kind: FindingKind, path: &str, message: &str) -> Finding {
    Finding { kind, layer: None, path: Some(path.into()), message: message.into() }
}
