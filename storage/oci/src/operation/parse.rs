//! From a request line to an operation.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode_str;

use super::{Operation, OperationError, Page, UploadStart};
use crate::digest::{Algorithm, Digest};
use crate::error_code::ErrorCode;
use crate::name::{NameError, Reference, RepositoryName, Tag};

/// Most `tag` parameters in one manifest push (the specification asks for at least 10).
const MAX_TAG_PARAMETERS: usize = 100;
/// Longest `last` or `artifactType` parameter, in bytes.
const MAX_TEXT_PARAMETER: usize = 512;

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
    Decision(&'a str),
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
            "decisions" => name.strip_suffix("/_rreg").map(|name| (name, Self::Decision(last))),
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
        // No repository's name begins with an underscore.
        if let Some(rest) = decoded.strip_prefix("_rreg/tag-rules") {
            return Self::tag_rule(method, rest);
        }
        if let Some(rest) = decoded.strip_prefix("_rreg/") {
            return Self::own(method, rest);
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
            Endpoint::Decision(text) => {
                read_only(method, Self::DecisionGet { repository, reference: reference(text)? })
            }
        }
    }

    /// What is about the registry as a whole.
    fn own(method: &str, rest: &str) -> Result<Self, OperationError> {
        let name = |text: &str| text.parse().map_err(|e| invalid(ErrorCode::NameInvalid, "name", text, e));
        match rest.split_once('/') {
            None => match rest {
                "policies" => read_only(method, Self::PolicyList),
                "policy-schema" => read_only(method, Self::PolicySchema),
                "trust" => read_only(method, Self::TrustList),
                "what-if" if method == "POST" => Ok(Self::WhatIf),
                "what-if" => Err(OperationError::Method { allow: "POST" }),
                _ => Err(OperationError::NotFound),
            },
            Some(("policies", text)) => match method {
                "GET" | "HEAD" => Ok(Self::PolicyGet { policy: name(text)? }),
                "PUT" => Ok(Self::PolicyPut { policy: name(text)? }),
                "DELETE" => Ok(Self::PolicyDelete { policy: name(text)? }),
                _ => Err(OperationError::Method { allow: "GET, HEAD, PUT, DELETE" }),
            },
            Some(("trust", text)) => match method {
                "PUT" => Ok(Self::TrustPut { trust: name(text)? }),
                "DELETE" => Ok(Self::TrustDelete { trust: name(text)? }),
                _ => Err(OperationError::Method { allow: "PUT, DELETE" }),
            },
            Some(_) => Err(OperationError::NotFound),
        }
    }

    fn tag_rule(method: &str, rest: &str) -> Result<Self, OperationError> {
        if rest.is_empty() {
            return read_only(method, Self::TagRuleList);
        }
        let name = rest.strip_prefix('/').ok_or(OperationError::NotFound)?;
        let rule = name.parse().map_err(|e| invalid(ErrorCode::NameInvalid, "rule name", name, e))?;
        match method {
            "PUT" => Ok(Self::TagRulePut { rule }),
            "DELETE" => Ok(Self::TagRuleDelete { rule }),
            _ => Err(OperationError::Method { allow: "PUT, DELETE" }),
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
}

fn read_only(method: &str, operation: Operation) -> Result<Operation, OperationError> {
    match method {
        "GET" | "HEAD" => Ok(operation),
        _ => Err(OperationError::Method { allow: "GET, HEAD" }),
    }
}
