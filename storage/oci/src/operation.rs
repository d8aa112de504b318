//! Every request of the distribution specification as one enum. The URL grammar is spelled here once, for the
//! router ([`Operation::parse`]) and for our own client ([`Operation::render`]).

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::str::FromStr;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::digest::{Algorithm, Digest};
use crate::error_code::ErrorCode;
use crate::name::{NameError, Reference, RepositoryName, Tag};

/// Most `tag` parameters in one manifest push (the specification asks for at least 10).
const MAX_TAG_PARAMETERS: usize = 100;
/// Longest `last` or `artifactType` parameter, in bytes.
const MAX_TEXT_PARAMETER: usize = 512;
/// What may not stand bare in a query value. `+` is escaped because some readers take it for a space.
const QUERY: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'&').add(b'+').add(b'<').add(b'>');

/// An upload session's identifier.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct UploadId(uuid::Uuid);

impl UploadId {
    /// A fresh, unguessable identifier.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4())
    }
}

impl FromStr for UploadId {
    type Err = uuid::Error;

    fn from_str(s: &str) -> Result<Self, uuid::Error> {
        uuid::Uuid::try_parse(s).map(Self)
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.hyphenated(), f)
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which part of a sorted list is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// At most so many entries; `Some(0)` asks for an empty list.
    pub n: Option<u64>,
    /// Only entries sorted after this one.
    pub last: Option<String>,
}

/// The three things that `POST /blobs/uploads/` can mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadStart {
    /// Open a session.
    Session {
        /// What the content will be hashed with.
        algorithm: Algorithm,
    },
    /// The whole blob is in this request.
    Monolithic {
        /// Its digest.
        digest: Digest,
    },
    /// Take the blob from another repository, or open a session if that cannot be done.
    Mount {
        /// The blob.
        digest: Digest,
        /// Where from; `None` lets the registry look.
        from: Option<RepositoryName>,
    },
}

/// One request of the API, parsed and valid. Repository names, references and digests are in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "the fields are the path and query parameters of the endpoint that the variant names"
)]
pub enum Operation {
    /// end-1 `GET /v2/`
    Ping,
    /// `GET /v2/_catalog`
    Catalog { page: Page },
    /// end-8 `GET /v2/<name>/tags/list`
    TagList { repository: RepositoryName, page: Page },
    /// end-12 `GET /v2/<name>/referrers/<digest>`
    Referrers { repository: RepositoryName, subject: Digest, artifact_type: Option<String>, page: Page },
    /// end-3 `GET /v2/<name>/manifests/<reference>`
    ManifestGet { repository: RepositoryName, reference: Reference },
    /// end-3 `HEAD /v2/<name>/manifests/<reference>`
    ManifestHead { repository: RepositoryName, reference: Reference },
    /// end-7 `PUT /v2/<name>/manifests/<reference>`
    ManifestPut { repository: RepositoryName, reference: Reference, tags: Vec<Tag> },
    /// end-9 `DELETE /v2/<name>/manifests/<reference>`
    ManifestDelete { repository: RepositoryName, reference: Reference },
    /// end-2 `GET /v2/<name>/blobs/<digest>`
    BlobGet { repository: RepositoryName, digest: Digest },
    /// end-2 `HEAD /v2/<name>/blobs/<digest>`
    BlobHead { repository: RepositoryName, digest: Digest },
    /// end-10 `DELETE /v2/<name>/blobs/<digest>`
    BlobDelete { repository: RepositoryName, digest: Digest },
    /// end-4, end-11 `POST /v2/<name>/blobs/uploads/`
    UploadStart { repository: RepositoryName, start: UploadStart },
    /// end-5 `PATCH <location>`
    UploadChunk { repository: RepositoryName, upload: UploadId },
    /// end-6 `PUT <location>?digest=`
    UploadCommit { repository: RepositoryName, upload: UploadId, digest: Digest },
    /// end-13 `GET <location>`
    UploadStatus { repository: RepositoryName, upload: UploadId },
    /// end-14 `DELETE <location>`
    UploadCancel { repository: RepositoryName, upload: UploadId },
}

