//! What an image says of itself.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rreg_oci::Digest;
use serde::{Deserialize, Serialize};

/// The image as its manifest and config describe it. Nothing of it is proved by anybody.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageFacts {
    /// Registry host of the reference, where there is one (empty for the registry's own).
    #[serde(default)]
    pub registry: String,
    /// Repository without the registry.
    pub repository: String,
    /// Nobody looked at it: tags, platforms and parents are not known, and neither is what it is like. Every policy
    /// that could be about it is asked, and no rule can be answered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
    /// Why what follows is not whole: images of an index that were not looked at. Rules on the image answer `error`
    /// then. What was attached to it has its own list, [`super::Facts::incomplete`]: a stranger may attach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incomplete: Vec<String>,
    /// What of it nobody can read, or is more than is looked at: whoever made it chose that, and it stays so. Rules on the
    /// image fail then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
    /// Layers that are fetched from elsewhere, of an index one of each of its images: nobody here has looked at them, and their
    /// sizes are what is said. Expressions see the largest number for [`Self::size`] then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<Digest>,
    /// Tags that name the digest, or an index that has it.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The digest judged.
    pub digest: Digest,
    /// Indexes that have it as a child: a signature on one of them covers it.
    #[serde(default)]
    pub parents: Vec<Digest>,
    /// Media type of the manifest.
    pub media_type: String,
    /// Artifact type, where it has one. What runtimes take for an image has none, whatever it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Whether the request named it by digest. `None` where no request is judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<bool>,
    /// `os/architecture[/variant]`: its own, or those of an index's children, as they are written there. A part that is
    /// left out is `unknown`. Nobody proves any of them.
    #[serde(default)]
    pub platforms: Vec<String>,
    /// Annotations of the manifest.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Bytes of config and layers together, as the manifest says them; of an index those of its largest image.
    #[serde(default)]
    pub size: u64,
    /// Layers' digests, the lowest first.
    #[serde(default)]
    pub layers: Vec<Digest>,
    /// The configs: one for an image, one for each child of an index, none for an artifact.
    #[serde(default)]
    pub configs: Vec<ConfigFacts>,
    /// Of an index its images, those that could be looked at. What is asked of an image is asked of each of them, where
    /// nobody asks for them one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ChildFacts>,
    /// Whether an entry of this index has what it names in itself (`data`, image-spec "Content Descriptors"): runtimes take
    /// it from there, and nobody asks for it by its digest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub embeds: bool,
    /// Name of the image that it is built on (`org.opencontainers.image.base.name`), where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_name: Option<String>,
    /// Digest of the image that it is built on (`org.opencontainers.image.base.digest`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_digest: Option<Digest>,
}

impl ImageFacts {
    /// No more than where it is: for when nothing could be looked at. It is [`Self::unknown`].
    pub fn bare(repository: &str, digest: Digest) -> Self {
        Self {
            registry: String::new(),
            repository: repository.to_owned(),
            unknown: true,
            incomplete: Vec::new(),
            unread: Vec::new(),
            elsewhere: Vec::new(),
            tags: Vec::new(),
            digest,
            parents: Vec::new(),
            media_type: String::new(),
            artifact_type: None,
            pinned: None,
            platforms: Vec::new(),
            annotations: BTreeMap::new(),
            size: 0,
            layers: Vec::new(),
            configs: Vec::new(),
            images: Vec::new(),
            embeds: false,
            base_name: None,
            base_digest: None,
        }
    }

    /// An image of this index, as it would be if it were asked for by its digest.
    pub fn child(&self, of: &ChildFacts) -> Self {
        let mut parents = vec![self.digest];
        parents.extend(&self.parents);
        Self {
            registry: self.registry.clone(),
            tags: self.tags.clone(),
            parents,
            pinned: self.pinned,
            unknown: false,
            elsewhere: of.elsewhere.clone(),
            media_type: of.media_type.clone(),
            artifact_type: of.artifact_type.clone(),
            platforms: of.platforms.clone(),
            annotations: of.annotations.clone(),
            size: of.size,
            layers: of.layers.clone(),
            configs: of.config.and_then(|place| self.configs.get(place)).cloned().into_iter().collect(),
            base_name: of.base_name.clone(),
            base_digest: of.base_digest,
            ..Self::bare(&self.repository, of.digest)
        }
    }

    /// Whether it is an index, of whose images a runtime chooses one.
    pub fn is_index(&self) -> bool {
        let kind = rreg_oci::media_type::essence(&self.media_type);
        matches!(kind, rreg_oci::media_type::OCI_INDEX | rreg_oci::media_type::DOCKER_LIST)
    }

    /// Whether what is said of a subject is said of this image: of itself, or of an index that has it.
    pub fn is_covered_by(&self, subject: &Digest) -> bool {
        *subject == self.digest || self.parents.contains(subject)
    }
}

/// An image of an index: what it says of itself, as in [`ImageFacts`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChildFacts {
    /// Its digest.
    pub digest: Digest,
    /// Media type of the manifest.
    pub media_type: String,
    /// Artifact type, where it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Its config's place in [`ImageFacts::configs`], where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<usize>,
    /// What its config and the index say.
    #[serde(default)]
    pub platforms: Vec<String>,
    /// Annotations of the manifest.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Bytes of config and layers together.
    #[serde(default)]
    pub size: u64,
    /// Layers' digests.
    #[serde(default)]
    pub layers: Vec<Digest>,
    /// Those that are fetched from elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<Digest>,
    /// Name of the image that it is built on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_name: Option<String>,
    /// Digest of the image that it is built on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_digest: Option<Digest>,
}

/// An image's config.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigFacts {
    /// `os/architecture[/variant]`, as it is written there; a part that is left out is `unknown`. Empty where nothing is
    /// written, in an index what its entry says.
    pub platform: String,
    /// Who runs the process, as the config has it; empty is root.
    pub user: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// When it says that it was made.
    pub created: Option<DateTime<Utc>>,
    /// Entry point and arguments.
    pub command: Vec<String>,
    /// Ports as `80/tcp`.
    pub ports: Vec<String>,
    /// Environment names; values may be secret and are not kept.
    pub environment: Vec<String>,
}
