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

/// Reads the evidence in these manifests, in their order. What cannot be read or lies past a limit is said in
/// `incomplete`.
pub async fn evidence_of(
    content: &dyn Content,
    attachments: &[Attachment],
    incomplete: &mut Vec<String>,
    limits: &Limits,
) -> Vec<Evidence> {
    let mut left = limits.max_total as u64;
    let mut wanted = Vec::new();
    for attachment in attachments {
        let layers = attachment.manifest.layers.iter();
        let pieces = layers.filter_map(|layer| Some((evidence_kind(&attachment.manifest, layer)?, layer)));
        for (position, (kind, layer)) in pieces.enumerate() {
            let name = format!("{} in the manifest {}", layer.digest, attachment.content.digest);
            if position >= limits.max_layers {
                incomplete.push(format!("{name}: only {} layers are looked at", limits.max_layers));
                break;
            }
            if layer.size > limits.max_evidence as u64 {
                let (size, limit) = (layer.size, limits.max_evidence);
                incomplete.push(format!("{name}: it has {size} bytes, more than the limit of {limit}"));
            } else if layer.size > left {
                let limit = limits.max_total;
                incomplete.push(format!("{name}: all evidence together has more than {limit} bytes"));
            } else {
                left -= layer.size;
                wanted.push((attachment, kind, layer, name));
            }
        }
    }
    let reads = wanted.into_iter().map(|(attachment, kind, layer, name)| async move {
        let limit = usize::try_from(layer.size).unwrap_or(usize::MAX);
        let read = content.blob(&layer.digest, limit).await;
        read.map(|bytes| piece(attachment, kind, layer, bytes)).map_err(|error| format!("{name}: {error}"))
    });
    let read = in_turn(reads.collect()).await;
    let mut evidence = Vec::with_capacity(read.len());
    for one in read {
        match one {
            Ok(piece) => evidence.push(piece),
            Err(why) => incomplete.push(why),
        }
    }
    evidence
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
