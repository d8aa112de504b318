//! `[policy]`: what may be pushed, tagged, pulled and run.

use std::path::PathBuf;

use super::error::Findings;
use super::section::section;
use super::units::HumanDuration;

section! {
    /// What may be pushed, tagged, pulled and run. Policies are also set with `rreg policy put`; all of them hold.
    pub struct Policy {
        /// Directory of policies, `*.yaml` and `*.yml`, read again when a file in it changes. Keys and trust roots that
        /// they name are files relative to it.
        directory: Option<PathBuf> = None,
        /// Longest time that a request waits for a decision that nobody has made yet; after it a policy's `onError`
        /// holds. 100ms to 60s.
        timeout: HumanDuration = HumanDuration::seconds(5),
        /// Decisions that this replica makes at the same time in the background. 1 to 64.
        workers: u32 = 4,
        /// Answers Kubernetes admission reviews (`/admission/v1/…`) without a login: whoever reaches the server learns
        /// what is decided about images that they can name.
        open_admission: bool = false,
    }
}

impl Policy {
    pub(crate) fn validate(&self, findings: &mut Findings) {
        let (low, high) = (HumanDuration::millis(100), HumanDuration::seconds(60));
        findings.within("policy.timeout", self.timeout, low, high);
        findings.within("policy.workers", self.workers, 1, 64);
    }
}
