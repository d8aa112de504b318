//! What an image says of itself, in its manifest and config.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rreg_oci::{Descriptor, Digest, Manifest, ManifestKind, Reference, media_type, names_rootfs};
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
    // One that says nothing of an artifact but its config's type has none, and an image is none whatever it says.
    let is_image = manifest.is_image() == Some(true) || !configs.is_empty();
    let blobs = manifest.config.iter().chain(&manifest.layers);
    let is_elsewhere = |layer: &&Descriptor| {
        media_type::is_nondistributable(&layer.media_type)
            || layer.urls.as_ref().is_some_and(|urls| !urls.is_empty())
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
        artifact_type: manifest.artifact_type.filter(|_| !is_image),
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
    let failed = |why: String| ReadError::new(format!("the manifest {}", entry.digest), why);
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

/// The config of what runtimes take for an image. That of an artifact may be anything and says nothing here.
async fn config(
    content: &dyn Content,
    manifest: &Manifest,
    limits: &Limits,
) -> Result<Option<ConfigFacts>, Unseen> {
    let is_image = manifest.is_image();
    let Some(config) = manifest.config.as_ref().filter(|_| is_image != Some(false)) else {
        return Ok(None);
    };
    let failed = |why: String| Unseen::Unreadable(format!("the config {}: {why}", config.digest));
    if config.is_external() {
        return Err(failed("it is fetched from elsewhere".to_owned()));
    }
    let limit = limits.max_evidence;
    if config.size > limit as u64 {
        return Err(failed(format!("it has {} bytes, more than the limit of {limit}", config.size)));
    }
    // Whatever the manifest says of its length: not every runtime looks at that.
    let bytes = match content.blob(&config.digest, limit).await {
        Ok(bytes) => bytes,
        Err(error) if error.is_too_long => return Err(failed(error.to_string())),
        Err(error) => return Err(Unseen::Unread(error)),
    };
    let no_config = |error: serde_json::Error| failed(format!("it is no config: {error}"));
    if is_image.is_none() && !names_rootfs(&bytes).map_err(no_config)? {
        return Ok(None);
    }
    names::check(&bytes, &names::CONFIG).map_err(failed)?;
    let wire: Wire = serde_json::from_slice(&bytes).map_err(no_config)?;
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
