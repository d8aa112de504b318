//! Finds out what has to be moved, without moving anything.

use std::collections::{HashMap, HashSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rreg_oci::{Descriptor, Digest, Manifest};

use super::Transfer;
use super::error::TransferError;
use crate::client::FetchedManifest;

/// Most manifests in one transfer, children and referrers together.
const MAX_MANIFESTS: usize = 20_000;

/// A manifest with what it asks for.
pub(super) struct Node {
    pub(super) manifest: FetchedManifest,
    pub(super) parsed: Manifest,
    /// Whether it came in as a referrer, or through one.
    pub(super) referrer: bool,
    /// Whether the target has it already, complete.
    pub(super) present: bool,
}

/// All that belongs to a transfer.
pub(super) struct Plan {
    pub(super) root: Digest,
    pub(super) nodes: HashMap<Digest, Node>,
    /// In the order found.
    pub(super) blobs: Vec<Descriptor>,
    /// Layers that are never copied.
    pub(super) external: usize,
}

impl Plan {
    /// The manifests but the root, in waves: each refers only to manifests of earlier waves.
    pub(super) fn waves(&self) -> Vec<Vec<&Node>> {
        let mut heights = HashMap::new();
        for digest in self.nodes.keys() {
            self.height(digest, &mut heights);
        }
        let mut waves: Vec<Vec<&Node>> = Vec::new();
        for (digest, node) in &self.nodes {
            let height = heights.get(digest).copied().unwrap_or_default();
            if waves.len() <= height {
                waves.resize_with(height + 1, Vec::new);
            }
            if *digest != self.root {
                waves[height].push(node);
            }
        }
        waves
    }

    /// Digests cannot form a ring, so this ends; nesting is bounded by the walk.
    fn height(&self, digest: &Digest, known: &mut HashMap<Digest, usize>) -> usize {
        if let Some(height) = known.get(digest) {
            return *height;
        }
        let children = self.nodes.get(digest).map_or(&[][..], |node| node.parsed.manifests.as_slice());
        let inside = children.iter().filter(|child| self.nodes.contains_key(&child.digest));
        let height = inside.map(|child| self.height(&child.digest, known) + 1).max().unwrap_or(0);
        known.insert(*digest, height);
        height
    }
}

/// A manifest still to be looked at.
struct Wanted {
    descriptor: Descriptor,
    fetched: Option<FetchedManifest>,
    referrer: bool,
}

/// What looking at one gave.
struct Found {
    node: Node,
    referrers: Vec<Descriptor>,
}

/// Longest chain of manifests from the root.
const MAX_DEPTH: usize = 32;

/// Walks from `root`, level by level, each level in parallel.
pub(super) async fn plan(transfer: &Transfer, root: FetchedManifest) -> Result<Plan, TransferError> {
    let start = root.descriptor.digest;
    let mut seen = HashSet::from([start]);
    let mut nodes = HashMap::new();
    let mut level =
        vec![Wanted { descriptor: root.descriptor.clone(), fetched: Some(root), referrer: false }];
    let mut depth = 0;
    while !level.is_empty() {
        depth += 1;
        if seen.len() > MAX_MANIFESTS || depth > MAX_DEPTH {
            return Err(TransferError::TooManyManifests { limit: MAX_MANIFESTS });
        }
        let found: Vec<Found> = stream::iter(level.into_iter().map(|wanted| look(transfer, wanted)))
            .buffered(transfer.jobs.max(1))
            .try_collect()
            .await?;
        level = Vec::new();
        for Found { node, referrers } in found {
            let children = node.parsed.manifests.iter().map(|d| (d.clone(), node.referrer));
            for (descriptor, referrer) in children.chain(referrers.into_iter().map(|d| (d, true))) {
                if seen.insert(descriptor.digest) {
                    level.push(Wanted { descriptor, fetched: None, referrer });
                }
            }
            nodes.insert(node.manifest.descriptor.digest, node);
        }
    }
    let (blobs, external) = blobs(&nodes);
    Ok(Plan { root: start, nodes, blobs, external })
}

async fn look(transfer: &Transfer, wanted: Wanted) -> Result<Found, TransferError> {
    let manifest = match wanted.fetched {
        Some(manifest) => manifest,
        None => transfer.origin.manifest(&wanted.descriptor).await?,
    };
    let digest = manifest.descriptor.digest;
    let parsed = manifest.parse().map_err(|source| TransferError::Manifest { digest, source })?;
    let present = transfer.target.has_manifest(&digest).await?;
    let referrers = if transfer.referrers { transfer.origin.referrers(&digest).await? } else { Vec::new() };
    Ok(Found { node: Node { manifest, parsed, referrer: wanted.referrer, present }, referrers })
}

/// The blobs of all manifests that are not there yet, each once.
fn blobs(nodes: &HashMap<Digest, Node>) -> (Vec<Descriptor>, usize) {
    let mut seen = HashSet::new();
    let (mut blobs, mut external) = (Vec::new(), 0);
    for node in nodes.values().filter(|node| !node.present) {
        external += node.parsed.layers.iter().filter(|layer| layer.is_external()).count();
        blobs.extend(node.parsed.blobs().filter(|blob| seen.insert(blob.digest)).cloned());
    }
    (blobs, external)
}
