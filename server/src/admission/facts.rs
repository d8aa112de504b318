//! What is known of a manifest, gathered once and kept with its decision.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use rreg_oci::{Digest, ManifestKind, Reference};
use rreg_policy::{
    Evidence, EvidenceFact, Facts, Gathered, ImageFacts, ManifestContent, OfImages, TrustRoot, Verification,
    VerifyContext, gather, gather_images, image_facts,
};
use rreg_storage::{NewManifest, StoredVerification, Undecided};
use tokio::runtime::Handle;

use super::active::Asked;
use super::content::Stored;
use super::decide::{self, Failure};
use super::stage::Stage;
use crate::app::App;

/// Least time between two looks at what an upstream has about an image.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_secs(600);
/// Above so many bytes a document is large.
const LARGE: u64 = 4 << 20;
/// Large documents that are read at the same time.
pub(super) const LARGE_AT_ONCE: usize = 2;
/// Tags and indexes of one manifest that are looked at.
const MAX_NAMES: usize = 1000;

/// What was found when a manifest was looked at.
pub(super) enum Looked {
    /// It is a signature, an attestation or a document itself. Of it, nothing is gathered: it stays readable whatever is
    /// decided about images, so that clients can verify by themselves.
    Evidence(Box<Facts>),
    /// It is something that policies are about.
    Subject(Box<Facts>),
}

/// Gathers the facts about a stored manifest.
pub(super) async fn of_stored(
    app: &Arc<App>,
    about: &Undecided,
    asked: &Asked,
    stage: &Arc<Stage>,
    now: DateTime<Utc>,
) -> Result<Looked, Failure> {
    let metadata = app.storage.metadata();
    let stored = metadata.manifest(&about.repository, &Reference::Digest(about.digest)).await?;
    let image = ManifestContent {
        media_type: String::from_utf8_lossy(&stored.media_type).into_owned(),
        digest: stored.digest,
        body: stored.body.clone(),
    };
    let content = Stored::new(app.clone(), about.repository.clone(), stage.clone());
    if is_evidence(app, &content, &image).await? {
        let bare = ImageFacts::bare(about.repository.as_str(), about.digest);
        return Ok(Looked::Evidence(Box::new(Facts::bare(bare, None))));
    }
    let form = rreg_policy::form_of(&image);
    let names = metadata.names_of(&about.repository, &about.digest, form.as_ref(), MAX_NAMES + 1);
    let (tags, parents) = names.await?;
    let tags = tags.iter().map(ToString::to_string).collect();
    let facts =
        of(app, &content, (about.repository.as_str(), tags), (&image, parents), asked, stage, now).await?;
    Ok(Looked::Subject(Box::new(facts)))
}

/// Gathers the facts about a manifest that is on its way in.
pub(super) async fn of_arriving(
    app: &Arc<App>,
    new: &NewManifest,
    asked: &Asked,
    stage: &Arc<Stage>,
    now: DateTime<Utc>,
) -> Result<Looked, Failure> {
    let image = ManifestContent {
        media_type: new.manifest.media_type.clone(),
        digest: new.digest,
        body: new.body.clone(),
    };
    let content = Stored::with(app.clone(), new.repository.clone(), stage.clone(), image.clone());
    // An index at no other tags than those named after digests lists evidence, and is asked about as nothing else.
    let lists_evidence = new.manifest.kind == ManifestKind::Index
        && !new.tags.is_empty()
        && new.tags.iter().all(|tag| decide::is_evidence_tag(tag.as_str()))
        && !rreg_policy::embeds(&new.body);
    if lists_evidence || is_evidence(app, &content, &image).await? {
        let bare = ImageFacts::bare(new.repository.as_str(), new.digest);
        return Ok(Looked::Evidence(Box::new(Facts::bare(bare, None))));
    }
    let metadata = app.storage.metadata();
    let form = new.manifest.form();
    let names = metadata.names_of(&new.repository, &new.digest, form.as_ref(), MAX_NAMES + 1);
    let (mut tags, parents) = names.await?;
    tags.extend(new.tags.iter().cloned());
    tags.sort();
    tags.dedup();
    let tags = tags.iter().map(ToString::to_string).collect();
    let facts =
        of(app, &content, (new.repository.as_str(), tags), (&image, parents), asked, stage, now).await?;
    Ok(Looked::Subject(Box::new(facts)))
}

/// Whether a manifest is evidence itself. Large documents are read by few at a time, and off the threads that answer
/// requests.
async fn is_evidence(app: &Arc<App>, content: &Stored, image: &ManifestContent) -> Result<bool, Failure> {
    let limits = &app.admission.limits;
    if rreg_policy::evidence_size(image, limits) <= LARGE {
        let told = rreg_policy::is_evidence(content, image, limits).await;
        return told.map_err(|error| content.failure(error));
    }
    let _turn = app.admission.large.acquire().await;
    let (of, image, limits) = (content.clone(), image.clone(), limits.clone());
    let handle = Handle::current();
    let work = move || handle.block_on(rreg_policy::is_evidence(&of, &image, &limits));
    let read = tokio::task::spawn_blocking(work).await;
    let told = read.map_err(|error| Failure::Other(format!("a document broke off: {error}")))?;
    told.map_err(|error| content.failure(error))
}

