//! Reads the evidence that manifests carry in their layers.

use rreg_oci::{Descriptor, Manifest, media_type};

use super::find::Attachment;
use super::in_turn;
use crate::content::Content;
use crate::evidence::{Evidence, EvidenceKind};
use crate::limits::Limits;

/// What Notation's signatures say that they are: as artifact type, or in older ones as type of the config.
const NOTATION: &str = "application/vnd.cncf.notary.signature";

/// What a layer of a manifest is as evidence; `None` where it is none.
pub fn evidence_kind(manifest: &Manifest, layer: &Descriptor) -> Option<EvidenceKind> {
    let artifact = manifest.artifact_type.as_deref().map(media_type::essence);
    let config = manifest.config.as_ref().map(|config| media_type::essence(&config.media_type));
    if artifact == Some(NOTATION) || config == Some(NOTATION) {
        return Some(EvidenceKind::Notation);
    }
    match media_type::essence(&layer.media_type) {
        kind if is_bundle(kind) => Some(EvidenceKind::Bundle),
        "application/vnd.dev.cosign.simplesigning.v1+json" => Some(EvidenceKind::CosignSignature),
        "application/vnd.dsse.envelope.v1+json" => Some(EvidenceKind::CosignAttestation),
        // in-toto attestation framework, "Bundle": one envelope, named after its predicate.
        kind if kind.starts_with("application/vnd.in-toto.") && kind.ends_with("+dsse") => {
            Some(EvidenceKind::CosignAttestation)
        }
        "application/vnd.in-toto+json" => Some(EvidenceKind::Statement),
        kind if rreg_sbom::read::carries_sbom(kind) => Some(EvidenceKind::Sbom),
        _ if artifact.is_some_and(is_bundle) => Some(EvidenceKind::Bundle),
        _ => None,
    }
}

fn is_bundle(essence: &str) -> bool {
    essence.starts_with("application/vnd.dev.sigstore.bundle") && essence.ends_with("json")
}

/// A piece that a manifest names.
struct Named<'a> {
    attachment: &'a Attachment,
    kind: EvidenceKind,
    layer: &'a Descriptor,
    /// Its place among the pieces of its manifest.
    position: usize,
}

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in the manifest {}", self.layer.digest, self.attachment.content.digest)
    }
}

/// Reads the evidence in these manifests, in their order, and of each manifest the last layer first. What cannot be read
/// is said in `incomplete`, and what lies past a limit or is longer than its manifest says in `unread`.
pub async fn evidence_of(
    content: &dyn Content,
    attachments: &[Attachment],
    (incomplete, unread): (&mut Vec<String>, &mut Vec<String>),
    limits: &Limits,
) -> Vec<Evidence> {
    let reads = chosen(attachments, unread, limits).into_iter().map(|named| async move {
        let limit = usize::try_from(named.layer.size).unwrap_or(usize::MAX);
        let read = content.blob(&named.layer.digest, limit).await;
        read.map(|bytes| piece(named.attachment, named.kind, named.layer, bytes))
            .map_err(|error| (error.is_too_long, format!("{named}: {error}")))
    });
    let read = in_turn(reads.collect()).await;
    let mut evidence = Vec::with_capacity(read.len());
    for one in read {
        match one {
            Ok(piece) => evidence.push(piece),
            // Longer than its manifest says.
            Err((true, why)) => unread.push(why),
            Err((false, why)) => incomplete.push(why),
        }
    }
    evidence
}

/// The pieces that are read. Where there are too many or too much, the first ones of each manifest come before the
/// second ones, and of those the small ones first: a signature is some kilobytes, and somebody else's many or large
/// pieces must not take its place.
fn chosen<'a>(attachments: &'a [Attachment], unread: &mut Vec<String>, limits: &Limits) -> Vec<Named<'a>> {
    let mut found = Vec::new();
    for attachment in attachments {
        let layers = attachment.manifest.layers.iter();
        let pieces = layers.filter_map(|layer| Some((evidence_kind(&attachment.manifest, layer)?, layer)));
        let mut of_this = Vec::new();
        for (position, (kind, layer)) in pieces.enumerate() {
            let named = Named { attachment, kind, layer, position };
            if position >= limits.max_layers {
                unread.push(format!("{named}: only {} layers are looked at", limits.max_layers));
                break;
            }
            if layer.size > limits.max_evidence as u64 {
                let (size, limit) = (layer.size, limits.max_evidence);
                unread.push(format!("{named}: it has {size} bytes, more than the limit of {limit}"));
            } else {
                of_this.push(named);
            }
        }
        // Cosign appends: what came last is the newest, as in the lists of registries.
        found.extend(of_this.into_iter().rev());
    }
    let mut order: Vec<usize> = (0..found.len()).collect();
    order.sort_by_key(|at| found.get(*at).map(|named| (named.position, named.layer.size)));
    let (mut left, mut taken) = (limits.max_total as u64, vec![false; found.len()]);
    let (mut pieces, mut too_long) = (0, None);
    for (at, named) in order.iter().filter_map(|at| Some((*at, found.get(*at)?))) {
        if pieces >= limits.max_pieces {
            let (all, limit) = (found.len(), limits.max_pieces);
            unread.push(format!("of {all} signatures, attestations and documents {limit} were looked at"));
            break;
        }
        if named.layer.size > left {
            too_long = too_long.or(Some(named));
            continue;
        }
        left -= named.layer.size;
        pieces += 1;
        if let Some(taken) = taken.get_mut(at) {
            *taken = true;
        }
    }
    if let Some(named) = too_long {
        let limit = limits.max_total;
        unread.push(format!("{named}: all evidence together has more than {limit} bytes"));
    }
    found.into_iter().zip(taken).filter_map(|(named, taken)| taken.then_some(named)).collect()
}

fn piece(attachment: &Attachment, kind: EvidenceKind, layer: &Descriptor, content: bytes::Bytes) -> Evidence {
    Evidence {
        subject: attachment.subject,
        manifest: attachment.content.digest,
        kind,
        media_type: layer.media_type.clone(),
        content,
        annotations: layer.annotations.clone().unwrap_or_default(),
        found: attachment.found.clone(),
    }
}
