//! What can go wrong between us and a registry, said so that a person knows what to do next.

use std::fmt;
use std::time::Duration;

use reqwest::StatusCode;
use rreg_oci::{Digest, Operation, RepositoryName};

use super::auth::AuthError;
use super::credentials::CredentialError;
use super::words;

/// One entry of a registry's error body (distribution-spec, "Error Codes"). Text of a stranger: shortened and
/// without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryError {
    /// The code, for example `MANIFEST_UNKNOWN`.
    pub code: String,
    /// The registry's explanation.
    pub message: String,
    /// The registry's detail, as JSON text.
    pub detail: Option<String>,
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        let detail = self.detail.as_deref().and_then(words::detail);
        detail.map_or(Ok(()), |detail| write!(f, " ({detail})"))
    }
}

/// The failure of one operation at one registry.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}: {kind}{}", self.place(), self.tried())]
pub struct ClientError {
    /// Which request, in the words of [`Operation::name`].
    pub operation: &'static str,
    /// The registry, as the user wrote it.
    pub host: String,
    /// The repository, if the request was about one.
    pub repository: Option<RepositoryName>,
    /// What was being done, so that the place can follow.
    pub doing: &'static str,
    /// What in the repository it was about, `:tag` or `@digest`.
    pub part: Option<String>,
    /// The address that was asked, scheme and host; unknown where nothing was.
    pub address: Option<String>,
    /// Whether it happened at another server, where a redirect of the registry led.
    pub elsewhere: bool,
    /// Whether a cache said so that could not ask its upstream (RFC 7234, 5.5: warnings 111 and 112).
    pub of_a_cache: bool,
    /// What happened.
    #[source]
    pub kind: Box<ErrorKind>,
}

/// What happened to a request.
#[derive(Debug, thiserror::Error)]
pub enum ErrorKind {
    /// The registry refused, in its own words.
    #[error("{status}{}", shown(errors))]
    Status {
        /// The HTTP status.
        status: StatusCode,
        /// The registry's error body, empty when it had none that the specification knows.
        errors: Vec<RegistryError>,
        /// When the registry asks to be tried again, if it does.
        retry_after: Option<Duration>,
    },
    /// No connection, or it broke.
    #[error("cannot talk to the registry: {0}")]
    Transport(String),
    /// The registry's certificate is not trusted.
    #[error("the registry's certificate is not trusted: {0}")]
    Certificate(String),
    /// Nothing happened for too long.
    #[error("the registry did nothing for {0} seconds")]
    Timeout(u64),
    /// Bytes come, but hardly any.
    #[error("the registry sent {received} bytes in {seconds} seconds, fewer than {least} a second")]
    TooSlow {
        /// Bytes received.
        received: u64,
        /// In so many seconds.
        seconds: u64,
        /// The least rate, in bytes a second.
        least: u64,
    },
    /// The content is not what its digest says.
    #[error("content mismatch: expected {expected}, received {found}")]
    Digest {
        /// What was asked for.
        expected: Digest,
        /// What the bytes hash to, or what the registry says they are.
        found: Digest,
    },
    /// The content is not as long as its descriptor says.
    #[error("length mismatch: expected {expected} bytes, received {found}")]
    Length {
        /// What was asked for.
        expected: u64,
        /// What came. One more than expected stands for "more".
        found: u64,
    },
    /// Longer than this client accepts.
    #[error("the {what} is larger than the limit of {limit} bytes")]
    TooLarge {
        /// Which part of the answer.
        what: &'static str,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The answer breaks the specification.
    #[error("the registry's answer is not one of the distribution specification: {0}")]
    Protocol(String),
    /// A redirect that must not be followed.
    #[error("redirect refused: {0}")]
    Redirect(String),
    /// Authentication could not be done.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// Credentials could not be read.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// What should have been sent could not be read.
    #[error("cannot read the content to send: {0}")]
    Source(String),
    /// The client cannot be built as asked.
    #[error("{0}")]
    Setup(String),
}

fn shown(errors: &[RegistryError]) -> String {
    errors.iter().take(5).map(|e| format!("; {e}")).collect()
}

/// What a failure means to a caller, whatever its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The registry does not have it.
    NotFound,
    /// Not authenticated, or not allowed.
    Denied,
    /// Refused, or the content is wrong.
    Refused,
    /// Could not be reached or answered nonsense: nothing is known.
    Unreachable,
    /// The trouble is on this side: files, credentials, settings.
    Local,
}

