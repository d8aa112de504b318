//! How much of what strangers attach is looked at.

/// Limits on evidence. What lies past one of them counts for nothing: a rule that misses it fails, and says so. It is no
/// error, which `onError: allow` would let through: anybody may attach more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one bundle, envelope, payload or statement.
    pub max_evidence: usize,
    /// Referrers of one subject that are looked at.
    pub max_referrers: usize,
    /// Layers of one evidence manifest that are looked at.
    pub max_layers: usize,
    /// Pieces of evidence of one subject that are read.
    pub max_pieces: usize,
    /// Bytes of all evidence of one subject.
    pub max_total: usize,
    /// Nesting of JSON and YAML.
    pub max_depth: usize,
    /// Certificates in a chain.
    pub max_chain: usize,
    /// Log entries, timestamps or signatures in one bundle or envelope.
    pub max_proofs: usize,
    /// Subjects that one statement names.
    pub max_subjects: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_evidence: 8 << 20,
            max_referrers: 200,
            max_layers: 100,
            max_pieces: 500,
            max_total: 32 << 20,
            max_depth: 64,
            max_chain: 10,
            max_proofs: 32,
            max_subjects: 1024,
        }
    }
}
