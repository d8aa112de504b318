//! Reclaims what nothing references any more, while the registry runs.
//!
//! Nothing is searched for. Whatever takes a reference away (a deleted manifest, a moved or deleted tag, an expired
//! upload) or adds content that nothing refers to yet queues a review or an object in its own transaction. A
//! [`sweep`] settles the reviews that are old enough and then deletes the objects whose grace is over; any number of
//! replicas may sweep at once, each review is leased to one of them. [`plan`] asks the same judge about the same
//! reviews and changes nothing.
//!
//! ```text
//! manifest deleted, tag moved, blob pushed ──▶ review ──(blobs_after, untagged_after)──▶ judged again
//!     held ──▶ review dropped        not held ──▶ rows deleted ──▶ object listed ──(grace)──▶ bytes deleted
//! ```
//!
//! A manifest is held by a tag, by an index of its repository, or by its subject being there; a blob by a manifest of
//! its repository. Manifests that nothing holds stay all the same unless `untagged_after` is set: people pull by
//! digest.
//!
//! [`fsck`] compares rows with objects. Beside the sweep [`run`] keeps the store's records of manifests, from which
//! [`rebuild`] restores a database that was lost. Not here: retention rules over tags, repair of what fsck finds.

mod fsck;
mod fsck_records;
mod plan;
mod rebuild;
mod work;

use std::time::Duration;

pub use fsck::{Damage, Depth, Extra, Finding, Inspection, fsck};
pub use fsck_records::heal_records;
pub use plan::{Candidate, Pending, Plan, plan};
pub use rebuild::{Incomplete, Rebuild, Rebuilt, rebuild};
pub use work::{Report, abort_unfinished, run, sweep, write_records};

/// How long things that nothing holds may stay.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// An upload that receives nothing for so long ends.
    pub idle: Duration,
    /// A blob that no manifest of its repository refers to goes after so long.
    pub blobs_after: Duration,
    /// A manifest that nothing holds goes after so long; `None`: never.
    pub untagged_after: Option<Duration>,
    /// Bytes whose rows are gone stay for so long.
    pub grace: Duration,
    /// Time between two sweeps.
    pub period: Duration,
}

impl Schedule {
    /// Kinds that are reclaimed at all, with the age at which they are, manifests first: they let blobs go.
    fn kinds(&self) -> impl Iterator<Item = (rreg_storage::ReviewKind, u64)> + use<> {
        use rreg_storage::ReviewKind::{Blob, Manifest};
        let manifests = self.untagged_after.map(|after| (Manifest, ms(after)));
        manifests.into_iter().chain([(Blob, ms(self.blobs_after))])
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