impl ClientError {
    pub(crate) fn new(operation: &Operation, host: &str, kind: ErrorKind) -> Self {
        Self {
            operation: operation.name(),
            host: host.to_owned(),
            repository: operation.repository().cloned(),
            doing: words::doing(operation),
            part: words::part(operation),
            address: None,
            elsewhere: false,
            of_a_cache: false,
            kind: Box::new(kind),
        }
    }

    /// The same, with the address that was asked.
    pub(crate) fn at(mut self, address: &str) -> Self {
        self.address = Some(address.trim_end_matches('/').to_owned());
        self
    }

    /// The registry, repository or image that it was about.
    pub fn place(&self) -> String {
        let repository = self.repository.as_ref().map(|repository| format!("/{repository}"));
        let part = self.part.as_deref().unwrap_or_default();
        format!("{}{}{part}", self.host, repository.unwrap_or_default())
    }

    /// The address, where nobody answered there as a registry does.
    fn tried(&self) -> String {
        let unanswered = matches!(
            &*self.kind,
            ErrorKind::Transport(_) | ErrorKind::Certificate(_) | ErrorKind::Timeout(_)
        );
        let address = self.address.as_deref().filter(|_| unanswered);
        address.map_or_else(String::new, |address| format!(" (tried {address})"))
    }

    /// The registry's own code for what is wrong, if it gave one.
    pub fn code(&self) -> Option<&str> {
        match &*self.kind {
            ErrorKind::Status { errors, .. } => {
                errors.iter().map(|error| error.code.as_str()).find(|code| !code.is_empty())
            }
            _ => None,
        }
    }

    /// The HTTP status, when the registry answered with an error.
    pub fn status(&self) -> Option<StatusCode> {
        match *self.kind {
            ErrorKind::Status { status, .. } => Some(status),
            _ => None,
        }
    }

    /// How long the registry, or its token service, asks to be left alone, if it does.
    pub fn retry_after(&self) -> Option<Duration> {
        match *self.kind {
            ErrorKind::Status { retry_after, .. }
            | ErrorKind::Auth(AuthError::Refused { retry_after, .. }) => retry_after,
            _ => None,
        }
    }

    /// Whether what came is longer than what this client was to read.
    pub fn is_too_large(&self) -> bool {
        matches!(&*self.kind, ErrorKind::TooLarge { .. })
    }