/// Why a request is no operation.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// No endpoint has this path.
    #[error("no endpoint of the distribution API has this path")]
    NotFound,
    /// The endpoint exists, the method is not for it.
    #[error("this endpoint takes {allow}")]
    Method {
        /// Value of the `Allow` header.
        allow: &'static str,
    },
    /// A part of path or query is invalid.
    #[error("{message}")]
    Invalid {
        /// The specification's code.
        code: ErrorCode,
        /// What is wrong with it.
        message: String,
    },
}

fn invalid(code: ErrorCode, what: &str, text: &str, why: impl fmt::Display) -> OperationError {
    let shown: String = text.chars().take(120).collect();
    OperationError::Invalid { code, message: format!("{what} {shown:?}: {why}") }
}

fn repository(text: &str) -> Result<RepositoryName, OperationError> {
    text.parse().map_err(|e| invalid(ErrorCode::NameInvalid, "repository name", text, e))
}

fn digest(text: &str) -> Result<Digest, OperationError> {
    text.parse().map_err(|e| invalid(ErrorCode::DigestInvalid, "digest", text, e))
}

fn tag(text: &str) -> Result<Tag, OperationError> {
    text.parse().map_err(|e| invalid(ErrorCode::NameInvalid, "tag", text, e))
}

fn reference(text: &str) -> Result<Reference, OperationError> {
    text.parse().map_err(|e| {
        let code =
            if matches!(e, NameError::Digest(_)) { ErrorCode::DigestInvalid } else { ErrorCode::NameInvalid };
        invalid(code, "reference", text, e)
    })
}

/// The query's parameters, percent-decoded. `+` stays a plus: media types have them, spaces occur nowhere.
struct Query<'a>(Vec<(&'a str, Cow<'a, str>)>);

impl<'a> Query<'a> {
    fn parse(query: Option<&'a str>) -> Result<Self, OperationError> {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(value)
                .decode_utf8()
                .map_err(|e| invalid(ErrorCode::Unsupported, "query parameter", key, e))?;
            Ok((key, value))
        });
        Ok(Self(pairs.collect::<Result<_, _>>()?))
    }

    fn all<'q>(&'q self, key: &'static str) -> impl Iterator<Item = &'q str> {
        self.0.iter().filter(move |(k, _)| *k == key).map(|(_, v)| v.as_ref())
    }

    /// The one value of `key`. Twice the same parameter is an error: two readers could choose differently.
    fn one(&self, key: &'static str) -> Result<Option<&str>, OperationError> {
        let mut values = self.all(key);
        let first = values.next();
        match values.next() {
            Some(second) => {
                Err(invalid(ErrorCode::Unsupported, "query parameter", second, "given more than once"))
            }
            None => Ok(first),
        }
    }

    fn text(&self, key: &'static str) -> Result<Option<String>, OperationError> {
        match self.one(key)? {
            Some(v) if v.len() > MAX_TEXT_PARAMETER => Err(invalid(
                ErrorCode::Unsupported,
                key,
                v,
                format_args!("longer than {MAX_TEXT_PARAMETER} bytes"),
            )),
            // PostgreSQL's text has no NUL, and no name or media type has any control character.
            Some(v) if v.contains(char::is_control) => {
                Err(invalid(ErrorCode::Unsupported, key, v, "control characters are not allowed"))
            }
            value => Ok(value.filter(|v| !v.is_empty()).map(str::to_owned)),
        }
    }

    fn page(&self) -> Result<Page, OperationError> {
        let n = self
            .one("n")?
            .map(|n| {
                n.parse::<u32>()
                    .map(u64::from)
                    .map_err(|_| invalid(ErrorCode::Unsupported, "n", n, "a number of entries, 0 or more"))
            })
            .transpose()?;
        Ok(Page { n, last: self.text("last")? })
    }
}

