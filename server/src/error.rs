//! Errors become HTTP here and nowhere else.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use rreg_auth::Denied;
use rreg_client::ClientError;
use rreg_oci::{ErrorCode, ManifestError, OperationError};
use rreg_storage::StorageError;

use crate::mirror::{Meaning, MirrorError, Missing};
use crate::shares::Refused;
use serde_json::{Value, json};

/// Seconds after which to ask again where too many wait for an upstream's blobs.
const QUEUE_AGAIN: u64 = 5;

/// An answer that is an error, in the specification's form.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: ErrorCode,
    message: String,
    detail: Value,
    headers: HeaderMap,
    cause: Option<Cause>,
}

/// Why the machinery failed, for the log only. It travels in the response's extensions to where the request's id is
/// known.
#[derive(Clone, Debug)]
pub(crate) struct Cause(pub(crate) String);

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            detail: Value::Null,
            headers: HeaderMap::new(),
            cause: None,
        }
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: impl AsRef<str>) -> Self {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.headers.insert(name, value);
        }
        self
    }

    pub(crate) fn with_detail(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }

    /// The same with a message that begins so.
    pub(crate) fn after(mut self, beginning: &str) -> Self {
        self.message.insert_str(0, beginning);
        self
    }

    /// The caller has to say who they are; the challenge is added by whoever knows it.
    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized, message)
    }

    /// As Kubernetes says it (`Status` of `v1`): API servers show the message of one to whoever waits, and of nothing else.
    /// Without `Retry-After`, which they would sleep out instead of telling anybody, and without digests, which not all of
    /// those may know.
    pub(crate) fn into_kubernetes(self) -> Response {
        let message = rreg_policy::without_digests(&self.message);
        let status = json!({
            "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
            "message": message, "reason": "InternalError", "code": self.status.as_u16(),
        });
        let mut response = (self.status, status.to_string()).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for name in [header::WWW_AUTHENTICATE, header::ALLOW] {
            for value in self.headers.get_all(&name) {
                response.headers_mut().append(name.clone(), value.clone());
            }
        }
        response.extensions_mut().extend(
            self.cause
                .map(|cause| {
                    let mut extensions = http::Extensions::new();
                    extensions.insert(cause);
                    extensions
                })
                .unwrap_or_default(),
        );
        response
    }

    /// What is said to whoever asked.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Whether it is about stored content that is not what was stored.
    pub(crate) fn is_damage(&self) -> bool {
        self.detail["quarantined"] == true
    }

    /// The message, if content or a rule about it forbids what a role would allow.
    pub(crate) fn denial(&self) -> Option<&str> {
        (self.code == ErrorCode::Denied).then_some(&self.message)
    }

    /// Too much is going on; the client shall come back after `seconds`.
    pub(crate) fn busy(message: impl Into<String>, seconds: u64) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, message)
            .with_header(header::RETRY_AFTER, seconds.to_string())
    }

    /// Something that this needs does not answer now.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, message)
            .with_header(header::RETRY_AFTER, "30")
    }

    /// There is no room. Which disk is for the log, as with any failure.
    fn full(error: &StorageError) -> Self {
        let message = "the registry has no room for new content; what is there can be pulled and deleted. Whoever runs \
             it has to delete what is not needed or give it a larger disk";
        let mut answer = Self::new(StatusCode::INSUFFICIENT_STORAGE, ErrorCode::Unavailable, message);
        answer.cause = Some(Cause(error.to_string()));
        answer
    }

    /// The machinery failed. What exactly is for the log, which has the request's id; not for strangers.
    fn internal(error: &StorageError) -> Self {
        let mut answer = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::Unavailable,
            "the registry's storage failed; the log has the cause under this response's X-Request-Id",
        );
        answer.cause = Some(Cause(error.to_string()));
        answer.with_header(header::RETRY_AFTER, "5")
    }
}

impl ApiError {
    /// An error that several requests share.
    pub(crate) fn from_shared(error: Arc<MirrorError>) -> Self {
        Self::of_mirror(&error)
    }

    fn of_mirror(error: &MirrorError) -> Self {
        let answer = Self::of_failure(error, error.to_string());
        match (error.upstream(), error.meaning()) {
            (Some(upstream), Some(meaning)) => {
                let answer = answer.with_detail(json!({"upstream": upstream, "answer": meaning.word()}));
                match meaning {
                    // It was asked as often as is of use: who can do without need not try again (RFC 7234, 5.5.3).
                    Meaning::Unreachable => {
                        answer.with_header(header::WARNING, "112 rreg \"Disconnected Operation\"")
                    }
                    _ => answer,
                }
            }
            _ => answer,
        }
    }

