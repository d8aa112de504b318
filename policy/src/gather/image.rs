//! What an image says of itself, in its manifest and config.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::{DateTime, Utc};
use rreg_oci::{Descriptor, Digest, Manifest, ManifestKind, Reference, media_type, names_rootfs};
use serde::Deserialize;

use super::index::{attestation_of, is_for_nobody};
use super::{in_turn, names, parse};
use crate::content::{Content, ManifestContent, ReadError};
use crate::facts::{BASE_NAME, ChildFacts, ConfigFacts, ImageFacts};
use crate::limits::Limits;

/// Digest of the image below (image-spec, annotations).
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
    let from = Source { content, limits, left: AtomicUsize::new(limits.max_total) };
    let (configs, images) = match manifest.kind {
        ManifestKind::Image => match config(&from, &manifest).await {
            Ok(config) => (config.into_iter().collect(), Vec::new()),
            Err(Unseen::Unread(error)) => return Err(error),
            Err(Unseen::Unreadable(why)) => {
                missed.for_good.push(why);
                (Vec::new(), Vec::new())
            }
        },
        ManifestKind::Index => children(&from, &manifest, &mut missed).await,
    };
    let mut platforms: Vec<String> = match manifest.kind {
        ManifestKind::Image => Vec::new(),
        ManifestKind::Index => self::images(&manifest).filter_map(platform_of).collect(),
    };
    platforms.extend(configs.iter().map(|config| config.platform.clone()).filter(|text| !text.is_empty()));
    platforms.sort();
    platforms.dedup();
    let embeds = manifest.kind == ManifestKind::Index && super::embeds(&image.body);
    let own = own(manifest, image.digest, &configs);
    let (mut size, mut elsewhere) = (own.size, own.elsewhere);
    for child in &images {
        size = size.max(child.size);
        elsewhere.extend(child.elsewhere.first());
    }
    let facts = ImageFacts {
        registry: registry.to_owned(),
        unknown: false,
        embeds,
        incomplete: missed.unread.clone(),
        unread: missed.for_good,
        elsewhere,
        tags: tags.to_vec(),
        parents: parents.to_vec(),
        media_type: own.media_type,
        artifact_type: own.artifact_type,
        platforms,
        size,
        layers: own.layers,
        base_name: own.base_name,
        base_digest: own.base_digest,
        annotations: own.annotations,
        configs,
        images,
        ..ImageFacts::bare(repository, image.digest)
    };
    Ok((facts, missed.unread))
}

/// What a manifest says of itself, and its configs.
fn own(manifest: Manifest, digest: Digest, configs: &[ConfigFacts]) -> ChildFacts {
    // One that says nothing of an artifact but its config's type has none, and an image is none whatever it says.
    let is_image = manifest.is_image() == Some(true) || !configs.is_empty();
    let stated = |name: &str| {
        let labels = || configs.iter().find_map(|config| config.labels.get(name));
        manifest.annotations.get(name).or_else(labels).filter(|text| !text.is_empty()).cloned()
    };
    let is_elsewhere =
        |layer: &&Descriptor| layer.is_external() || layer.urls.as_ref().is_some_and(|urls| !urls.is_empty());
    let blobs = manifest.config.iter().chain(&manifest.layers);
    ChildFacts {
        digest,
        config: None,
        platforms: Vec::new(),
        size: blobs.map(|blob| blob.size).fold(0, u64::saturating_add),
        layers: manifest.layers.iter().map(|layer| layer.digest).collect(),
        elsewhere: manifest.layers.iter().filter(is_elsewhere).map(|layer| layer.digest).collect(),
        base_name: stated(BASE_NAME),
        base_digest: stated(BASE_DIGEST).and_then(|text| text.parse().ok()),
        media_type: manifest.media_type,
        artifact_type: manifest.artifact_type.filter(|_| !is_image),
        annotations: manifest.annotations,
    }
}

/// The entries of an index that are images, not attestations about them.
pub(super) fn images(index: &Manifest) -> impl Iterator<Item = &Descriptor> {
    index.manifests.iter().filter(|entry| attestation_of(entry).is_none() || !is_for_nobody(entry))
}

/// What an entry of an index says of its platform.
fn platform_of(entry: &Descriptor) -> Option<String> {
    let said = entry.platform.as_ref()?;
    Some(platform(
        ["os", "architecture", "variant"]
            .map(|name| said.get(name).and_then(|value| value.as_str()).unwrap_or_default()),
    ))
}

/// A platform in words. A part that is left out, or cannot be one, is unknown: it may be any.
fn platform([os, architecture, variant]: [&str; 3]) -> String {
    let part = |text: &str| match text.is_empty() || text.contains('/') {
        true => "unknown".to_owned(),
        false => text.to_owned(),
    };
    let text = format!("{}/{}", part(os), part(architecture));
    if variant.is_empty() { text } else { format!("{text}/{variant}") }
}

/// What of an index was not looked at.
#[derive(Default)]
struct Missed {
    /// What could not be had: the next time it may be.
    unread: Vec<String>,
    /// What stays so.
    for_good: Vec<String>,
}

/// Where manifests and configs are read from, and how much more of them.
struct Source<'a> {
    content: &'a dyn Content,
    limits: &'a Limits,
    /// Bytes.
    left: AtomicUsize,
}