/// The tail of a path, without the repository.
enum Endpoint<'a> {
    Tags,
    Referrers(&'a str),
    Manifest(&'a str),
    Blob(&'a str),
    Uploads,
    Upload(&'a str),
}

impl<'a> Endpoint<'a> {
    /// Splits `<name>/…`, reading from the end because a name may contain `manifests` or `blobs`.
    fn split(path: &'a str) -> Option<(&'a str, Self)> {
        if let Some(name) = path.strip_suffix("/tags/list") {
            return Some((name, Self::Tags));
        }
        if let Some(name) =
            path.strip_suffix("/blobs/uploads/").or_else(|| path.strip_suffix("/blobs/uploads"))
        {
            return Some((name, Self::Uploads));
        }
        let (rest, last) = path.rsplit_once('/')?;
        let (name, kind) = rest.rsplit_once('/')?;
        match kind {
            "manifests" => Some((name, Self::Manifest(last))),
            "blobs" => Some((name, Self::Blob(last))),
            "referrers" => Some((name, Self::Referrers(last))),
            "uploads" => name.strip_suffix("/blobs").map(|name| (name, Self::Upload(last))),
            _ => None,
        }
    }
}

impl Operation {
    /// Reads a request line. `path` and `query` are as on the wire, still percent-encoded.
    ///
    /// # Errors
    /// [`OperationError`]: no such endpoint, not its method, or an invalid part.
    pub fn parse(method: &str, path: &str, query: Option<&str>) -> Result<Self, OperationError> {
        let rest = match path.strip_prefix("/v2") {
            Some("" | "/") => return read_only(method, Self::Ping),
            Some(rest) => rest.strip_prefix('/').ok_or(OperationError::NotFound)?,
            None => return Err(OperationError::NotFound),
        };
        // An encoded slash must not move the border between name and endpoint: names never contain one.
        let decoded = percent_decode_str(rest).decode_utf8().map_err(|_| OperationError::NotFound)?;
        if decoded.matches('/').count() != rest.matches('/').count() {
            return Err(OperationError::NotFound);
        }
        let query = Query::parse(query)?;
        if decoded == "_catalog" {
            return read_only(method, Self::Catalog { page: query.page()? });
        }
        let (name, endpoint) = Endpoint::split(&decoded).ok_or(OperationError::NotFound)?;
        let repository = repository(name)?;
        match endpoint {
            Endpoint::Tags => read_only(method, Self::TagList { repository, page: query.page()? }),
            Endpoint::Referrers(subject) => read_only(
                method,
                Self::Referrers {
                    repository,
                    subject: digest(subject)?,
                    artifact_type: query.text("artifactType")?,
                    page: query.page()?,
                },
            ),
            Endpoint::Manifest(text) => Self::manifest(method, repository, reference(text)?, &query),
            Endpoint::Blob(text) => Self::blob(method, repository, digest(text)?),
            Endpoint::Uploads if method == "POST" => {
                Ok(Self::UploadStart { repository, start: Self::upload_start(&query)? })
            }
            Endpoint::Uploads => Err(OperationError::Method { allow: "POST" }),
            Endpoint::Upload(id) => Self::upload(method, repository, id, &query),
        }
    }

    fn manifest(
        method: &str,
        repository: RepositoryName,
        reference: Reference,
        query: &Query<'_>,
    ) -> Result<Self, OperationError> {
        match method {
            "GET" => Ok(Self::ManifestGet { repository, reference }),
            "HEAD" => Ok(Self::ManifestHead { repository, reference }),
            "DELETE" => Ok(Self::ManifestDelete { repository, reference }),
            "PUT" => {
                let tags: Vec<Tag> = query.all("tag").map(tag).collect::<Result<_, _>>()?;
                if tags.len() > MAX_TAG_PARAMETERS {
                    let why = format_args!("more than {MAX_TAG_PARAMETERS} tag parameters");
                    return Err(invalid(ErrorCode::Unsupported, "tag", &tags.len().to_string(), why));
                }
                if !tags.is_empty() && reference.digest().is_none() {
                    let why = "tag parameters go with a push by digest";
                    return Err(invalid(ErrorCode::Unsupported, "reference", &reference.to_string(), why));
                }
                Ok(Self::ManifestPut { repository, reference, tags })
            }
            _ => Err(OperationError::Method { allow: "GET, HEAD, PUT, DELETE" }),
        }
    }

    fn blob(method: &str, repository: RepositoryName, digest: Digest) -> Result<Self, OperationError> {
        match method {
            "GET" => Ok(Self::BlobGet { repository, digest }),
            "HEAD" => Ok(Self::BlobHead { repository, digest }),
            "DELETE" => Ok(Self::BlobDelete { repository, digest }),
            _ => Err(OperationError::Method { allow: "GET, HEAD, DELETE" }),
        }
    }

    fn upload_start(query: &Query<'_>) -> Result<UploadStart, OperationError> {
        if let Some(mount) = query.one("mount")? {
            let from = query.one("from")?.filter(|f| !f.is_empty()).map(repository).transpose()?;
            return Ok(UploadStart::Mount { digest: digest(mount)?, from });
        }
        if let Some(text) = query.one("digest")? {
            return Ok(UploadStart::Monolithic { digest: digest(text)? });
        }
        let algorithm = query.one("digest-algorithm")?.map_or(Ok(Algorithm::Sha256), |text| {
            text.parse().map_err(|e| invalid(ErrorCode::DigestInvalid, "digest-algorithm", text, e))
        })?;
        Ok(UploadStart::Session { algorithm })
    }

    fn upload(
        method: &str,
        repository: RepositoryName,
        id: &str,
        query: &Query<'_>,
    ) -> Result<Self, OperationError> {
        let upload = id.parse().map_err(|_| {
            invalid(ErrorCode::BlobUploadUnknown, "upload", id, "not an upload session of this registry")
        })?;
        match method {
            "PATCH" => Ok(Self::UploadChunk { repository, upload }),
            "GET" | "HEAD" => Ok(Self::UploadStatus { repository, upload }),
            "DELETE" => Ok(Self::UploadCancel { repository, upload }),
            "PUT" => {
                let text = query.one("digest")?.unwrap_or_default();
                Ok(Self::UploadCommit { repository, upload, digest: digest(text)? })
            }
            _ => Err(OperationError::Method { allow: "GET, PATCH, PUT, DELETE" }),
        }
    }

    /// The request line that [`Operation::parse`] reads back to an equal value: method, then path and query.
    pub fn render(&self) -> (&'static str, String) {
        match self {
            Self::Ping => ("GET", "/v2/".into()),
            Self::Catalog { page } => ("GET", with_page("/v2/_catalog".into(), page)),
            Self::TagList { repository, page } => {
                ("GET", with_page(format!("/v2/{repository}/tags/list"), page))
            }
            Self::Referrers { repository, subject, artifact_type, page } => {
                let path = format!("/v2/{repository}/referrers/{subject}");
                ("GET", with_page(with(path, "artifactType", artifact_type.as_deref()), page))
            }
            Self::ManifestGet { repository, reference } => ("GET", manifest_path(repository, reference)),
            Self::ManifestHead { repository, reference } => ("HEAD", manifest_path(repository, reference)),
            Self::ManifestDelete { repository, reference } => {
                ("DELETE", manifest_path(repository, reference))
            }
            Self::ManifestPut { repository, reference, tags } => {
                let path = manifest_path(repository, reference);
                ("PUT", tags.iter().fold(path, |path, tag| with(path, "tag", Some(tag.as_str()))))
            }
            Self::BlobGet { repository, digest } => ("GET", blob_path(repository, digest)),
            Self::BlobHead { repository, digest } => ("HEAD", blob_path(repository, digest)),
            Self::BlobDelete { repository, digest } => ("DELETE", blob_path(repository, digest)),
            Self::UploadStart { repository, start } => ("POST", upload_start_path(repository, start)),
            Self::UploadChunk { repository, upload } => ("PATCH", upload_path(repository, upload)),
            Self::UploadCommit { repository, upload, digest } => {
                ("PUT", with(upload_path(repository, upload), "digest", Some(&digest.to_string())))
            }
            Self::UploadStatus { repository, upload } => ("GET", upload_path(repository, upload)),
            Self::UploadCancel { repository, upload } => ("DELETE", upload_path(repository, upload)),
        }
    }

    /// The repository that the operation is about, if it is about one.
    pub fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Ping | Self::Catalog { .. } => None,
            Self::TagList { repository, .. }
            | Self::Referrers { repository, .. }
            | Self::ManifestGet { repository, .. }
            | Self::ManifestHead { repository, .. }
            | Self::ManifestPut { repository, .. }
            | Self::ManifestDelete { repository, .. }
            | Self::BlobGet { repository, .. }
            | Self::BlobHead { repository, .. }
            | Self::BlobDelete { repository, .. }
            | Self::UploadStart { repository, .. }
            | Self::UploadChunk { repository, .. }
            | Self::UploadCommit { repository, .. }
            | Self::UploadStatus { repository, .. }
            | Self::UploadCancel { repository, .. } => Some(repository),
        }
    }

    /// All names that [`Operation::name`] gives, in the order of [`Operation::index`].
    pub const NAMES: [&'static str; 16] = [
        "ping",
        "catalog",
        "tag_list",
        "referrers",
        "manifest_get",
        "manifest_head",
        "manifest_put",
        "manifest_delete",
        "blob_get",
        "blob_head",
        "blob_delete",
        "upload_start",
        "upload_chunk",
        "upload_commit",
        "upload_status",
        "upload_cancel",
    ];

    /// Place of the variant in [`Operation::NAMES`]: a bounded label for metrics.
    pub fn index(&self) -> usize {
        match self {
            Self::Ping => 0,
            Self::Catalog { .. } => 1,
            Self::TagList { .. } => 2,
            Self::Referrers { .. } => 3,
            Self::ManifestGet { .. } => 4,
            Self::ManifestHead { .. } => 5,
            Self::ManifestPut { .. } => 6,
            Self::ManifestDelete { .. } => 7,
            Self::BlobGet { .. } => 8,
            Self::BlobHead { .. } => 9,
            Self::BlobDelete { .. } => 10,
            Self::UploadStart { .. } => 11,
            Self::UploadChunk { .. } => 12,
            Self::UploadCommit { .. } => 13,
            Self::UploadStatus { .. } => 14,
            Self::UploadCancel { .. } => 15,
        }
    }

    /// The operation's name in logs, metrics and audit.
    pub fn name(&self) -> &'static str {
        Self::NAMES[self.index()]
    }
}

