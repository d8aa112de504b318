//! What is about a manifest without being named by it: referrers, in the API's list and under the referrers tag, and what
//! cosign 2 keeps under tags of its own.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::{try_join, try_join_all};
use rreg_oci::{Descriptor, Digest, Reference, Tag, media_type};
use serde_json::Value;

use super::error::TransferError;
use super::{Origin, Target};
use crate::client::{ClientError, ErrorClass, FetchedManifest};

/// All that was found about one manifest.
#[derive(Default)]
pub(super) struct About {
    /// Whatever a list names as a referrer, which is not known to be one yet.
    pub(super) listed: Vec<Descriptor>,
    /// Under cosign 2's tags.
    pub(super) tagged: Vec<(Tag, FetchedManifest)>,
    /// Places where there may be more: a cache could not ask its upstream for them.
    pub(super) unknown: usize,
}

impl Origin {
    pub(super) async fn evidence(&self, subject: &Digest) -> Result<About, TransferError> {
        let tags = subject.cosign_tags();
        let unknown = AtomicUsize::new(0);
        // A cache whose upstream is away has the image, and knows nothing of what nobody has asked for before. Of any
        // other registry, no answer is not "none".
        let is_unknown = |error: &ClientError| {
            let is = error.of_a_cache && error.class() == ErrorClass::Unreachable;
            unknown.fetch_add(usize::from(is), Ordering::Relaxed);
            is
        };
        let (listed, tagged) = match self {
            Self::Registry { client, repository } => {
                // An image that is in a cache comes without long waits for what may be beside it.
                let client = &client.taking_a_caches_word();
                let tagged = tags.iter().map(|tag| async {
                    let reference = Reference::Tag(tag.clone());
                    match present(client.fetch_manifest(repository, &reference).await) {
                        Err(error) if is_unknown(&error) => Ok(None),
                        found => found,
                    }
                });
                let listed = async {
                    match client.referrers_in_both_forms(repository, subject).await {
                        Err(error) if is_unknown(&error) => {
                            client.cached_referrers(repository, subject).await
                        }
                        listed => listed,
                    }
                };
                try_join(listed, try_join_all(tagged)).await?
            }
            Self::Layout(layout) => {
                let mut tagged = Vec::new();
                for tag in &tags {
                    tagged.push(match layout.tagged(tag) {
                        // The name of the entry is not part of what it describes.
                        Some(entry) => Some(unnamed(layout.manifest(entry).await?)),
                        None => None,
                    });
                }
                (layout.referrers(subject), tagged)
            }
        };
        let tagged = tags.into_iter().zip(tagged).filter_map(|(tag, found)| Some((tag, found?))).collect();
        Ok(About { listed, tagged, unknown: unknown.into_inner() })
    }
}

fn unnamed(mut manifest: FetchedManifest) -> FetchedManifest {
    manifest.descriptor.annotations = None;
    manifest
}

fn present(fetched: Result<FetchedManifest, ClientError>) -> Result<Option<FetchedManifest>, ClientError> {
    match fetched {
        Ok(fetched) => Ok(Some(fetched)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

impl Target {
    /// What has to be written under one of cosign 2's tags so that nothing is lost there: `None` when the target has all
    /// of `found`. Signatures and attestations are layers of one manifest, so those that only the target has are kept.
    pub(super) async fn under_tag(
        &self,
        tag: &Tag,
        found: &FetchedManifest,
    ) -> Result<Option<FetchedManifest>, TransferError> {
        let Self::Registry { client, repository } = self else { return Ok(Some(found.clone())) };
        let there = present(client.fetch_manifest(repository, &Reference::Tag(tag.clone())).await)?;
        Ok(match there {
            Some(there) if there.descriptor.digest == found.descriptor.digest => None,
            // There is one list of packages, the newest.
            Some(there) if !tag.as_str().ends_with(".sbom") => joined(found, &there),
            _ => Some(found.clone()),
        })
    }

    /// The referrers of `subject` that the target lists.
    pub(super) async fn listed(&self, subject: &Digest) -> Result<HashSet<Digest>, TransferError> {
        let Self::Registry { client, repository } = self else { return Ok(HashSet::new()) };
        let listed = client.referrers(repository, subject, None).await?;
        Ok(listed.into_iter().map(|entry| entry.digest).collect())
    }
}

/// The manifest with the layers of both. `None` when all of `new` is in `old`; what is no image manifest is replaced.
fn joined(new: &FetchedManifest, old: &FetchedManifest) -> Option<FetchedManifest> {
    let image = |manifest: &FetchedManifest| {
        let kind = manifest.descriptor.media_type.as_str();
        let known = matches!(kind, media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST);
        let value: Value = serde_json::from_slice(&manifest.bytes).ok().filter(|_| known)?;
        let layers = value.get("layers")?.as_array()?.clone();
        Some((value, layers))
    };
    let (Some((_, added)), Some((mut value, mut layers))) = (image(new), image(old)) else {
        return Some(new.clone());
    };
    if layers.iter().all(|layer| added.contains(layer)) {
        return Some(new.clone());
    }
    let kept = layers.len();
    let missing: Vec<Value> = added.into_iter().filter(|layer| !layers.contains(layer)).collect();
    layers.extend(missing);
    if layers.len() == kept {
        return None;
    }
    *value.get_mut("layers")? = Value::Array(layers);
    let bytes = serde_json::to_vec(&value).ok()?;
    Some(FetchedManifest::new(old.descriptor.media_type.clone(), bytes.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn signatures(all: &[&str]) -> FetchedManifest {
        let layers: Vec<Value> =
            all.iter().map(|one| json!({"digest": "same", "annotations": {"s": one}})).collect();
        let value = json!({"mediaType": media_type::OCI_MANIFEST, "layers": layers});
        FetchedManifest::new(media_type::OCI_MANIFEST, value.to_string().into())
    }

    #[test]
    fn no_signature_is_lost_under_a_tag() {
        let layers = |manifest: FetchedManifest| {
            let value: Value = serde_json::from_slice(&manifest.bytes).unwrap();
            let layers = value["layers"].as_array().unwrap().clone();
            layers
                .iter()
                .map(|layer| layer["annotations"]["s"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        let join = |new: &[&str], old: &[&str]| joined(&signatures(new), &signatures(old));
        assert!(join(&["a"], &["a", "b"]).is_none(), "nothing is new");
        let more = join(&["b", "a"], &["a"]).unwrap();
        assert_eq!(more.descriptor.digest, signatures(&["b", "a"]).descriptor.digest, "as it was signed");
        let both = join(&["a", "c"], &["a", "b"]).unwrap();
        assert_eq!(both.descriptor.digest, Digest::sha256(&both.bytes));
        assert_eq!(layers(both), ["a", "b", "c"]);
        let index = FetchedManifest::new(media_type::OCI_INDEX, r#"{"manifests":[]}"#.into());
        let replaced = joined(&signatures(&["a"]), &index).unwrap();
        assert_eq!(layers(replaced), ["a"]);
    }
}
