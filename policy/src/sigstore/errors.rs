//! What went wrong, as a named check.

use sigstore_verify::bundle::Error as BundleError;
use sigstore_verify::{CertificateError, Error, TimestampError, TransparencyLogError};

use super::shape::ShapeError;
use crate::verdict::{Verdict, Verification};

/// A check that did not pass.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) name: &'static str,
    pub(super) verdict: Verdict,
    pub(super) detail: String,
}

impl Failure {
    pub(super) fn new(name: &'static str, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self { name, verdict, detail: detail.into() }
    }

    pub(super) fn invalid(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, Verdict::Invalid, detail)
    }

    /// JSON of the wrong shape: past the limit on depth, or unreadable.
    pub(super) fn shape(name: &'static str, error: &ShapeError) -> Self {
        let name = if matches!(error, ShapeError::Depth(_)) { "limits" } else { name };
        Self::new(name, Verdict::Error, error.to_string())
    }

    pub(super) fn into_verification(self) -> Verification {
        Verification::failed(self.name, self.verdict, self.detail)
    }
}

/// Names what `sigstore-verify` found. What it calls unsupported could not be checked; what needs material that the
/// trust root lacks is unverifiable; all else is proved wrong.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        let (name, verdict) = match &error {
            Error::SignatureInvalid(_) => ("signature", Verdict::Invalid),
            Error::ArtifactMismatch(_) => ("subject", Verdict::Invalid),
            Error::UnsupportedArtifact(_) => ("signature", Verdict::Error),
            Error::Certificate(error) => (certificate(error), Verdict::Invalid),
            Error::TransparencyLog(TransparencyLogError::UnknownLog { .. }) => {
                ("tlog-entry", Verdict::Unverifiable)
            }
            Error::TransparencyLog(error) => (log(error), Verdict::Invalid),
            // Nothing proves its time, which another trust root may know.
            Error::Timestamp(TimestampError::NoVerifiedTimestamp(_))
            | Error::Bundle(BundleError::MissingSigningTimeEvidence) => ("timestamp", Verdict::Unverifiable),
            Error::Timestamp(_) => ("timestamp", Verdict::Invalid),
            Error::InvalidBundle(_) | Error::Types(_) => ("bundle", Verdict::Invalid),
            Error::Bundle(error) => (structure(error), Verdict::Invalid),
            Error::Crypto(_) => ("key", Verdict::Invalid),
            Error::UnsupportedBundle(_) => ("bundle", Verdict::Error),
            Error::InvalidTrustRoot(_) => ("trust-root", Verdict::Unverifiable),
            Error::TrustRoot(_) | Error::TrustedCertificate(_) => ("trust-root", Verdict::Error),
            Error::IdentityMismatch { .. } | Error::IssuerMismatch { .. } => {
                ("certificate", Verdict::Invalid)
            }
            _ => ("bundle", Verdict::Error),
        };
        Self::new(name, verdict, detail)
    }
}

fn certificate(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Malformed(_) => "certificate",
        CertificateError::Sct(_) => "sct",
        CertificateError::NoValidAuthority { .. }
        | CertificateError::NotYetValid { .. }
        | CertificateError::Expired { .. } => "certificate-time",
        // The chain is built at the signing time, so dates that are wrong come as an error of the chain.
        CertificateError::ChainInvalid(why) if why.contains("Expired") || why.contains("NotValidYet") => {
            "certificate-time"
        }
        _ => "certificate-chain",
    }
}

fn log(error: &TransparencyLogError) -> &'static str {
    match error {
        TransparencyLogError::InclusionProof(_) => "tlog-inclusion",
        TransparencyLogError::Checkpoint(_) => "checkpoint",
        TransparencyLogError::InclusionPromise(_) => "set",
        TransparencyLogError::IntegratedTime(_) => "certificate-time",
        _ => "tlog-entry",
    }
}

fn structure(error: &BundleError) -> &'static str {
    match error {
        BundleError::MissingInclusionPromise(_) => "set",
        BundleError::MissingInclusionProof(_) | BundleError::LogIndexOutOfRange { .. } => "tlog-inclusion",
        BundleError::MissingCheckpoint | BundleError::CheckpointRootMismatch => "checkpoint",
        BundleError::MissingTimestamp => "timestamp",
        BundleError::CertificateChainNotAllowed(_) => "certificate-chain",
        _ => "bundle",
    }
}
