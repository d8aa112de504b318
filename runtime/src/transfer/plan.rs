//! Finds out what has to be moved, without moving anything.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rreg_oci::{Descriptor, Digest, Manifest, Tag};

use super::Transfer;
use super::error::TransferError;
use super::evidence::About;
use crate::client::{ErrorClass, FetchedManifest};

/// Most manifests in one transfer, children and referrers together.
const MAX_MANIFESTS: usize = 20_000;
/// Most bytes of all of them, and of the entries of lists of referrers, together.
const MAX_BYTES: u64 = 256 << 20;
/// Bytes that an entry of a list of referrers counts for, beside its annotations.
const ENTRY: u64 = 256;

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
    /// What was found under cosign 2's tags.
    pub(super) tagged: BTreeMap<Tag, Digest>,
    /// What has to be written under these: a manifest of `nodes`, or one joined with what the target has there.
    pub(super) tags: Vec<(Tag, FetchedManifest)>,
    /// Listed as referrers, but not there or about something else.
    pub(super) left_out: HashSet<Digest>,
    /// See [`About::unknown`].
    pub(super) unknown: usize,
}

impl Plan {
    /// The tags of cosign 2 under which a manifest has to be written as it is.
    pub(super) fn tags_of(&self, digest: &Digest) -> Vec<Tag> {
        let of = |(tag, manifest): &(Tag, FetchedManifest)| {
            (manifest.descriptor.digest == *digest).then(|| tag.clone())
        };
        self.tags.iter().filter_map(of).collect()
    }

    /// What has to be written under tags and is none of the manifests.
    pub(super) fn joined(&self) -> impl Iterator<Item = &(Tag, FetchedManifest)> {
        self.tags.iter().filter(|(_, manifest)| !self.nodes.contains_key(&manifest.descriptor.digest))
    }

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
    /// Only a list says that it is wanted: without a subject that is copied it is not.
    listed: bool,
}

/// What looking at one gave.
struct Found {
    node: Node,
    listed: bool,
    about: About,
}

/// Longest chain of manifests from the root.
const MAX_DEPTH: usize = 32;

/// What was found so far.
struct Walk {
    nodes: HashMap<Digest, Node>,
    tagged: BTreeMap<Tag, Digest>,
    left_out: HashSet<Digest>,
    seen: HashSet<Digest>,
    unknown: usize,
}

/// Walks from `root`, level by level, each level in parallel.
pub(super) async fn plan(transfer: &Transfer, root: FetchedManifest) -> Result<Plan, TransferError> {
    let start = root.descriptor.digest;
    let mut walk = Walk {
        nodes: HashMap::new(),
        tagged: BTreeMap::new(),
        left_out: HashSet::new(),
        seen: HashSet::from([start]),
        unknown: 0,
    };
    let descriptor = root.descriptor.clone();
    let mut level = vec![Wanted { descriptor, fetched: Some(root), referrer: false, listed: false }];
    let (mut depth, mut looked_at) = (0, 0);
    let held = AtomicU64::new(0);
    while !level.is_empty() {
        depth += 1;
        looked_at += level.len();
        if looked_at > MAX_MANIFESTS || depth > MAX_DEPTH {
            return Err(TransferError::TooManyManifests { limit: MAX_MANIFESTS });
        }
        let found: Vec<Result<Found, Digest>> =
            stream::iter(level.into_iter().map(|wanted| look(transfer, wanted, &held)))
                .buffered(transfer.jobs.max(1))
                .try_collect()
                .await?;
        level = walk.next(found);
    }
    let Walk { mut nodes, tagged, mut left_out, unknown, .. } = walk;
    left_out.retain(|digest| !nodes.contains_key(digest));
    unlisted(transfer, &mut nodes).await?;
    let (blobs, external) = blobs(&nodes);
    let tags = tags(transfer, &nodes, &tagged).await?;
    Ok(Plan { root: start, nodes, blobs, external, tagged, tags, left_out, unknown })
}

impl Walk {
    /// Keeps what was found, and says what to look at next. What an index names comes first: that somebody also lists it
    /// as a referrer of something else does not matter then.
    fn next(&mut self, found: Vec<Result<Found, Digest>>) -> Vec<Wanted> {
        let mut level = Vec::new();
        let (mut children, mut listed, mut tagged) = (Vec::new(), Vec::new(), Vec::new());
        let mut strangers = Vec::new();
        for one in found {
            match one {
                Ok(found) => {
                    let digest = found.node.manifest.descriptor.digest;
                    let subject = found.node.parsed.subject.as_ref().map(|subject| subject.digest);
                    if found.listed && !subject.is_some_and(|subject| self.nodes.contains_key(&subject)) {
                        strangers.push(digest);
                        continue;
                    }
                    let parts = found.node.parsed.member_manifests();
                    children.extend(parts.map(|part| (part.clone(), found.node.referrer)));
                    listed.extend(found.about.listed);
                    tagged.extend(found.about.tagged);
                    self.unknown += found.about.unknown;
                    self.nodes.insert(digest, found.node);
                }
                Err(missing) => strangers.push(missing),
            }
        }
        for digest in strangers {
            // It may yet be named by something that is copied.
            self.seen.remove(&digest);
            self.left_out.insert(digest);
        }
        for (descriptor, referrer) in children {
            if self.seen.insert(descriptor.digest) {
                level.push(Wanted { descriptor, fetched: None, referrer, listed: false });
            }
        }
        for (tag, manifest) in tagged {
            let descriptor = manifest.descriptor.clone();
            self.tagged.insert(tag, descriptor.digest);
            if self.seen.insert(descriptor.digest) {
                level.push(Wanted { descriptor, fetched: Some(manifest), referrer: true, listed: false });
            }
        }
        for descriptor in listed {
            if self.seen.insert(descriptor.digest) {
                level.push(Wanted { descriptor, fetched: None, referrer: true, listed: true });
            }
        }
        level
    }
}

