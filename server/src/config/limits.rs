//! `[manifests]`, `[uploads]` and `[cache]`: what is accepted and what is kept in memory.

use super::error::Findings;
use super::section::section;
use super::units::{ByteSize, HumanDuration};

section! {
    /// Which manifests are accepted.
    pub struct Manifests {
        /// Largest manifest. 1KiB to 64MiB.
        max_size: ByteSize = ByteSize::mib(4),
        /// Most descriptors in one manifest. 1 to 1000000.
        max_descriptors: u32 = 10_000,
        /// Deepest nesting of JSON in a manifest. 8 to 127.
        max_depth: u32 = 64,
        /// Accepts an index of which some manifests are not in the repository.
        allow_sparse: bool = false,
    }
}

section! {
    /// Which blobs are accepted, and how long unfinished uploads stay.
    pub struct Uploads {
        /// Largest blob; 0 means no limit.
        max_blob_size: ByteSize = ByteSize(0),
        /// An upload that receives nothing for so long is removed. At least 1m.
        expire_after: HumanDuration = HumanDuration::seconds(24 * 3600),
        /// Bytes that nothing references any more are kept for so long before they are removed.
        reclaim_grace: HumanDuration = HumanDuration::seconds(3600),
    }
}

section! {
    /// What is kept in memory.
    pub struct Cache {
        /// Bytes of manifests. At most 64GiB; 0 turns this cache off.
        manifests: ByteSize = ByteSize::mib(8),
        /// Bytes of small blobs. At most 64GiB; 0 turns this cache off.
        blobs: ByteSize = ByteSize::mib(8),
        /// Entries of the cache from tag to digest. 0 turns this cache off.
        tags: u32 = 20_000,
    }
}

impl Manifests {
    pub(crate) fn validate(&self, findings: &mut Findings) {
        findings.within("manifests.max_size", self.max_size, ByteSize::kib(1), ByteSize::mib(64));
        findings.within("manifests.max_descriptors", self.max_descriptors, 1, 1_000_000);
        // The JSON reader itself stops at 128.
        findings.within("manifests.max_depth", self.max_depth, 8, 127);
    }
}

impl Uploads {
    pub(crate) fn validate(&self, findings: &mut Findings) {
        let most = HumanDuration::seconds(365 * 86_400);
        findings.within("uploads.expire_after", self.expire_after, HumanDuration::seconds(60), most);
        findings.within("uploads.reclaim_grace", self.reclaim_grace, HumanDuration::default(), most);
    }
}

impl Cache {
    pub(crate) fn validate(&self, findings: &mut Findings) {
        let most = ByteSize::mib(64 << 10);
        findings.within("cache.manifests", self.manifests, ByteSize(0), most);
        findings.within("cache.blobs", self.blobs, ByteSize(0), most);
    }
}
