//! Which manifests say that they are about a subject.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::{join, join_all};
use rreg_oci::{Digest, Manifest, ManifestKind, Reference};

use super::{in_turn, parse};
use crate::content::{Content, ManifestContent, ReadError};
use crate::evidence::Found;
use crate::limits::Limits;

/// A manifest about a subject.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// What it is about, as it says.
    pub subject: Digest,
    /// How it was found.
    pub found: BTreeSet<Found>,
    /// The manifest as it was read.
    pub content: ManifestContent,
    /// Its structure.
    pub manifest: Manifest,
}

/// What was found about one or more subjects.
#[derive(Clone, Debug, Default)]
pub struct Attached {
    /// What can be a signature first, of those alike the newest; those of cosign's tags last.
    pub list: Vec<Attachment>,
    /// See [`super::Gathered::incomplete`].
    pub incomplete: Vec<String>,
    /// See [`super::Gathered::over`].
    pub over: Vec<String>,
    /// See [`super::Gathered::unread`].
    pub unread: Vec<String>,
    /// See [`super::Gathered::passed_over`].
    pub passed_over: Vec<String>,
}

/// Referrers whose descriptions are looked at, to choose those that are read.
const LISTED: usize = 5000;

/// What a referrer can be, by the type that its description has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// A signature, or a bundle, which may be one.
    Signature,
    /// A statement or document.
    Document,
    /// Whatever else: it may hold evidence in its layers.
    #[default]
    Other,
}

fn rank(entry: &rreg_oci::Descriptor) -> Rank {
    let kind = entry.artifact_type.as_deref().unwrap_or_default();
    let essence = rreg_oci::media_type::essence(kind);
    let is_signature = essence.starts_with("application/vnd.dev.sigstore.bundle")
        || essence.starts_with("application/vnd.dev.cosign")
        || essence == "application/vnd.cncf.notary.signature";
    match (is_signature, crate::evidence::is_evidence_type(kind)) {
        (true, _) => Rank::Signature,
        (false, true) => Rank::Document,
        (false, false) => Rank::Other,
    }
}

/// A referrer that was listed.
#[derive(Debug, Default)]
struct Listed {
    found: BTreeSet<Found>,
    rank: Rank,
    /// Registries list what came first before what came later.
    place: usize,
}

impl Attached {
    pub(super) fn extend(&mut self, more: Self) {
        self.list.extend(more.list);
        self.incomplete.extend(more.incomplete);
        self.over.extend(more.over);
        self.unread.extend(more.unread);
        self.passed_over.extend(more.passed_over);
    }

    /// Keeps a manifest, once.
    fn keep(&mut self, attachment: Attachment) {
        let same = |known: &&mut Attachment| {
            known.subject == attachment.subject && known.content.digest == attachment.content.digest
        };
        match self.list.iter_mut().find(same) {
            Some(known) => known.found.extend(attachment.found),
            None => self.list.push(attachment),
        }
    }

    /// Takes a manifest apart and keeps it.
    fn take(&mut self, subject: &Digest, found: BTreeSet<Found>, content: ManifestContent, name: &str) {
        match parse(&content) {
            Ok(manifest) => self.keep(Attachment { subject: *subject, found, content, manifest }),
            // That stays so, and anybody can push it.
            Err(error) => self.unread.push(format!("{name}: {error}")),
        }
    }

    /// Keeps what was read of a manifest that a list named.
    pub(super) fn listed(
        &mut self,
        subject: &Digest,
        digest: &Digest,
        found: BTreeSet<Found>,
        read: Result<Option<ManifestContent>, ReadError>,
    ) {
        let name = format!("the manifest {digest} about {subject}");
        match read {
            Ok(Some(content)) => self.take(subject, found, content, &name),
            Ok(None) => self.incomplete.push(format!("{name} is listed but not there")),
            Err(error) => self.incomplete.push(format!("{name}: {error}")),
        }
    }
}