    fn of_failure(error: &MirrorError, message: String) -> Self {
        match error {
            MirrorError::Push { .. } => {
                Self::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported, message)
                    .with_header(header::ALLOW, "GET, HEAD, DELETE")
            }
            MirrorError::Namespace { .. } | MirrorError::NotCovered { .. } => {
                Self::new(StatusCode::NOT_FOUND, ErrorCode::NameUnknown, message)
            }
            MirrorError::Rule { .. } => Self::new(StatusCode::FORBIDDEN, ErrorCode::Denied, message),
            MirrorError::Open { wait, .. } => {
                let seconds = wait.as_secs().max(1).to_string();
                Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, message)
                    .with_header(header::RETRY_AFTER, seconds)
            }
            MirrorError::Upstream { upstream, error: cause } => {
                Self::of_upstream(upstream, cause, error, message)
            }
            MirrorError::Absent { what, .. } => {
                let code = match what {
                    Missing::Manifest => ErrorCode::ManifestUnknown,
                    Missing::Blob => ErrorCode::BlobUnknown,
                };
                Self::new(StatusCode::NOT_FOUND, code, message)
            }
            MirrorError::Vain { wait, .. } => Self::busy(message, wait.as_secs().max(1)),
            MirrorError::Crowded { .. } => Self::busy(message, QUEUE_AGAIN),
            MirrorError::Full { refused: Refused::Own, .. } => Self::busy(message, QUEUE_AGAIN),
            MirrorError::Queued { .. } | MirrorError::Full { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, message)
                    .with_header(header::RETRY_AFTER, QUEUE_AGAIN.to_string())
            }
            MirrorError::Slow { .. } | MirrorError::Silent { .. } => {
                Self::new(StatusCode::GATEWAY_TIMEOUT, ErrorCode::Unavailable, message)
            }
            MirrorError::Manifest { .. } | MirrorError::TooLarge { .. } => {
                Self::new(StatusCode::BAD_GATEWAY, ErrorCode::Unavailable, message)
            }
            MirrorError::Storage(error) => Self::internal(error),
            MirrorError::Spool(_) | MirrorError::Ended => {
                let mut answer = Self::busy("the registry could not fetch this now; try again", 5);
                answer.status = StatusCode::SERVICE_UNAVAILABLE;
                answer.cause = Some(Cause(message));
                answer
            }
        }
    }

    /// What the upstream says: that there is none, that we may not have it, or nothing that can be used.
    fn of_upstream(upstream: &str, cause: &ClientError, error: &MirrorError, message: String) -> Self {
        let unknown = match cause.operation {
            of if of.starts_with("manifest") => ErrorCode::ManifestUnknown,
            of if of.starts_with("blob") => ErrorCode::BlobUnknown,
            _ => ErrorCode::NameUnknown,
        };
        match (error.meaning(), cause.status()) {
            (Some(Meaning::Absent), _) => Self::new(StatusCode::NOT_FOUND, unknown, message),
            (Some(Meaning::Refused), _) => Self::new(StatusCode::FORBIDDEN, ErrorCode::Denied, message),
            (_, Some(StatusCode::TOO_MANY_REQUESTS)) => {
                Self::busy(message, cause.retry_after().map_or(5, |after| after.as_secs().max(1)))
            }
            // Which file or program it is, is nobody's business but that of whoever runs this.
            (Some(Meaning::Local), _) => {
                let told = format!(
                    "upstream {upstream} cannot be asked: something is wrong with its settings here, see the log"
                );
                let mut answer = Self::new(StatusCode::BAD_GATEWAY, ErrorCode::Unavailable, told);
                answer.cause = Some(Cause(message));
                answer
            }
            _ => Self::new(StatusCode::BAD_GATEWAY, ErrorCode::Unavailable, message),
        }
    }
}