    /// Whether the registry says that it does not have this.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND)
    }

    /// Whether the registry says in its own words that there is no such manifest or repository: a 404 of whatever else may
    /// stand in the way says nothing.
    pub fn says_unknown(&self) -> bool {
        match &*self.kind {
            ErrorKind::Status { status: StatusCode::NOT_FOUND, errors, .. } => {
                errors.iter().any(|error| matches!(error.code.as_str(), "MANIFEST_UNKNOWN" | "NAME_UNKNOWN"))
            }
            _ => false,
        }
    }

    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match &*self.kind {
            ErrorKind::Status { status, .. } => match *status {
                StatusCode::NOT_FOUND => ErrorClass::NotFound,
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorClass::Denied,
                StatusCode::TOO_MANY_REQUESTS => ErrorClass::Unreachable,
                status if status.is_server_error() => ErrorClass::Unreachable,
                _ => ErrorClass::Refused,
            },
            ErrorKind::Transport(_)
            | ErrorKind::Certificate(_)
            | ErrorKind::Timeout(_)
            | ErrorKind::TooSlow { .. }
            | ErrorKind::Protocol(_) => ErrorClass::Unreachable,
            ErrorKind::Digest { .. }
            | ErrorKind::Length { .. }
            | ErrorKind::TooLarge { .. }
            | ErrorKind::Redirect(_) => ErrorClass::Refused,
            ErrorKind::Auth(error) if error.is_denial() => ErrorClass::Denied,
            ErrorKind::Auth(_) => ErrorClass::Unreachable,
            ErrorKind::Credentials(_) | ErrorKind::Source(_) | ErrorKind::Setup(_) => ErrorClass::Local,
        }
    }

    /// What to do next, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        let host = &self.host;
        Some(match &*self.kind {
            ErrorKind::Status { status: StatusCode::UNAUTHORIZED, .. } => {
                format!("log in first: `rreg login {host}`")
            }
            // It is not about who asks.
            ErrorKind::Status { status: StatusCode::FORBIDDEN, .. } if self.code() == Some("UNSUPPORTED") => {
                return None;
            }
            ErrorKind::Status { status: StatusCode::FORBIDDEN, .. } => {
                "this account may not do that; ask the registry's administrator or use another account".into()
            }
            ErrorKind::Status { status: StatusCode::NOT_FOUND, .. } => match &self.repository {
                Some(repository) => {
                    let whole = self.operation == "tag_list" || self.code() == Some("NAME_UNKNOWN");
                    let there = if whole { host.clone() } else { format!("{host}/{repository}") };
                    format!("see what is there with `rreg ls {there}`; private content may also look like this")
                }
                // A registry says by a code of its own that it has no such thing.
                None if self.code().is_some() => return None,
                None => format!("is {host} a registry? its /v2/ endpoint does not answer like one"),
            },
            ErrorKind::Status { status: StatusCode::METHOD_NOT_ALLOWED, .. } => {
                "the registry has this operation switched off".into()
            }
            ErrorKind::Status { status: StatusCode::TOO_MANY_REQUESTS, .. } => "try again later".into(),
            ErrorKind::Certificate(text) if text.contains("CaUsedAsEndEntity") => {
                "the server shows a CA certificate as its own; make one with CA:FALSE, signed by that CA, and give the CA with --ca-file".into()
            }
            ErrorKind::Certificate(_) => {
                "give the registry's CA with --ca-file".into()
            }
            ErrorKind::Transport(text) => self.unreachable(text),
            ErrorKind::Status { status: StatusCode::BAD_REQUEST, errors, .. }
                if errors.is_empty() && self.is_plain() =>
            {
                format!("if the registry speaks TLS, write https://{host}")
            }
            ErrorKind::Digest { .. } | ErrorKind::Length { .. } => {
                "the registry's copy, or something on the way, is damaged; nothing was kept".into()
            }
            ErrorKind::Auth(error) => return error.hint(),
            _ => return None,
        })
    }

    /// Whether http was spoken.
    fn is_plain(&self) -> bool {
        self.address.as_deref().is_some_and(|address| address.starts_with("http://"))
    }

    /// What to do where nobody answered: what was tried decides it.
    fn unreachable(&self, text: &str) -> String {
        let host = &self.host;
        let nobody = text.contains("refused") || text.contains("dns error") || text.contains("unreachable");
        match &self.address {
            _ if nobody => format!("check that {host} is right and that a registry runs there"),
            Some(_) if self.is_plain() => format!("if the registry speaks TLS, write https://{host}"),
            // What rustls says of an answer that is not TLS.
            Some(_) if text.contains("InvalidContentType") => {
                format!(
                    "what answers there does not speak TLS; to speak http without it, write http://{host}"
                )
            }
            _ => format!("check that {host} is right and reachable"),
        }
    }
}
