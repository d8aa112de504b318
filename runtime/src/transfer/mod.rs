//! Copies an image, with everything it refers to, between registries and layouts.
//!
//! Plan, then apply: `plan` walks manifests from the root (children, and if wanted what `evidence` finds about each) and
//! asks the target what it has; `apply` moves blobs in parallel, then manifests, those that others refer to first,
//! and the tagged root last. So a reader of the tag never meets a hole.

mod apply;
mod error;
mod evidence;
mod place;
mod plan;
mod platform;
mod progress;

use std::sync::Arc;

use rreg_oci::{Descriptor, Tag};

use crate::client::FetchedManifest;

pub use error::TransferError;
pub use place::{Origin, Target};
pub use platform::Platform;
pub use progress::{BlobOutcome, Progress};

/// What to copy and how.
pub struct Transfer {
    /// Where from.
    pub origin: Origin,
    /// Where to.
    pub target: Target,
    /// Names at the target; none leaves the image reachable by digest.
    pub tags: Vec<Tag>,
    /// One platform of a multi-platform image; all when `None`.
    pub platform: Option<Platform>,
    /// Take along what refers to the image, by its subject or by cosign 2's tags, and what refers to that.
    pub referrers: bool,
    /// Blobs and manifests in flight at once.
    pub jobs: usize,
    /// Who watches.
    pub progress: Arc<dyn Progress>,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// The manifest that was asked for, or that of the platform.
    pub root: Option<Descriptor>,
    /// Manifests written.
    pub manifests_copied: usize,
    /// Manifests that were there.
    pub manifests_present: usize,
    /// How many of all manifests are there as referrers.
    pub referrers: usize,
    /// How many of these are under tags of cosign 2.
    pub cosign_tags: usize,
    /// Manifests that the source lists as referrers and that it does not have, or that are about something else.
    pub referrers_left_out: usize,
    /// Lists and tags of what is about the manifests that a cache could not ask its upstream for: there may be more.
    pub evidence_unknown: usize,
    /// Blobs sent.
    pub blobs_copied: usize,
    /// Blobs that the registry took from another repository.
    pub blobs_mounted: usize,
    /// Blobs that were there.
    pub blobs_present: usize,
    /// Layers that are to be fetched elsewhere and are never copied.
    pub blobs_external: usize,
    /// Bytes of the blobs sent.
    pub bytes_copied: u64,
}

impl Transfer {
    /// Copies what `root` is the manifest of.
    ///
    /// # Errors
    /// [`TransferError`]; then the tags at the target are as before.
    pub async fn run(&self, root: FetchedManifest) -> Result<Report, TransferError> {
        let root = match &self.platform {
            Some(platform) => self.origin.select_platform(root, platform).await?,
            None => root,
        };
        let plan = plan::plan(self, root).await?;
        apply::apply(self, &plan).await
    }
}
