//! The error codes of the distribution specification ("Error Codes", code-1 … code-14).

use std::fmt;

/// What went wrong, in the specification's words. How each becomes an HTTP status is the server's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// `BLOB_UNKNOWN`: the blob is not in this repository.
    BlobUnknown,
    /// `BLOB_UPLOAD_INVALID`: the upload cannot go on like this.
    BlobUploadInvalid,
    /// `BLOB_UPLOAD_UNKNOWN`: no such upload session.
    BlobUploadUnknown,
    /// `DIGEST_INVALID`: the digest is malformed or is not that of the content.
    DigestInvalid,
    /// `MANIFEST_BLOB_UNKNOWN`: the manifest refers to something this repository does not hold.
    ManifestBlobUnknown,
    /// `MANIFEST_INVALID`: the manifest is not acceptable.
    ManifestInvalid,
    /// `MANIFEST_UNKNOWN`: no such manifest or tag.
    ManifestUnknown,
    /// `NAME_INVALID`: not a repository name or tag.
    NameInvalid,
    /// `NAME_UNKNOWN`: no such repository.
    NameUnknown,
    /// `SIZE_INVALID`: a length is wrong or past a limit.
    SizeInvalid,
    /// `UNAUTHORIZED`: authentication is required.
    Unauthorized,
    /// `DENIED`: the caller, or a policy, does not allow it.
    Denied,
    /// `UNSUPPORTED`: this registry does not do that.
    Unsupported,
    /// `TOOMANYREQUESTS`: come back later.
    TooManyRequests,
    /// `UNAVAILABLE`: something that this needs has failed or does not answer. Not the specification's word, which has
    /// none, but that of the registry that most clients were written against.
    Unavailable,
}

impl ErrorCode {
    /// Every code, for documentation and tests.
    pub const ALL: [Self; 15] = [
        Self::BlobUnknown,
        Self::BlobUploadInvalid,
        Self::BlobUploadUnknown,
        Self::DigestInvalid,
        Self::ManifestBlobUnknown,
        Self::ManifestInvalid,
        Self::ManifestUnknown,
        Self::NameInvalid,
        Self::NameUnknown,
        Self::SizeInvalid,
        Self::Unauthorized,
        Self::Denied,
        Self::Unsupported,
        Self::TooManyRequests,
        Self::Unavailable,
    ];

    /// The identifier on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            Self::Unsupported => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unavailable => "UNAVAILABLE",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