fn read_only(method: &str, operation: Operation) -> Result<Operation, OperationError> {
    match method {
        "GET" | "HEAD" => Ok(operation),
        _ => Err(OperationError::Method { allow: "GET, HEAD" }),
    }
}

fn manifest_path(repository: &RepositoryName, reference: &Reference) -> String {
    format!("/v2/{repository}/manifests/{reference}")
}

fn blob_path(repository: &RepositoryName, digest: &Digest) -> String {
    format!("/v2/{repository}/blobs/{digest}")
}

fn upload_path(repository: &RepositoryName, upload: &UploadId) -> String {
    format!("/v2/{repository}/blobs/uploads/{upload}")
}

fn upload_start_path(repository: &RepositoryName, start: &UploadStart) -> String {
    let path = format!("/v2/{repository}/blobs/uploads/");
    match start {
        UploadStart::Session { algorithm: Algorithm::Sha256 } => path,
        UploadStart::Session { algorithm } => with(path, "digest-algorithm", Some(algorithm.as_str())),
        UploadStart::Monolithic { digest } => with(path, "digest", Some(&digest.to_string())),
        UploadStart::Mount { digest, from } => {
            let path = with(path, "mount", Some(&digest.to_string()));
            with(path, "from", from.as_ref().map(RepositoryName::as_str))
        }
    }
}

fn with(mut path: String, key: &str, value: Option<&str>) -> String {
    if let Some(value) = value {
        let separator = if path.contains('?') { '&' } else { '?' };
        // Writing into a String cannot fail.
        let _ = write!(path, "{separator}{key}={}", utf8_percent_encode(value, QUERY));
    }
    path
}

fn with_page(path: String, page: &Page) -> String {
    let n = page.n.map(|n| n.to_string());
    with(with(path, "n", n.as_deref()), "last", page.last.as_deref())
}

#[cfg(test)]
#[path = "operation_tests.rs"]
mod tests;
