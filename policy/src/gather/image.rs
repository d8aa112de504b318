//! What an image says of itself, in its manifest and config.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rreg_oci::{Descriptor, Digest, Manifest, ManifestKind, Reference, media_type};
use serde::Deserialize;

use super::index::{attestation_of, is_for_nobody};
use super::{in_turn, names, parse};
use crate::content::{Content, ManifestContent, ReadError};
use crate::facts::{ConfigFacts, ImageFacts};
use crate::limits::Limits;

/// Name and digest of the image below (image-spec, annotations).
const BASE_NAME: &str = "org.opencontainers.image.base.name";
const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";

/// The facts that the image itself states: of its config, or of those of an index's children. Why they are not whole is
/// in [`ImageFacts::incomplete`] where that may not last, which comes beside them too, and in [`ImageFacts::unread`].
///
/// # Errors
/// [`ReadError`] when the image's own config cannot be had.
pub async fn image_facts(
    content: &dyn Content,
    registry: &str,
    repository: &str,
    tags: &[String],
    image: &ManifestContent,
    parents: &[Digest],
    limits: &Limits,
) -> Result<(ImageFacts, Vec<String>), ReadError> {
    let manifest = match parse(image) {
        Ok(manifest) => manifest,
        Err(why) => {
            let facts = ImageFacts {
                registry: registry.to_owned(),
                tags: tags.to_vec(),
                parents: parents.to_vec(),
                unread: vec![format!("the manifest {}: {why}", image.digest)],
                ..ImageFacts::bare(repository, image.digest)
            };
            return Ok((facts, Vec::new()));
        }
    };
    let mut missed = Missed::default();
    let configs = match manifest.kind {
        ManifestKind::Image => match config(content, &manifest, limits).await {
            Ok(config) => config.into_iter().collect(),
            Err(Unseen::Unread(error)) => return Err(error),
            Err(Unseen::Unreadable(why)) => {
                missed.for_good.push(why);
                Vec::new()
            }
        },
        ManifestKind::Index => children(content, &manifest, &mut missed, limits).await,
    };
    let mut platforms: Vec<String> = match manifest.kind {
        ManifestKind::Image => Vec::new(),
        ManifestKind::Index => images(&manifest).filter_map(Descriptor::platform_text).collect(),
    };
    platforms.extend(configs.iter().map(|config| config.platform.clone()).filter(|text| !text.is_empty()));
    platforms.sort();
    platforms.dedup();
    let stated = |name: &str| {
        let labels = || configs.iter().find_map(|config| config.labels.get(name));
        manifest.annotations.get(name).or_else(labels).filter(|text| !text.is_empty()).cloned()
    };
    let blobs = manifest.config.iter().chain(&manifest.layers);
    // A copy may say nothing of a length, which is fetched all the same.
    let says_no_size =
        |layer: &Descriptor| layer.size == 0 && layer.digest != Digest::of(layer.digest.algorithm(), b"");
    let is_elsewhere = |layer: &&Descriptor| {
        media_type::is_nondistributable(&layer.media_type)
            || layer.urls.as_ref().is_some_and(|urls| !urls.is_empty())
            || says_no_size(layer)
    };
    let facts = ImageFacts {
        registry: registry.to_owned(),
        repository: repository.to_owned(),
        unknown: false,
        incomplete: missed.unread.clone(),
        unread: missed.for_good,
        elsewhere: manifest.layers.iter().filter(is_elsewhere).map(|layer| layer.digest).collect(),
        tags: tags.to_vec(),
        digest: image.digest,
        parents: parents.to_vec(),
        media_type: manifest.media_type.clone(),
        artifact_type: own_artifact_type(&manifest),
        pinned: None,
        platforms,
        size: blobs.map(|blob| blob.size).fold(0, u64::saturating_add),
        layers: manifest.layers.iter().map(|layer| layer.digest).collect(),
        base_name: stated(BASE_NAME),
        base_digest: stated(BASE_DIGEST).and_then(|text| text.parse().ok()),
        annotations: manifest.annotations,
        configs,
    };
    Ok((facts, missed.unread))
}

/// The artifact type, where it is not just the type of an image's config.
fn own_artifact_type(manifest: &Manifest) -> Option<String> {
    manifest.artifact_type.clone().filter(|kind| !is_config(kind))
}

fn is_config(kind: &str) -> bool {
    matches!(kind, media_type::OCI_CONFIG | media_type::DOCKER_CONFIG)
}

/// The entries of an index that are images, not attestations about them.
fn images(index: &Manifest) -> impl Iterator<Item = &Descriptor> {
    index.manifests.iter().filter(|entry| attestation_of(entry).is_none() || !is_for_nobody(entry))
}