/// Finds the manifests that refer to `subject`: by the API, the referrers tag, and cosign's tags. What they carry is not
/// read.
pub async fn attached(content: &dyn Content, subject: &Digest, limits: &Limits) -> Attached {
    let mut all = Attached::default();
    let cosign_tags: Vec<Reference> = subject.cosign_tags().into_iter().map(Reference::Tag).collect();
    let ((listed, index), tagged) = join(
        join(content.referrers(subject, LISTED), referrers_index(content, subject)),
        join_all(cosign_tags.iter().map(|tag| content.manifest(tag))),
    )
    .await;
    let mut referrers = BTreeMap::<Digest, Listed>::new();
    match listed {
        Ok((list, cut)) => {
            for (place, entry) in list.into_iter().enumerate() {
                let listed = referrers.entry(entry.digest).or_default();
                listed.found.insert(Found::Referrer);
                listed.rank = rank(&entry);
                listed.place = place;
            }
            if cut {
                let limit = LISTED;
                // What came last is what a list that is cut off leaves out.
                all.unread
                    .push(format!("more than {limit} manifests refer to {subject}; {limit} were listed"));
            }
        }
        Err(error) => all.incomplete.push(format!("the referrers of {subject}: {error}")),
    }
    all.referrers_tag(subject, index, &mut referrers);
    // What can be a signature before all else, and of those the newest: what anybody attaches besides takes no place.
    let mut wanted: Vec<(Digest, Listed)> = referrers.into_iter().collect();
    wanted.sort_by_key(|(digest, listed)| (listed.rank, std::cmp::Reverse(listed.place), *digest));
    if let Some((_, first)) = wanted.get(limits.max_referrers) {
        let (limit, left) = (limits.max_referrers, wanted.len().saturating_sub(limits.max_referrers));
        let what = if first.rank == Rank::Other { "that may be no evidence " } else { "" };
        all.over.push(format!(
            "{limit} manifests about {subject} were looked at, and {left} older ones {what}were not"
        ));
    }
    wanted.truncate(limits.max_referrers);
    let wanted = wanted.into_iter().map(|(digest, listed)| (digest, listed.found));
    let reads = wanted.map(|(digest, found)| async move {
        (digest, found, content.manifest(&Reference::Digest(digest)).await)
    });
    let read = in_turn(reads.collect()).await;
    for (digest, found, read) in read {
        all.listed(subject, &digest, found, read);
    }
    all.drop_strangers(subject);
    for (tag, read) in cosign_tags.iter().zip(tagged) {
        let name = format!("the tag {tag}");
        match read {
            Ok(Some(content)) => all.take(subject, BTreeSet::from([Found::CosignTag]), content, &name),
            Ok(None) => {}
            Err(error) => all.incomplete.push(format!("{name}: {error}")),
        }
    }
    all
}

impl Attached {
    /// Adds what the referrers tag names.
    fn referrers_tag(
        &mut self,
        subject: &Digest,
        index: Result<Option<ManifestContent>, ReadError>,
        referrers: &mut BTreeMap<Digest, Listed>,
    ) {
        let name = format!("the referrers tag {}", subject.referrers_tag());
        let index = match index {
            Ok(Some(index)) => index,
            Ok(None) => return,
            Err(error) => return self.incomplete.push(format!("{name}: {error}")),
        };
        match parse(&index) {
            Ok(manifest) if manifest.kind == ManifestKind::Index => {
                for (place, entry) in manifest.manifests.into_iter().enumerate() {
                    let listed = referrers.entry(entry.digest).or_default();
                    if listed.found.is_empty() {
                        (listed.rank, listed.place) = (rank(&entry), place);
                    }
                    listed.found.insert(Found::ReferrersTag);
                }
            }
            Ok(_) => self.passed_over.push(format!("{name} holds no index")),
            Err(error) => self.incomplete.push(format!("{name}: {error}")),
        }
    }

    /// That a list names a manifest does not make it one about the subject.
    fn drop_strangers(&mut self, subject: &Digest) {
        let (kept, strangers) = std::mem::take(&mut self.list)
            .into_iter()
            .partition(|one| one.manifest.subject.as_ref().map(|s| s.digest) == Some(*subject));
        self.list = kept;
        for stranger in strangers {
            let what = stranger.manifest.subject.map_or("none".to_owned(), |s| s.digest.to_string());
            let digest = stranger.content.digest;
            self.passed_over
                .push(format!("{digest} is listed as about {subject}, but its subject is {what}"));
        }
    }
}

/// The manifest at the referrers tag.
async fn referrers_index(
    content: &dyn Content,
    subject: &Digest,
) -> Result<Option<ManifestContent>, ReadError> {
    let text = subject.referrers_tag();
    let tag = text.parse().map_err(|error| ReadError::new(text, format!("{error}")))?;
    content.manifest(&Reference::Tag(tag)).await
}
