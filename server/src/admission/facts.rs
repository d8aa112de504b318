//! What is known of a manifest, gathered once and kept with its decision.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use rreg_oci::{Digest, Manifest, ManifestLimits, Reference};
use rreg_policy::{
    Evidence, EvidenceFact, Facts, ManifestContent, TrustRoot, Verification, VerifyContext,
    gather, image_facts,
};
use rreg_storage::{NewManifest, StoredVerification, Undecided};

use super::active::Asked;
use super::content::Stored;
use super::decide::{self, Failure};
use crate::app::App;

/// Tags and indexes of one manifest that are looked at.
const MAX_NAMES: usize = 1000;

/// What was found when a manifest was looked at.
pub(super) enum Looked {
    /// It is a signature, an attestation or a document itself.
    Evidence,
    /// It is something that policies are about.
    Subject(Box<Facts>),
}

/// Gathers the facts about a stored manifest.
pub(super) async fn of_stored(
    app: &Arc<App>,
    about: &Undecided,
    asked: &Asked,
    now: DateTime<Utc>,
) -> Result<Looked, Failure> {
    let metadata = app.storage.metadata();
    let stored = metadata.manifest(&about.repository, &Reference::Digest(about.digest)).await?;
    let image = ManifestContent {
        media_type: String::from_utf8_lossy(&stored.media_type).into_owned(),
        digest: stored.digest,
        body: stored.body.clone(),
    };
    if decide::is_evidence(&parse(&image)?) {
        return Ok(Looked::Evidence);
    }
    let (tags, parents) = metadata.names_of(&about.repository, &about.digest, MAX_NAMES).await?;
    let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
    let content = Stored::new(app.clone(), about.repository.clone());
    let facts = of(app, &content, (about.repository.as_str(), &tags), (&image, &parents), asked, now).await?;
    Ok(Looked::Subject(Box::new(facts)))
}

/// Gathers the facts about a manifest that is on its way in.
pub(super) async fn of_arriving(
    app: &Arc<App>,
    new: &NewManifest,
    asked: &Asked,
    now: DateTime<Utc>,
) -> Result<Facts, Failure> {
    let (mut tags, parents) =
        app.storage.metadata().names_of(&new.repository, &new.digest, MAX_NAMES).await?;
    tags.extend(new.tags.iter().cloned());
    tags.sort();
    tags.dedup();
    let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
    let image = ManifestContent {
        media_type: new.manifest.media_type.clone(),
        digest: new.digest,
        body: new.body.clone(),
    };
    let content = Stored::with(app.clone(), new.repository.clone(), image.clone());
    of(app, &content, (new.repository.as_str(), &tags), (&image, &parents), asked, now).await
}

fn parse(image: &ManifestContent) -> Result<Manifest, Failure> {
    // Its number of entries and its depth were within what was configured when it was pushed.
    let limits =
        ManifestLimits { max_size: image.body.len(), max_descriptors: usize::MAX, max_depth: 128 };
    let parsed = Manifest::parse(Some(&image.media_type), &image.body, &limits);
    parsed.map_err(|error| Failure::Other(format!("the manifest {}: {error}", image.digest)))
}

async fn of(
    app: &Arc<App>,
    content: &Stored,
    (repository, tags): (&str, &[String]),
    (image, parents): (&ManifestContent, &[Digest]),
    asked: &Asked,
    now: DateTime<Utc>,
) -> Result<Facts, Failure> {
    let limits = &app.admission.limits;
    let (stated, gathered) = tokio::join!(
        image_facts(content, "", repository, tags, image, parents, limits),
        gather(content, image, parents, limits)
    );
    let (image, mut incomplete) = stated?;
    incomplete.extend(gathered.incomplete);
    let evidence = verified(app, &gathered.evidence, asked, now).await?;
    let sbom = rreg_policy::sbom_facts(&gathered.evidence);
    Ok(Facts { evidence, incomplete, sbom, ..Facts::bare(image, None) })
}

/// Each piece with what its verification found, under every root that is asked about. What was verified before, here
/// or in another repository, is not verified again.
async fn verified(
    app: &Arc<App>,
    evidence: &[Evidence],
    asked: &Asked,
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
                missing.retain(|root| root.id() != known.trust);
                if missing.len() < before {
                    fact.verifications.insert(known.trust.to_string(), verification);
                }
            }
        }
        if !missing.is_empty() {
            let made = verify(app, piece, missing, now).await?;
            for (trust, verification) in made {
                fresh.push(row(fact.id, trust, &verification)?);
                fact.verifications.insert(trust.to_string(), verification);
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
    now: DateTime<Utc>,
) -> Result<Vec<(Digest, Verification)>, Failure> {
    let admission = &app.admission;
    let asked = admission.revocations.about(std::slice::from_ref(piece), &roots, &admission.limits, now);
    let revocation = asked.await;
    let (piece, limits) = (piece.clone(), admission.limits.clone());
    let work = tokio::task::spawn_blocking(move || {
        let context = VerifyContext { now, limits: &limits, revocation: &revocation };
        roots.iter().map(|root| (root.id(), rreg_policy::verify(&piece, root, &context))).collect()
    });
    work.await.map_err(|error| Failure::Other(format!("a verification broke off: {error}")))
}

fn row(evidence: Digest, trust: Digest, verification: &Verification) -> Result<StoredVerification, Failure> {
    let body = serde_json::to_string(verification).map_err(|error| Failure::Other(error.to_string()))?;
    let holds_until = verification.holds_until.map(|time| time.timestamp_millis());
    Ok(StoredVerification { evidence, trust, body, holds_until })
}

/// When the upstream of a copy may have new evidence.
pub(super) fn look_again(app: &App, about: &Undecided, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let copy = app.mirror.covering(&about.repository)?;
    Some(now + copy.upstream.tag_ttl.max(std::time::Duration::from_secs(60)))
}