impl Source<'_> {
    /// Counts what was read; what is kept of it has no more bytes.
    fn take(&self, bytes: usize) -> Result<(), String> {
        let take = |left: usize| left.checked_sub(bytes);
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        let limit = self.limits.max_total;
        let too_much = |_| format!("with the others it has more than the limit of {limit} bytes");
        taken.map(|_| ()).map_err(too_much)
    }
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

/// The images of an index, and the config of each. An index in an index is named, not followed.
async fn children(
    from: &Source<'_>,
    index: &Manifest,
    missed: &mut Missed,
) -> (Vec<ConfigFacts>, Vec<ChildFacts>) {
    let limit = from.limits.max_referrers;
    if images(index).count() > limit {
        missed.for_good.push(format!("the index has more than {limit} images; {limit} were looked at"));
    }
    let reads =
        images(index).take(limit).map(|entry| async move { (entry.digest, child(from, entry).await) });
    let read = in_turn(reads.collect()).await;
    let (mut configs, mut children) = (Vec::new(), Vec::new());
    for (digest, one) in read {
        match one {
            Ok(None) => {}
            Ok(Some((config, mut child))) => {
                child.config = child.config.map(|_| configs.len());
                configs.push(config);
                children.push(child);
            }
            Err(Unseen::Unreadable(why)) => missed.for_good.push(format!("{digest} in the index: {why}")),
            Err(Unseen::Unread(error)) => {
                missed.unread.push(format!("the image {digest} of the index: {error}"));
            }
        }
    }
    (configs, children)
}

/// One image of an index. A runtime may run one without a known config too, so that one has an empty config here. `None`:
/// it is a blob, as its type says; what is there as a manifest is one, whatever that says.
async fn child(from: &Source<'_>, entry: &Descriptor) -> Result<Option<(ConfigFacts, ChildFacts)>, Unseen> {
    let read = match from.content.manifest(&Reference::Digest(entry.digest)).await? {
        Some(read) => read,
        None if !media_type::is_manifest(&entry.media_type) => return Ok(None),
        None => {
            return Err(ReadError::new(format!("the manifest {}", entry.digest), "it is not there").into());
        }
    };
    from.take(read.body.len()).map_err(Unseen::Unreadable)?;
    let manifest = parse(&read).map_err(Unseen::Unreadable)?;
    if manifest.kind == ManifestKind::Index {
        return Err(Unseen::Unreadable("it is an index, whose images are not looked at".to_owned()));
    }
    let named = platform_of(entry);
    let config = config(from, &manifest).await?;
    let mut child = own(manifest, entry.digest, config.as_slice());
    child.config = config.as_ref().map(|_| 0);
    let said = config.as_ref().map(|config| config.platform.clone()).filter(|text| !text.is_empty());
    child.platforms = [named.clone(), said.clone()].into_iter().flatten().collect();
    child.platforms.dedup();
    let platform = match &config {
        Some(_) => said.or(named).unwrap_or_else(|| platform([""; 3])),
        None => named.unwrap_or_default(),
    };
    Ok(Some((ConfigFacts { platform, ..config.unwrap_or_default() }, child)))
}

/// The config of what runtimes take for an image. That of an artifact may be anything and says nothing here.
async fn config(from: &Source<'_>, manifest: &Manifest) -> Result<Option<ConfigFacts>, Unseen> {
    let is_image = manifest.is_image();
    let Some(config) = manifest.config.as_ref().filter(|_| is_image != Some(false)) else {
        return Ok(None);
    };
    let failed = |why: String| Unseen::Unreadable(format!("the config {}: {why}", config.digest));
    if config.is_external() {
        return Err(failed("it is fetched from elsewhere".to_owned()));
    }
    let limit = from.limits.max_evidence;
    if config.size > limit as u64 {
        return Err(failed(format!("it has {} bytes, more than the limit of {limit}", config.size)));
    }
    // Whatever the manifest says of its length: not every runtime looks at that.
    let bytes = match from.content.blob(&config.digest, limit).await {
        Ok(bytes) => bytes,
        Err(error) if error.is_too_long => return Err(failed(error.to_string())),
        Err(error) => return Err(Unseen::Unread(error)),
    };
    let no_config = |error: serde_json::Error| failed(format!("it is no config: {error}"));
    if is_image.is_none() && !names_rootfs(&bytes).map_err(no_config)? {
        return Ok(None);
    }
    from.take(bytes.len()).map_err(failed)?;
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
        let said = [self.os, self.architecture, self.variant].map(Option::unwrap_or_default);
        let says_any = said.iter().any(|part| !part.is_empty());
        let created = self.created.and_then(|text| DateTime::parse_from_rfc3339(&text).ok());
        let environment = run.env.unwrap_or_default();
        let names = environment.iter().map(|entry| entry.split('=').next().unwrap_or_default().to_owned());
        ConfigFacts {
            platform: if says_any { platform(said.each_ref().map(String::as_str)) } else { String::new() },
            user: run.user.unwrap_or_default(),
            labels: run.labels.unwrap_or_default(),
            created: created.map(|time| time.with_timezone(&Utc)),
            command: run.entrypoint.into_iter().chain(run.cmd).flatten().collect(),
            ports: run.exposed_ports.unwrap_or_default().into_keys().collect(),
            environment: names.collect(),
        }
    }
}