impl From<MirrorError> for ApiError {
    fn from(error: MirrorError) -> Self {
        Self::of_mirror(&error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut error = json!({"code": self.code.as_str(), "message": self.message});
        if !self.detail.is_null() {
            error["detail"] = self.detail;
        }
        let body = json!({"errors": [error]}).to_string();
        let mut response = (self.status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        response.headers_mut().extend(self.headers);
        if let Some(cause) = self.cause {
            response.extensions_mut().insert(cause);
        }
        response
    }
}

impl From<OperationError> for ApiError {
    fn from(error: OperationError) -> Self {
        let message = error.to_string();
        match error {
            OperationError::NotFound => Self::new(StatusCode::NOT_FOUND, ErrorCode::NameUnknown, message),
            OperationError::Method { allow } => {
                Self::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported, message)
                    .with_header(header::ALLOW, allow)
            }
            OperationError::Invalid { code: code @ ErrorCode::BlobUploadUnknown, .. } => {
                Self::new(StatusCode::NOT_FOUND, code, message)
            }
            OperationError::Invalid { code, .. } => Self::new(StatusCode::BAD_REQUEST, code, message),
        }
    }
}

impl From<Denied> for ApiError {
    fn from(error: Denied) -> Self {
        let message = error.to_string();
        match error {
            Denied::ReadOnly | Denied::Role { .. } | Denied::Administrator(_) => {
                Self::new(StatusCode::FORBIDDEN, ErrorCode::Denied, message)
            }
            Denied::Anonymous | Denied::Scope(_) => Self::unauthorized(message),
        }
    }
}

impl From<ManifestError> for ApiError {
    fn from(error: ManifestError) -> Self {
        let status = match error {
            ManifestError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, ErrorCode::ManifestInvalid, error.to_string())
    }
}

impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        let message = error.to_string();
        let answer = |status, code| Self::new(status, code, message.clone());
        match &error {
            StorageError::UnknownRepository(name) => answer(StatusCode::NOT_FOUND, ErrorCode::NameUnknown)
                .with_detail(json!({"name": name.as_str()})),
            StorageError::UnknownBlob { digest, .. } => {
                answer(StatusCode::NOT_FOUND, ErrorCode::BlobUnknown).with_detail(json!({"digest": digest}))
            }
            StorageError::UnknownManifest { reference, .. } => {
                answer(StatusCode::NOT_FOUND, ErrorCode::ManifestUnknown)
                    .with_detail(json!({"reference": reference.to_string()}))
            }
            StorageError::UnknownUpload(_) => answer(StatusCode::NOT_FOUND, ErrorCode::BlobUploadUnknown),
            StorageError::MissingReferences(digests) => {
                answer(StatusCode::NOT_FOUND, ErrorCode::ManifestBlobUnknown)
                    .with_detail(json!({"digests": digests}))
            }
            StorageError::InUse { digest, by } => answer(StatusCode::CONFLICT, ErrorCode::Denied)
                .with_detail(json!({"digest": digest, "referredToBy": by})),
            // 409, not 403: it is the tag's state that stands in the way, not who asks. Other credentials would not
            // help, and 403 sends people and clients looking for some (rreg itself exits with 77 then). crane, skopeo,
            // podman, oras and regctl were seen to print the message of a 409.
            StorageError::ImmutableTag { tag, digest, rule, .. } => {
                answer(StatusCode::CONFLICT, ErrorCode::Denied)
                    .with_detail(json!({"tag": tag.as_str(), "digest": digest, "rule": rule}))
            }
            StorageError::TagRule(_) => answer(StatusCode::BAD_REQUEST, ErrorCode::Unsupported),
            StorageError::DigestMismatch { expected, found } => {
                answer(StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid)
                    .with_detail(json!({"expected": expected, "found": found}))
            }
            StorageError::OffsetMismatch { .. } => {
                answer(StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::BlobUploadInvalid)
            }
            StorageError::SizeMismatch { digest, stated, stored } => {
                answer(StatusCode::BAD_REQUEST, ErrorCode::ManifestInvalid)
                    .with_detail(json!({"digest": digest, "stated": stated, "stored": stored}))
            }
            StorageError::LengthMismatch { .. } => answer(StatusCode::BAD_REQUEST, ErrorCode::SizeInvalid),
            StorageError::TooLarge { .. } | StorageError::TooManyChunks { .. } => {
                answer(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::SizeInvalid)
            }
            StorageError::Body(_) => answer(StatusCode::BAD_REQUEST, ErrorCode::BlobUploadInvalid),
            // Not 5xx: pushing the content again heals it, and a client pushes what it is told is unknown.
            StorageError::Damaged { digest, .. } => answer(StatusCode::NOT_FOUND, ErrorCode::BlobUnknown)
                .with_detail(json!({"digest": digest, "quarantined": true})),
            StorageError::DamagedManifest { digest } => {
                answer(StatusCode::NOT_FOUND, ErrorCode::ManifestUnknown)
                    .with_detail(json!({"digest": digest, "quarantined": true}))
            }
            error if error.is_full() => Self::full(error),
            StorageError::Conflict | StorageError::Undecided(_) => Self::busy(message, 1),
            StorageError::Corrupt(_)
            | StorageError::HashState(_)
            | StorageError::Full(_)
            | StorageError::Object(_)
            | StorageError::OtherStore(_)
            | StorageError::Database(_)
            | StorageError::Migration(_)
            | StorageError::Io { .. }
            | StorageError::Setting(_)
            | StorageError::Held(_)
            | StorageError::Closed => Self::internal(&error),
        }
    }
}
