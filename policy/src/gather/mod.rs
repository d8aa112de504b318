//! Finds what was attached to a digest, wherever tools put it:
//!
//! - manifests with the digest as their `subject`: the referrers API, and the tag `sha256-<hex>` that clients keep where
//!   a registry has none (distribution-spec, "Referrers Tag Schema");
//! - the tags `sha256-<hex>.sig`, `.att` and `.sbom` of cosign 2;
//! - the attestation manifests in an index that BuildKit makes.
//!
//! What is found twice counts once. What is found and cannot be read, or lies past a limit, is named in
//! [`Gathered::incomplete`], [`Gathered::over`] and [`Gathered::unread`], and the order of everything depends on content alone.

mod embeds;
mod find;
mod image;
mod index;
pub(crate) mod names;
mod read;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use futures_util::{StreamExt as _, stream};
use rreg_oci::{Digest, Manifest, ManifestLimits};

pub use embeds::embeds;
pub use find::{Attached, Attachment, attached};
pub use image::image_facts;
pub use index::attestation_of;
pub use read::{evidence_kind, evidence_of};

use crate::content::{Content, ManifestContent};
use crate::evidence::Evidence;
use crate::limits::Limits;

/// Reads at once.
const READS: usize = 8;

/// Everything found about a digest.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// The evidence, each piece once: of the image first, then of its parents.
    pub evidence: Vec<Evidence>,
    /// What was found and could not be read. A rule that misses something answers `error` where this is not empty.
    pub incomplete: Vec<String>,
    /// What there is more of than is looked at. That is no error, which a stranger could make by attaching more: what is
    /// missed among it is not there, and the reason says so.
    pub over: Vec<String>,
    /// What was not read because a limit on size or number was reached. Like `over`, but it may be the newest.
    pub unread: Vec<String>,
    /// What was found and is not about the digest at all.
    pub passed_over: Vec<String>,
}

/// Finds the evidence about `image`, and about `parents`: the indexes that have it as a child, whose signatures cover it.
///
/// [`Evidence::subject`] says what a piece was attached to: the image or a parent. Where `image` is an index itself,
/// the unsigned statements of BuildKit in it are about its children, and their subject is the child.
pub async fn gather(
    content: &dyn Content,
    image: &ManifestContent,
    parents: &[Digest],
    limits: &Limits,
) -> Gathered {
    let mut subjects = vec![image.digest];
    for parent in parents {
        if !subjects.contains(parent) {
            subjects.push(*parent);
        }
    }
    let mut found = Attached::default();
    let dropped = subjects.len().saturating_sub(1 + limits.max_referrers);
    if dropped > 0 {
        found.unread.push(format!("{dropped} more indexes have {} and were not looked at", image.digest));
        subjects.truncate(1 + limits.max_referrers);
    }
    let (attachments, entries) = futures_util::future::join(
        in_turn(subjects.iter().map(|subject| attached(content, subject, limits)).collect()),
        index::entries(content, image, subjects.get(1..).unwrap_or_default(), limits),
    )
    .await;
    for one in attachments {
        found.extend(one);
    }
    index::join(content, &mut found, entries, limits).await;
    let Attached { list, mut incomplete, over, mut unread, passed_over } = found;
    let evidence = evidence_of(content, &list, (&mut incomplete, &mut unread), limits).await;
    Gathered { evidence: once_each(evidence), incomplete, over, unread, passed_over }
}

/// Finds the evidence about each image of an index, whatever that has about them itself.
pub async fn gather_images(content: &dyn Content, index: &ManifestContent, limits: &Limits) -> Gathered {
    let mut found = Attached::default();
    // What cannot be read has no images, which is said where it is looked at.
    let manifest = parse(index).ok();
    let entries = manifest.iter().flat_map(image::images).map(|entry| entry.digest);
    let subjects: BTreeSet<Digest> = entries.take(limits.max_referrers).collect();
    let attachments =
        in_turn(subjects.iter().map(|subject| attached(content, subject, limits)).collect()).await;
    for one in attachments {
        found.extend(one);
    }
    let Attached { list, mut incomplete, over, mut unread, passed_over } = found;
    let evidence = evidence_of(content, &list, (&mut incomplete, &mut unread), limits).await;
    Gathered { evidence: once_each(evidence), incomplete, over, unread, passed_over }
}

/// The same content about the same subject, once, with all the ways in which it was found. What was found twice in the
/// same way is at its oldest place: whoever attaches it again makes it no newer.
fn once_each(evidence: Vec<Evidence>) -> Vec<Evidence> {
    let mut places = BTreeMap::<Digest, usize>::new();
    let mut kept = Vec::<Option<Evidence>>::new();
    for mut piece in evidence {
        let id = piece.id();
        let known = places.get(&id).and_then(|place| kept.get_mut(*place));
        match known {
            Some(Some(known)) if known.found.is_disjoint(&piece.found) => known.found.extend(piece.found),
            known => {
                if let Some(known) = known.and_then(Option::take) {
                    piece.found.extend(known.found);
                }
                places.insert(id, kept.len());
                kept.push(Some(piece));
            }
        }
    }
    kept.into_iter().flatten().collect()
}

/// Runs several reads at once; the answers keep the order of the reads. A list, not an iterator: with one, the compiler
/// cannot see that what is built from this may move between threads.
fn in_turn<F: Future>(reads: Vec<F>) -> impl Future<Output = Vec<F::Output>> {
    stream::iter(reads).buffered(READS).collect()
}

/// What an image keeps in all its forms ([`Manifest::form`]).
pub fn form_of(manifest: &ManifestContent) -> Option<Digest> {
    parse(manifest).ok()?.form()
}

/// The structure of a manifest that all readers read alike; or what is wrong with it.
pub(crate) fn parse(manifest: &ManifestContent) -> Result<Manifest, String> {
    let parsed = Manifest::parse(Some(&manifest.media_type), &manifest.body, &ManifestLimits::default());
    let parsed = parsed.map_err(|error| error.to_string())?;
    names::check(&manifest.body, &names::MANIFEST)?;
    Ok(parsed)
}