async fn of(
    app: &Arc<App>,
    content: &Stored,
    (repository, mut tags): (&str, Vec<String>),
    (manifest, mut parents): (&ManifestContent, Vec<Digest>),
    asked: &Asked,
    stage: &Arc<Stage>,
    now: DateTime<Utc>,
) -> Result<Facts, Failure> {
    let limits = &app.admission.limits;
    let too_many = tags.len() > MAX_NAMES || parents.len() > MAX_NAMES;
    tags.truncate(MAX_NAMES);
    parents.truncate(MAX_NAMES);
    let (stated, gathered) = tokio::join!(
        image_facts(content, "", repository, &tags, manifest, &parents, limits),
        gather(content, manifest, &parents, limits)
    );
    let (mut image, mut incomplete) = stated.map_err(|error| content.failure(error))?;
    incomplete.extend(gathered.incomplete);
    let mut unread = gathered.unread;
    if too_many {
        image.unknown = true;
        unread.push(format!("more than {MAX_NAMES} tags or indexes have it, and not all were looked at"));
    }
    let evidence = verified(app, &gathered.evidence, asked, stage, now).await?;
    let sboms = rreg_policy::sbom_facts(&gathered.evidence);
    let over = gathered.over;
    let each = sboms.each.clone();
    let has_images = !image.images.is_empty();
    let facts = Facts { evidence, incomplete, over, unread, ..Facts::bare(image, None) }.with_sboms(sboms);
    if !has_images || !asked.of_images {
        return Ok(Facts { broken: content.is_broken(), ..facts });
    }
    let gathered = gather_images(content, manifest, limits).await;
    let evidence = verified(app, &gathered.evidence, asked, stage, now).await?;
    let Gathered { incomplete, over, unread, evidence: pieces, .. } = gathered;
    let of_images = OfImages { evidence, incomplete, over, unread, ..OfImages::default() };
    let facts = facts.with_images(of_images, each, rreg_policy::sbom_facts(&pieces));
    Ok(Facts { broken: content.is_broken(), ..facts })
}

/// Each piece with what its verification found, under every root that is asked about. What was verified before, here
/// or in another repository, is not verified again.
async fn verified(
    app: &Arc<App>,
    evidence: &[Evidence],
    asked: &Asked,
    stage: &Stage,
    now: DateTime<Utc>,
) -> Result<Vec<EvidenceFact>, Failure> {
    let metadata = app.storage.metadata();
    let mut facts = Vec::with_capacity(evidence.len());
    let mut fresh = Vec::new();
    for piece in evidence {
        let mut fact = EvidenceFact::unverified(piece, &app.admission.limits);
        let mut missing: Vec<TrustRoot> = asked.roots.clone();
        if !fact.is_signed() {
            missing.clear();
        }
        if !missing.is_empty() {
            for known in metadata.verifications(&fact.id).await? {
                let Ok(verification) = serde_json::from_str::<Verification>(&known.body) else { continue };
                let before = missing.len();
                let named = asked.roots.iter().find(|root| app.admission.name_of(root) == known.trust);
                missing.retain(|root| app.admission.name_of(root) != known.trust);
                if let Some(root) = named.filter(|_| missing.len() < before) {
                    fact.verifications.insert(root.id().to_string(), verification);
                }
            }
        }
        if !missing.is_empty() {
            let made = verify(app, piece, missing, stage, now).await?;
            for (root, verification) in made {
                fresh.push(row(fact.id, app.admission.name_of(&root), &verification)?);
                fact.verifications.insert(root.id().to_string(), verification);
            }
        }
        facts.push(fact);
    }
    metadata.keep_verifications(fresh).await?;
    Ok(facts)
}

/// Cryptography, off the threads that answer requests. What revocation answers a Notation signature needs is fetched in
/// between.
async fn verify(
    app: &Arc<App>,
    piece: &Evidence,
    roots: Vec<TrustRoot>,
    stage: &Stage,
    now: DateTime<Utc>,
) -> Result<Vec<(TrustRoot, Verification)>, Failure> {
    let admission = &app.admission;
    let asked = admission.revocations.about(std::slice::from_ref(piece), &roots, &admission.limits, now);
    let revocation = stage.elsewhere(asked).await;
    let (piece, limits) = (piece.clone(), admission.limits.clone());
    let work = tokio::task::spawn_blocking(move || {
        let context = VerifyContext { now, limits: &limits, revocation: &revocation };
        let verify = |root: TrustRoot| {
            let found = rreg_policy::verify(&piece, &root, &context);
            (root, found)
        };
        roots.into_iter().map(verify).collect()
    });
    work.await.map_err(|error| Failure::Other(format!("a verification broke off: {error}")))
}

fn row(evidence: Digest, trust: Digest, verification: &Verification) -> Result<StoredVerification, Failure> {
    let body = serde_json::to_string(verification).map_err(|error| Failure::Other(error.to_string()))?;
    let holds_until = verification.holds_until.map(|time| time.timestamp_millis());
    Ok(StoredVerification { evidence, trust, body, holds_until })
}

/// Whether everything that was attached was looked at.
pub(super) fn is_whole(facts: &Facts) -> bool {
    facts.incomplete.is_empty() && facts.of_images.as_ref().is_none_or(|of| of.incomplete.is_empty())
}

/// What was found about all that was attached.
pub(super) fn verifications(facts: &Facts) -> impl Iterator<Item = &Verification> {
    let of_images = facts.of_images.iter().flat_map(|of| &of.evidence);
    facts.evidence.iter().chain(of_images).flat_map(|evidence| evidence.verifications.values())
}

/// Whether nothing in the facts is for want of an answer that may come later.
pub(super) fn is_settled(facts: &Facts) -> bool {
    is_whole(facts) && facts.image.incomplete.is_empty() && verifications(facts).all(|it| !it.may_change())
}

/// When the upstream of a copy may have new evidence.
pub(super) fn look_again(app: &App, about: &Undecided, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let copy = app.mirror.covering(&about.repository)?;
    Some(now + copy.upstream.tag_ttl.max(LOOK_AGAIN))
}
