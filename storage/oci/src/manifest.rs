//! What a registry must know of a manifest. The bytes themselves are stored and served untouched.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::{Algorithm, Digest};
use crate::media_type;

/// A content descriptor (image-spec, descriptor.md). Unknown fields are ignored, never refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Type of the content.
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Length of the content in bytes.
    pub size: u64,
    /// Type of an artifact when the content is a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Free annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Where else the content can be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub urls: Option<Vec<String>>,
    /// Platform of an index entry, as its author wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<serde_json::Value>,
}

impl Descriptor {
    /// A descriptor with nothing but the required fields.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            artifact_type: None,
            annotations: None,
            urls: None,
            platform: None,
        }
    }

    /// Whether the content need not be in the repository: non-distributable layers are fetched elsewhere.
    pub fn is_external(&self) -> bool {
        media_type::is_nondistributable(&self.media_type)
    }

    /// `os/architecture[/variant]` of an index entry, where it has one.
    pub fn platform_text(&self) -> Option<String> {
        let platform = self.platform.as_ref()?;
        let field = |name: &str| platform.get(name).and_then(|v| v.as_str()).filter(|v| !v.is_empty());
        let text = format!("{}/{}", field("os")?, field("architecture")?);
        Some(field("variant").map_or(text.clone(), |variant| format!("{text}/{variant}")))
    }
}

/// The two shapes of manifest there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestKind {
    /// Config and layers: an image or an artifact.
    Image,
    /// A list of other manifests.
    Index,
}

/// Limits on what a stranger may push.
#[derive(Clone, Copy, Debug)]
pub struct ManifestLimits {
    /// Longest manifest, in bytes.
    pub max_size: usize,
    /// Most descriptors in one manifest.
    pub max_descriptors: usize,
    /// Deepest nesting of JSON arrays and objects.
    pub max_depth: usize,
}

impl Default for ManifestLimits {
    fn default() -> Self {
        Self { max_size: 4 << 20, max_descriptors: 10_000, max_depth: 64 }
    }
}

/// Why a manifest is refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Longer than allowed.
    #[error("the manifest has {size} bytes, more than the limit of {limit} bytes")]
    TooLarge {
        /// What was sent.
        size: usize,
        /// What is allowed.
        limit: usize,
    },
    /// Not JSON, or a field has the wrong type.
    #[error("the manifest is not a valid JSON manifest: {0}")]
    Json(#[from] serde_json::Error),
    /// Nested too deeply: readers that recurse would run out of stack.
    #[error("the manifest is nested deeper than the limit of {limit} levels")]
    TooDeep {
        /// What is allowed.
        limit: usize,
    },
    /// Docker's old format.
    #[error(
        "Docker manifest version 2 schema 1 is not supported; push with a client that writes schema 2 or OCI \
         manifests (any Docker since 1.10)"
    )]
    Schema1,
    /// Another schema version.
    #[error("schemaVersion must be 2, found {0}")]
    SchemaVersion(u64),
    /// A type this registry does not know how to take apart.
    #[error(
        "unsupported manifest media type {0:?}; OCI image manifests and indexes and Docker schema 2 are supported"
    )]
    MediaType(String),
    /// Neither a `Content-Type` nor a `mediaType` field says what it is.
    #[error("the manifest has no mediaType field and the request no Content-Type")]
    NoMediaType,
    /// Header and field disagree.
    #[error("the Content-Type is {header:?} but the manifest's mediaType is {field:?}")]
    MediaTypeMismatch {
        /// The request's header.
        header: String,
        /// The manifest's field.
        field: String,
    },
    /// Both `layers` and `manifests`: two readers could see two different images.
    #[error("the manifest has both layers and manifests, which is ambiguous")]
    Ambiguous,
    /// `manifests` in an image, or `layers`/`config` in an index.
    #[error("a manifest of type {media_type} cannot have the field {field:?}")]
    WrongField {
        /// The manifest's type.
        media_type: String,
        /// The field that does not belong there.
        field: &'static str,
    },
    /// An image manifest without `config`.
    #[error("an image manifest must have a config descriptor")]
    NoConfig,
    /// A type with control characters, which no database column or header takes.
    #[error("the artifactType or the config's mediaType has control characters")]
    ControlCharacters,
    /// Too many descriptors.
    #[error("the manifest has {count} descriptors, more than the limit of {limit}")]
    TooManyDescriptors {
        /// What was sent.
        count: usize,
        /// What is allowed.
        limit: usize,
    },
}

/// A manifest taken apart and checked.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Image or index.
    pub kind: ManifestKind,
    /// The type under which it is served.
    pub media_type: String,
    /// Config of an image.
    pub config: Option<Descriptor>,
    /// Layers of an image, or blobs of an artifact.
    pub layers: Vec<Descriptor>,
    /// Children of an index.
    pub manifests: Vec<Descriptor>,
    /// What this manifest says something about.
    pub subject: Option<Descriptor>,
    /// The artifact type as the referrers API reports it: the field, or an image's config type.
    pub artifact_type: Option<String>,
    /// Annotations, copied into the referrers list.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

impl Manifest {
    /// What an image keeps in all its forms (another digest of the same bytes, Docker's types for OCI's, other
    /// annotations): its config, or its first layer where the config is the empty object, which is nobody's in
    /// particular. Sizes and types are the author's word and decide nothing here. An index has none.
    pub fn form(&self) -> Option<Digest> {
        let parts = self.config.iter().chain(self.layers.first());
        parts.map(|part| part.digest).find(|digest| !is_empty_object(digest))
    }

