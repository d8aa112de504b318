//! BuildKit's attestation manifests: entries of an index that say which other entry they are about. Nobody signed them.
//! Newer ones have a `subject` too and are then found as referrers as well.

use std::collections::BTreeSet;

use rreg_oci::{Descriptor, Digest, Manifest, Reference};

use super::find::Attached;
use super::{in_turn, parse};
use crate::content::{Content, ManifestContent};
use crate::evidence::Found;
use crate::limits::Limits;

/// BuildKit, "Image attestation storage".
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

/// The attestation manifests in the image, where it is an index, and in its parents.
#[derive(Default)]
pub(super) struct Entries {
    /// What each is about, and its digest.
    list: Vec<(Digest, Digest)>,
    incomplete: Vec<String>,
    unread: Vec<String>,
}

/// What an entry of an index is an attestation about, if it is one of BuildKit's attestation manifests. One for a
/// platform is an image, whatever its annotations say.
pub fn attestation_of(entry: &Descriptor) -> Option<Digest> {
    if entry.platform.is_some() && !is_for_nobody(entry) {
        return None;
    }
    let notes = entry.annotations.as_ref()?;
    if notes.get(REFERENCE_TYPE).map(String::as_str) != Some("attestation-manifest") {
        return None;
    }
    notes.get(REFERENCE_DIGEST)?.parse().ok()
}

/// Whether the entry says that it is for no platform, as BuildKit does of attestation manifests. Of one that says nothing
/// this is not true: some runtimes take such an entry where no other fits.
pub(super) fn is_for_nobody(entry: &Descriptor) -> bool {
    let part = |name: &str| entry.platform.as_ref().and_then(|platform| platform.get(name)?.as_str());
    part("os") == Some("unknown") && part("architecture") == Some("unknown")
}

pub(super) async fn entries(
    content: &dyn Content,
    image: &ManifestContent,
    parents: &[Digest],
    limits: &Limits,
) -> Entries {
    let mut entries = Entries::default();
    match parse(image) {
        Ok(manifest) => entries.add(&manifest, None),
        Err(error) => entries.incomplete.push(format!("the manifest {}: {error}", image.digest)),
    }
    let reads = parents
        .iter()
        .map(|parent| async move { (parent, content.manifest(&Reference::Digest(*parent)).await) });
    let read = in_turn(reads.collect()).await;
    for (parent, read) in read {
        let parsed = match read {
            Ok(Some(manifest)) => parse(&manifest),
            Ok(None) => Err("it is not there".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        match parsed {
            Ok(manifest) => entries.add(&manifest, Some(&image.digest)),
            Err(why) => entries.incomplete.push(format!("the index {parent}: {why}")),
        }
    }
    entries.list.sort();
    entries.list.dedup();
    if entries.list.len() > limits.max_referrers {
        let limit = limits.max_referrers;
        entries.unread.push(format!("more than {limit} attestation manifests; {limit} were looked at"));
        entries.list.truncate(limit);
    }
    entries
}

impl Entries {
    /// Notes the attestations of an index: all of them, or those about one digest.
    fn add(&mut self, index: &Manifest, about: Option<&Digest>) {
        let entries = index.manifests.iter().filter_map(|entry| Some((attestation_of(entry)?, entry.digest)));
        self.list.extend(entries.filter(|(subject, _)| about.is_none_or(|about| about == subject)));
    }
}

/// Adds the entries to what was found: as another way to what is known, or read anew.
pub(super) async fn join(content: &dyn Content, found: &mut Attached, entries: Entries, limits: &Limits) {
    found.incomplete.extend(entries.incomplete);
    found.unread.extend(entries.unread);
    let mut unknown = Vec::new();
    for (subject, digest) in entries.list {
        let known = found.list.iter_mut().find(|one| one.subject == subject && one.content.digest == digest);
        match known {
            Some(known) => _ = known.found.insert(Found::Index),
            None => unknown.push((subject, digest)),
        }
    }
    let reads = unknown.into_iter().take(limits.max_referrers).map(|(subject, digest)| async move {
        (subject, digest, content.manifest(&Reference::Digest(digest)).await)
    });
    let read = in_turn(reads.collect()).await;
    for (subject, digest, read) in read {
        found.listed(&subject, &digest, BTreeSet::from([Found::Index]), read);
    }
}
