//! How much of an image is looked at. Everything in an image is a stranger's.

/// Limits of one scan. Reaching one ends in a named [`crate::Finding`], never in an error or more memory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest file kept in memory (package databases, archives), in bytes; as much again is kept, compressed, of
    /// databases whose changes may come in another file.
    pub file_bytes: u64,
    /// Longest small file (`package.json`, `METADATA`, `os-release`), in bytes.
    pub text_bytes: u64,
    /// All layers together after decompression, in bytes.
    pub total_bytes: u64,
    /// Entries of all layers together.
    pub entries: u64,
    /// Longest path of an entry, in bytes.
    pub path_bytes: usize,
    /// Archives in archives.
    pub depth: usize,
    /// Entries of one archive, those of the archives inside it included.
    pub archive_entries: u64,
    /// What one archive may decompress to, in bytes, those inside it included.
    pub archive_bytes: u64,
    /// Packages of one file.
    pub packages_per_file: usize,
    /// Packages of the image, and files that say something else; as many again are kept of files that only a link makes
    /// packages. Documents with more are longer than their readers take ([`crate::read::MAX_DOCUMENT`]).
    pub packages: usize,
    /// What is kept of these is written with, in bytes: names, versions, licences, makers and paths.
    pub kept_bytes: usize,
    /// Paths that distribution packages own, of the image; as many again of files that a link may name.
    pub owned: usize,
    /// Symbolic links of the image, in bytes of their paths and targets and what is kept beside.
    pub link_bytes: usize,
    /// Findings that are kept; further ones are counted.
    pub findings: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 128 << 20,
            text_bytes: 2 << 20,
            total_bytes: 64 << 30,
            entries: 5_000_000,
            path_bytes: 4096,
            depth: 4,
            archive_entries: 200_000,
            archive_bytes: 512 << 20,
            packages_per_file: 25_000,
            packages: 40_000,
            kept_bytes: 12 << 20,
            owned: 2_000_000,
            link_bytes: 32 << 20,
            findings: 200,
        }
    }
}
