//! An `AdmissionReview` of `admission.k8s.io/v1` as an API server sends it
//! (<https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#request>).
//!
//! Only what is judged is read. The objects stay text until their kind is known, so that whatever else they hold is
//! neither built in memory nor looked at.

use serde::Deserialize;
use serde_json::value::RawValue;

/// Largest review, in bytes. An API server takes objects of up to 3 MiB, and the review of an update holds the object
/// twice: as it was and as it is to be.
pub(crate) const MAX_BODY: usize = 8 << 20;
/// So much of a review is looked at for its `uid`, where it is too large.
const MAX_HEAD: usize = 4 << 10;
/// Longest `uid`; API servers send 36 bytes.
const MAX_UID: usize = 128;
/// Most of a parser's complaint that is told.
const MAX_WHY: usize = 300;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// Why a body is no review that can be answered. There is no `uid` to answer under then, so this becomes an HTTP error
/// and the webhook's `failurePolicy` decides.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReviewError {
    #[error("the review has more than {MAX_BODY} bytes, so the object is too large to be judged")]
    TooLarge,
    #[error("the body is no {KIND} that can be read: {0}")]
    Syntax(String),
    #[error(
        "this answers {KIND} of {API_VERSION}, not {kind:?} of {api_version:?}; set admissionReviewVersions: [v1] in \
         the webhook's configuration"
    )]
    Version { kind: String, api_version: String },
    #[error("the {KIND} has no request")]
    NoRequest,
    #[error("the request's uid is empty or longer than {MAX_UID} bytes")]
    Uid,
}

/// What an API server asks about.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request<'a> {
    /// To be repeated in the answer.
    pub(crate) uid: String,
    /// The kind of `object`.
    pub(crate) kind: Kind,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub(crate) operation: String,
    /// Where the object is.
    #[serde(default)]
    pub(crate) namespace: String,
    /// Its name; empty where the API server is to make one up.
    #[serde(default)]
    pub(crate) name: String,
    /// Who made the request of the API server.
    #[serde(default)]
    pub(crate) user_info: UserInfo,
    /// Whether it is only tried.
    #[serde(default)]
    pub(crate) dry_run: bool,
    /// As it is to be.
    #[serde(borrow, default)]
    pub(crate) object: Option<&'a RawValue>,
    /// As it was.
    #[serde(borrow, default)]
    pub(crate) old_object: Option<&'a RawValue>,
}

/// A user of the cluster.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct UserInfo {
    /// As the API server knows them.
    #[serde(default)]
    pub(crate) username: String,
}

/// Group, version and kind of an object.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Kind {
    #[serde(default)]
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(borrow, default)]
    request: Option<&'a RawValue>,
}

/// The `uid` of a review that cannot be read in whole: API servers write it before the objects.
pub(crate) fn uid_of(beginning: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(beginning.get(..MAX_HEAD).unwrap_or(beginning)).into_owned();
    let (_, request) = text.split_once("\"request\"")?;
    let (_, uid) = request.split_once("\"uid\"")?;
    let uid = uid.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    let (uid, _) = uid.split_once('"')?;
    let is_plain = uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (is_plain && !uid.is_empty() && uid.len() <= MAX_UID).then(|| uid.to_owned())
}

impl<'a> Request<'a> {
    /// Reads the body of a review.
    ///
    /// # Errors
    /// [`ReviewError`]: it cannot be answered.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, ReviewError> {
        if body.len() > MAX_BODY {
            return Err(ReviewError::TooLarge);
        }
        let review: Review<'a> = serde_json::from_slice(body).map_err(|error| syntax(&error))?;
        if review.api_version != API_VERSION || review.kind != KIND {
            let clip = |text: String| super::answer::clip(&text, MAX_WHY);
            return Err(ReviewError::Version {
                kind: clip(review.kind),
                api_version: clip(review.api_version),
            });
        }
        let request = review.request.ok_or(ReviewError::NoRequest)?;
        let request: Self = serde_json::from_str(request.get()).map_err(|error| syntax(&error))?;
        if request.uid.is_empty() || request.uid.len() > MAX_UID {
            return Err(ReviewError::Uid);
        }
        Ok(request)
    }
}

fn syntax(error: &serde_json::Error) -> ReviewError {
    ReviewError::Syntax(super::answer::clip(&error.to_string(), MAX_WHY))
}
