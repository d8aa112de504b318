//! What a sweep would do now.

use rreg_oci::{Digest, RepositoryName};
use rreg_storage::{ReviewKind, Storage, StorageError, Verdict};

use crate::Schedule;

/// Reviews read at once.
const PAGE: u32 = 500;

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
    }
    plan.objects = metadata.due_objects(10_000).await?;
    Ok(plan)
}
