//! `[reclaim]`: how long what nothing refers to stays.

use rreg_gc::Schedule;

use super::Config;
use super::error::Findings;
use super::section::section;
use super::units::HumanDuration;

section! {
    /// How long what nothing refers to stays.
    pub struct Reclaim {
        /// A blob that no manifest of its repository refers to goes after so long: at least what the largest push
        /// takes from its first blob to its manifest.
        blobs_after: HumanDuration = HumanDuration::seconds(24 * 3600),
        /// A manifest without a tag goes after so long, unless an index of its repository has it or it refers to a
        /// subject that is there. Not set: such manifests stay, because people pull by digest.
        untagged_after: Option<HumanDuration> = None,
        /// Time between two looks at what is due. 100ms to 24h.
        period: HumanDuration = HumanDuration::seconds(60),
    }
}

impl Reclaim {
    pub(crate) fn validate(&self, findings: &mut Findings) {
        let most = HumanDuration::seconds(10 * 365 * 86_400);
        let least = HumanDuration::default();
        findings.within("reclaim.blobs_after", self.blobs_after, least, most);
        if let Some(after) = self.untagged_after {
            findings.within("reclaim.untagged_after", after, least, most);
        }
        let (low, high) = (std::time::Duration::from_millis(100), HumanDuration::seconds(86_400));
        findings.within("reclaim.period", self.period, HumanDuration(low), high);
    }
}

impl Config {
    /// What is reclaimed when.
    pub fn reclaim_schedule(&self) -> Schedule {
        Schedule {
            idle: self.uploads.expire_after.0,
            blobs_after: self.reclaim.blobs_after.0,
            untagged_after: self.reclaim.untagged_after.map(|after| after.0),
            grace: self.uploads.reclaim_grace.0,
            period: self.reclaim.period.0,
        }
    }
}
