//! How much of a registry's answers is read, and how long it is waited for.

use std::time::Duration;

/// Limits on what a registry may send. The defaults fit every registry known.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest manifest, in bytes.
    pub manifest: u64,
    /// Longest answer of a token endpoint, in bytes.
    pub token: u64,
    /// How much of an error body is read, in bytes.
    pub error: u64,
    /// Longest page of a list, in bytes.
    pub page: u64,
    /// Most pages of one list.
    pub pages: usize,
    /// Longest list, all its pages together, in bytes.
    pub list: u64,
    /// Longest list of referrers, all its pages together, in bytes.
    pub referrers: u64,
    /// Longest answer of rreg's own API, in bytes: what would change for a hundred thousand images.
    pub own: u64,
    /// Longest silence while a request or a download runs.
    pub idle: Duration,
    /// Fewest bytes a second of a download, over the length of `idle`; 0 for any.
    pub min_rate: u64,
    /// Longest silence of an upload, whose end the registry may take long to verify.
    pub upload_idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest: 4 << 20,
            token: 1 << 20,
            error: 64 << 10,
            page: 16 << 20,
            pages: 10_000,
            list: 64 << 20,
            referrers: 16 << 20,
            own: 256 << 20,
            idle: Duration::from_secs(60),
            min_rate: 0,
            upload_idle: Duration::from_secs(300),
        }
    }
}