/// The manifest and what is about it, or the digest of one that a list names and that is not there.
async fn look(
    transfer: &Transfer,
    wanted: Wanted,
    held: &AtomicU64,
) -> Result<Result<Found, Digest>, TransferError> {
    let Wanted { descriptor, fetched, referrer, listed } = wanted;
    let manifest = match fetched {
        Some(manifest) => manifest,
        None => match transfer.origin.manifest(&descriptor).await {
            Err(TransferError::Client(error)) if listed && error.is_not_found() => {
                return Ok(Err(descriptor.digest));
            }
            Err(TransferError::Client(error)) if referrer && error.class() == ErrorClass::Denied => {
                return Err(TransferError::Attached(error));
            }
            read => read?,
        },
    };
    hold(held, manifest.bytes.len() as u64)?;
    let digest = manifest.descriptor.digest;
    let parsed = manifest.parse().map_err(|source| TransferError::Manifest { digest, source })?;
    let present = async { transfer.target.has_manifest(&digest).await.map_err(TransferError::from) };
    let about = async {
        if transfer.referrers { transfer.origin.evidence(&digest).await } else { Ok(About::default()) }
    };
    let (present, about) = futures_util::future::try_join(present, about).await?;
    hold(held, about.size())?;
    Ok(Ok(Found { node: Node { manifest, parsed, referrer, present }, listed, about }))
}

/// Counts bytes that the origin makes us hold in memory.
fn hold(held: &AtomicU64, bytes: u64) -> Result<(), TransferError> {
    match held.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) {
        all if all > MAX_BYTES => Err(TransferError::TooMuch { limit: MAX_BYTES }),
        _ => Ok(()),
    }
}

impl About {
    /// About how many bytes it takes in memory.
    fn size(&self) -> u64 {
        let annotations = |entry: &Descriptor| -> usize {
            entry.annotations.iter().flatten().map(|(name, value)| name.len() + value.len() + 64).sum()
        };
        let listed = self.listed.iter().map(|entry| ENTRY + annotations(entry) as u64);
        let tagged = self.tagged.iter().map(|(_, manifest)| manifest.bytes.len() as u64);
        listed.chain(tagged).sum()
    }
}

/// A referrer that is at the target but not in its list was pushed by somebody who was interrupted before announcing it.
/// Pushed again, it is.
async fn unlisted(transfer: &Transfer, nodes: &mut HashMap<Digest, Node>) -> Result<(), TransferError> {
    let mut known = HashMap::<Digest, HashSet<Digest>>::new();
    for (digest, node) in nodes.iter_mut().filter(|(_, node)| node.referrer && node.present) {
        let Some(subject) = &node.parsed.subject else { continue };
        let listed = match known.entry(subject.digest) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(transfer.target.listed(&subject.digest).await?),
        };
        node.present = listed.contains(digest);
    }
    Ok(())
}

/// What has to be written under cosign 2's tags.
async fn tags(
    transfer: &Transfer,
    nodes: &HashMap<Digest, Node>,
    tagged: &BTreeMap<Tag, Digest>,
) -> Result<Vec<(Tag, FetchedManifest)>, TransferError> {
    let found = tagged.iter().filter_map(|(tag, digest)| Some((tag, &nodes.get(digest)?.manifest)));
    let wanted = found.map(|(tag, manifest)| async move {
        let written = transfer.target.under_tag(tag, manifest).await?;
        Ok::<_, TransferError>(written.map(|written| (tag.clone(), written)))
    });
    let wanted: Vec<_> = stream::iter(wanted).buffered(transfer.jobs.max(1)).try_collect().await?;
    Ok(wanted.into_iter().flatten().collect())
}

/// The blobs of all manifests that are not there yet, each once.
fn blobs(nodes: &HashMap<Digest, Node>) -> (Vec<Descriptor>, usize) {
    let mut seen = HashSet::new();
    let (mut blobs, mut external) = (Vec::new(), 0);
    for node in nodes.values().filter(|node| !node.present) {
        external += node.parsed.layers.iter().filter(|layer| layer.is_external()).count();
        let parts = node.parsed.blobs().chain(node.parsed.member_blobs().filter(|blob| !blob.is_external()));
        blobs.extend(parts.filter(|blob| seen.insert(blob.digest)).cloned());
    }
    (blobs, external)
}