/// What of an index was not looked at.
#[derive(Default)]
struct Missed {
    /// What could not be had: the next time it may be.
    unread: Vec<String>,
    /// What stays so.
    for_good: Vec<String>,
}

/// Why nothing is known of one image.
enum Unseen {
    Unread(ReadError),
    /// Nobody can read it, or it is more than is looked at.
    Unreadable(String),
}

impl From<ReadError> for Unseen {
    fn from(error: ReadError) -> Self {
        Self::Unread(error)
    }
}

/// The configs of an index's children. An index in an index is named, not followed.
async fn children(
    content: &dyn Content,
    index: &Manifest,
    missed: &mut Missed,
    limits: &Limits,
) -> Vec<ConfigFacts> {
    let limit = limits.max_referrers;
    if images(index).count() > limit {
        missed.for_good.push(format!("the index has more than {limit} images; {limit} were looked at"));
    }
    let reads = images(index)
        .take(limit)
        .map(|entry| async move { (entry.digest, child(content, entry, limits).await) });
    let read = in_turn(reads.collect()).await;
    let mut configs = Vec::new();
    for (digest, one) in read {
        match one {
            Ok(config) => configs.push(config),
            Err(Unseen::Unreadable(why)) => missed.for_good.push(format!("{digest} in the index: {why}")),
            Err(Unseen::Unread(error)) => {
                missed.unread.push(format!("the image {digest} of the index: {error}"));
            }
        }
    }
    configs
}

/// The config of one image. A runtime may run one without a known config too, so that one has an empty config here.
async fn child(content: &dyn Content, entry: &Descriptor, limits: &Limits) -> Result<ConfigFacts, Unseen> {
    let failed = |why: String| ReadError { what: format!("the manifest {}", entry.digest), why };
    let read = content.manifest(&Reference::Digest(entry.digest)).await?;
    let manifest = read.ok_or_else(|| failed("it is not there".to_owned()))?;
    let manifest = parse(&manifest).map_err(Unseen::Unreadable)?;
    if manifest.kind == ManifestKind::Index {
        return Err(Unseen::Unreadable("it is an index, whose images are not looked at".to_owned()));
    }
    let platform = entry.platform_text().unwrap_or_default();
    let nothing = || ConfigFacts { platform, ..ConfigFacts::default() };
    Ok(config(content, &manifest, limits).await?.unwrap_or_else(nothing))
}

/// The config of an image; an artifact's may be anything and is not read.
async fn config(
    content: &dyn Content,
    manifest: &Manifest,
    limits: &Limits,
) -> Result<Option<ConfigFacts>, Unseen> {
    let Some(config) = manifest.config.as_ref().filter(|config| is_config(&config.media_type)) else {
        return Ok(None);
    };
    let failed = |why: String| Unseen::Unreadable(format!("the config {}: {why}", config.digest));
    let limit = usize::try_from(config.size).unwrap_or(usize::MAX);
    if limit > limits.max_evidence {
        return Err(failed(format!("it has {limit} bytes, more than the limit of {}", limits.max_evidence)));
    }
    let bytes = content.blob(&config.digest, limit).await?;
    names::check(&bytes, &names::CONFIG).map_err(failed)?;
    let wire: Wire =
        serde_json::from_slice(&bytes).map_err(|error| failed(format!("it is no config: {error}")))?;
    Ok(Some(wire.facts()))
}

/// The part of a config that is looked at (image-spec, "Image Configuration"). Docker writes `null` for what is empty.
#[derive(Deserialize)]
struct Wire {
    created: Option<String>,
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
    config: Option<Run>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Run {
    user: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    exposed_ports: Option<BTreeMap<String, serde::de::IgnoredAny>>,
    env: Option<Vec<String>>,
}

impl Wire {
    fn facts(self) -> ConfigFacts {
        let run = self.config.unwrap_or_default();
        let platform = [self.os, self.architecture, self.variant];
        let platform: Vec<String> = platform.into_iter().flatten().filter(|part| !part.is_empty()).collect();
        let created = self.created.and_then(|text| DateTime::parse_from_rfc3339(&text).ok());
        let environment = run.env.unwrap_or_default();
        let names = environment.iter().map(|entry| entry.split('=').next().unwrap_or_default().to_owned());
        ConfigFacts {
            platform: platform.join("/"),
            user: run.user.unwrap_or_default(),
            labels: run.labels.unwrap_or_default(),
            created: created.map(|time| time.with_timezone(&Utc)),
            command: run.entrypoint.into_iter().chain(run.cmd).flatten().collect(),
            ports: run.exposed_ports.unwrap_or_default().into_keys().collect(),
            environment: names.collect(),
        }
    }
}
