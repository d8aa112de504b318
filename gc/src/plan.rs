//! What a sweep would do now.

use rreg_oci::{Digest, RepositoryName};
use rreg_storage::{Review, ReviewKind, Storage, StorageError, Verdict};

use crate::Schedule;

/// Reviews read at once.
const PAGE: u32 = 500;
/// Most reviews that are not due and are looked at, of each kind.
const LOOKED: usize = 10_000;

/// Something that a sweep would reclaim now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// A blob or a manifest.
    pub kind: ReviewKind,
    /// Where.
    pub repository: RepositoryName,
    /// Which.
    pub digest: Digest,
    /// Bytes of the store that this frees.
    pub bytes: u64,
}

/// Something that goes later, if nothing holds it until then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// What, and where.
    pub candidate: Candidate,
    /// From when on, in milliseconds since the Unix epoch.
    pub due_at: i64,
}

/// What a sweep would do now.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// What would go, at most as many as were asked for.
    pub candidates: Vec<Candidate>,
    /// How many in all.
    pub count: usize,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Reviews that are due and find the content held.
    pub kept: usize,
    /// What nothing holds and whose time has not come, the first to go first; at most as many as were asked for.
    pub pending: Vec<Pending>,
    /// Whether there may be more of it.
    pub pending_more: bool,
    /// Objects whose grace is over, at most 10,000 of them.
    pub objects: usize,
}

/// Judges every review that is due, as [`crate::sweep`] would, and changes nothing. Names up to `limit` candidates.
///
/// A manifest that goes lets its blobs go, but those are reviewed in their own time: they are not candidates yet.
///
/// # Errors
/// When the database fails.
pub async fn plan(storage: &Storage, schedule: &Schedule, limit: usize) -> Result<Plan, StorageError> {
    let metadata = storage.metadata();
    let mut plan = Plan::default();
    for (kind, age) in schedule.kinds() {
        let mut last = None;
        loop {
            let reviews = metadata.due_reviews(kind, age, last.as_ref(), PAGE).await?;
            for review in &reviews {
                match metadata.judge_review(review).await? {
                    Verdict::Reclaim { bytes } => {
                        plan.count += 1;
                        plan.bytes += bytes;
                        if plan.candidates.len() < limit {
                            let (repository, digest) = (review.repository.clone(), review.digest);
                            plan.candidates.push(Candidate { kind, repository, digest, bytes });
                        }
                    }
                    Verdict::Keep(_) => plan.kept += 1,
                    Verdict::Gone => {}
                }
            }
            match reviews.into_iter().next_back() {
                Some(review) => last = Some(review),
                None => break,
            }
        }
        wait(storage, kind, age, last, (&mut plan, limit)).await?;
    }
    plan.pending.sort_by_key(|pending| pending.due_at);
    plan.pending_more |= plan.pending.len() > limit;
    plan.pending.truncate(limit);
    plan.objects = metadata.due_objects(10_000).await?;
    Ok(plan)
}

/// Reviews of one kind that are not due, after `last`: what would go if they were. Looks at no more than [`LOOKED`].
async fn wait(
    storage: &Storage,
    kind: ReviewKind,
    age: u64,
    mut last: Option<Review>,
    (plan, limit): (&mut Plan, usize),
) -> Result<(), StorageError> {
    let metadata = storage.metadata();
    let (mut looked, mut found) = (0, 0);
    while found < limit && looked < LOOKED {
        let reviews = metadata.due_reviews(kind, 0, last.as_ref(), PAGE).await?;
        for review in &reviews {
            if let Verdict::Reclaim { bytes } = metadata.judge_review(review).await? {
                let (repository, digest) = (review.repository.clone(), review.digest);
                let due_at = review.queued_at.saturating_add(i64::try_from(age).unwrap_or(i64::MAX));
                plan.pending
                    .push(Pending { candidate: Candidate { kind, repository, digest, bytes }, due_at });
                found += 1;
            }
        }
        looked += reviews.len();
        match reviews.into_iter().next_back() {
            Some(review) => last = Some(review),
            None => return Ok(()),
        }
    }
    plan.pending_more = true;
    Ok(())
}