    /// Whether runtimes take it for an image, as far as the manifest tells it; `None` where they take it for one if its
    /// config is an image's ([`crate::names_rootfs`]). Neither the type of a config nor an artifact type makes it none:
    /// podman takes what Docker's manifest has for an image's config, and containerd whatever can be read as one.
    pub fn is_image(&self) -> Option<bool> {
        let config = self.config.as_ref().filter(|_| self.kind == ManifestKind::Image);
        let Some(config) = config else { return Some(false) };
        if self.media_type == media_type::DOCKER_MANIFEST || media_type::is_image_config(&config.media_type) {
            return Some(true);
        }
        is_empty_object(&config.digest).then_some(false)
    }

    /// Takes `body` apart. `content_type` is the request's header, if it had one.
    ///
    /// # Errors
    /// Whatever makes it no acceptable manifest, with the limit named where one was passed.
    pub fn parse(
        content_type: Option<&str>,
        body: &[u8],
        limits: &ManifestLimits,
    ) -> Result<Self, ManifestError> {
        if body.len() > limits.max_size {
            return Err(ManifestError::TooLarge { size: body.len(), limit: limits.max_size });
        }
        let header = content_type.map(media_type::essence).filter(|t| !t.is_empty());
        if header.is_some_and(|t| media_type::DOCKER_SCHEMA1.contains(&t)) {
            return Err(ManifestError::Schema1);
        }
        if depth(body) > limits.max_depth {
            return Err(ManifestError::TooDeep { limit: limits.max_depth });
        }
        let wire: Wire = serde_json::from_slice(body)?;
        match wire.schema_version {
            None | Some(2) => {}
            Some(1) => return Err(ManifestError::Schema1),
            Some(other) => return Err(ManifestError::SchemaVersion(other)),
        }
        let media_type = Self::media_type(header, &wire)?;
        let kind = match media_type.as_str() {
            media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST => ManifestKind::Image,
            media_type::OCI_INDEX | media_type::DOCKER_LIST => ManifestKind::Index,
            _ => return Err(ManifestError::MediaType(media_type)),
        };
        Self::check_shape(kind, &media_type, &wire, limits)?;
        let artifact_type = wire.artifact_type.filter(|t| !t.is_empty()).or_else(|| match kind {
            ManifestKind::Image => wire.config.as_ref().map(|c| c.media_type.clone()),
            ManifestKind::Index => None,
        });
        if artifact_type.as_ref().is_some_and(|text| text.contains(char::is_control)) {
            return Err(ManifestError::ControlCharacters);
        }
        Ok(Self {
            kind,
            media_type,
            config: wire.config,
            layers: wire.layers.unwrap_or_default(),
            manifests: wire.manifests.unwrap_or_default(),
            subject: wire.subject,
            artifact_type,
            annotations: wire.annotations.unwrap_or_default(),
        })
    }

    fn media_type(header: Option<&str>, wire: &Wire) -> Result<String, ManifestError> {
        match (header, wire.media_type.as_deref().filter(|t| !t.is_empty())) {
            (Some(header), Some(field)) if header != field => {
                Err(ManifestError::MediaTypeMismatch { header: header.into(), field: field.into() })
            }
            (Some(declared), _) | (None, Some(declared)) => Ok(declared.to_owned()),
            (None, None) => Err(ManifestError::NoMediaType),
        }
    }

    fn check_shape(
        kind: ManifestKind,
        media_type: &str,
        wire: &Wire,
        limits: &ManifestLimits,
    ) -> Result<(), ManifestError> {
        let wrong = |field| Err(ManifestError::WrongField { media_type: media_type.to_owned(), field });
        if wire.layers.is_some() && wire.manifests.is_some() {
            return Err(ManifestError::Ambiguous);
        }
        match kind {
            ManifestKind::Image if wire.manifests.is_some() => return wrong("manifests"),
            ManifestKind::Image if wire.config.is_none() => return Err(ManifestError::NoConfig),
            ManifestKind::Index if wire.layers.is_some() => return wrong("layers"),
            ManifestKind::Index if wire.config.is_some() => return wrong("config"),
            _ => {}
        }
        let count = wire.layers.as_ref().map_or(0, Vec::len) + wire.manifests.as_ref().map_or(0, Vec::len);
        if count > limits.max_descriptors {
            return Err(ManifestError::TooManyDescriptors { count, limit: limits.max_descriptors });
        }
        Ok(())
    }

    /// Whether its packages can be listed: an image by its own word and by its layers. Artifacts, attestations and
    /// signatures use the same shape, some with an image's configuration type. What runtimes take for an image may be
    /// more: see [`Self::is_image`].
    pub fn is_container(&self) -> bool {
        let config = self.config.as_ref().map(|config| config.media_type.as_str());
        // Docker's manifests know no artifacts.
        let plain = self.media_type == media_type::DOCKER_MANIFEST || self.artifact_type.as_deref() == config;
        self.is_image() == Some(true)
            && plain
            && self.layers.iter().any(|layer| media_type::is_layer(&layer.media_type))
    }

    /// Blobs that must be in the repository: config and layers, non-distributable ones left out.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.config.iter().chain(&self.layers).filter(|d| !d.is_external())
    }

    /// Members of an index that are manifests, as its author says.
    pub fn member_manifests(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifests.iter().filter(|d| media_type::is_manifest(&d.media_type))
    }

    /// Members of an index that are no manifests, as its author says: BuildKit keeps the layers of its cache so.
    pub fn member_blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifests.iter().filter(|d| !media_type::is_manifest(&d.media_type))
    }
}

/// Whether it is the digest of `{}`.
fn is_empty_object(digest: &Digest) -> bool {
    [Algorithm::Sha256, Algorithm::Sha512].iter().any(|algorithm| *digest == Digest::of(*algorithm, b"{}"))
}

/// How deeply brackets nest outside strings. Counted before parsing, because the parser skips unknown fields
/// without counting.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0usize, false, false);
    for byte in json {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'[' | b'{') => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
