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
    /// In the order of their digests, those of cosign's tags last.
    pub list: Vec<Attachment>,
    /// See [`super::Gathered::incomplete`].
    pub incomplete: Vec<String>,
    /// See [`super::Gathered::passed_over`].
    pub passed_over: Vec<String>,
}

impl Attached {
    pub(super) fn extend(&mut self, more: Self) {
        self.list.extend(more.list);
        self.incomplete.extend(more.incomplete);
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
            Err(error) => self.incomplete.push(format!("{name}: {error}")),
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
        join(content.referrers(subject, limits.max_referrers), referrers_index(content, subject)),
        join_all(cosign_tags.iter().map(|tag| content.manifest(tag))),
    )
    .await;
    let mut referrers = BTreeMap::<Digest, BTreeSet<Found>>::new();
    let mut more = false;
    match listed {
        Ok((list, cut)) => {
            more = cut;
            for entry in list {
                referrers.entry(entry.digest).or_default().insert(Found::Referrer);
            }
        }
        Err(error) => all.incomplete.push(format!("the referrers of {subject}: {error}")),
    }
    all.referrers_tag(subject, index, &mut referrers);
    if more || referrers.len() > limits.max_referrers {
        let limit = limits.max_referrers;
        all.incomplete
            .push(format!("more than {limit} manifests refer to {subject}; {limit} were looked at"));
    }
    let wanted = referrers.into_iter().take(limits.max_referrers);
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
        referrers: &mut BTreeMap<Digest, BTreeSet<Found>>,
    ) {
        let name = format!("the referrers tag {}", subject.referrers_tag());
        let index = match index {
            Ok(Some(index)) => index,
            Ok(None) => return,
            Err(error) => return self.incomplete.push(format!("{name}: {error}")),
        };
        match parse(&index) {
            Ok(manifest) if manifest.kind == ManifestKind::Index => {
                for entry in manifest.manifests {
                    referrers.entry(entry.digest).or_default().insert(Found::ReferrersTag);
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
    let tag = text.parse().map_err(|error| ReadError { what: text, why: format!("{error}") })?;
    content.manifest(&Reference::Tag(tag)).await
}
