//! Exit codes, and which failure has which. The one place where they are decided.

use std::process::ExitCode;

use rreg_runtime::client::{AuthError, ClientError, ErrorClass, ErrorKind, RegistryError};
use rreg_runtime::image::ImageError;
use rreg_runtime::transfer::TransferError;
use rreg_storage::StorageError;

/// The codes, as `--help` shows them.
pub(crate) const HELP: &str = "Exit codes:
   0  done
   1  refused by the registry, not found, or the content is wrong (a digest does not match)
   2  could not reach the registry or could not find out
  64  wrong usage
  66  an input is missing or cannot be read
  70  internal error
  75  in use: a running server has the database
  77  not authenticated, or not allowed
  78  the server's configuration is invalid
 130  interrupted";

/// How a command ended. Numbers from 64 on are those of sysexits.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// The registry or the content says no.
    Refused = 1,
    /// Nothing is known.
    Unreachable = 2,
    /// The command line is wrong.
    Usage = 64,
    /// An input is missing.
    Input = 66,
    /// Our own fault.
    Internal = 70,
    /// Another process has what is needed; later it may go.
    Busy = 75,
    /// Not authenticated, or not allowed.
    Denied = 77,
    /// The server's configuration is invalid.
    Config = 78,
    /// By the user; 128 + SIGINT, as shells count.
    Interrupted = 130,
}

impl Exit {
    /// In one word, for programs.
    fn code(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Refused => "REFUSED",
            Self::Unreachable => "UNREACHABLE",
            Self::Usage => "USAGE",
            Self::Input => "INPUT",
            Self::Internal => "INTERNAL",
            Self::Busy => "BUSY",
            Self::Denied => "DENIED",
            Self::Config => "CONFIG",
            Self::Interrupted => "INTERRUPTED",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A failure, ready to be shown.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// What happened, where.
    pub(crate) message: String,
    /// What to do next.
    pub(crate) hint: Option<String>,
    /// The code that the registry gave.
    code: Option<String>,
    /// The HTTP status that the registry gave.
    status: Option<u16>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None, code: None, status: None }
    }

    /// For programs. The code is the registry's where it gave one.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let code = self.code.as_deref().unwrap_or_else(|| self.exit.code());
        serde_json::json!({
            "exit": self.exit as u8,
            "code": code,
            "status": self.status,
            "message": self.message,
            "hint": self.hint,
        })
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        let exit = match error {
            StorageError::UnknownRepository(_)
            | StorageError::UnknownBlob { .. }
            | StorageError::UnknownManifest { .. } => Exit::Refused,
            StorageError::Setting(_) => Exit::Config,
            StorageError::Held(_) => {
                return Self::new(Exit::Busy, error.to_string())
                    .hint("stop the server first; with PostgreSQL (database.url) this runs beside it");
            }
            _ => Exit::Unreachable,
        };
        Self::new(exit, error.to_string())
    }
}

/// Whether a registry's detail is a decision of policies. It is shortened text by now, so it is looked at as text.
fn is_decision(error: &RegistryError) -> bool {
    let has =
        |part| error.detail.as_ref().is_some_and(|detail| detail.starts_with('{') && detail.contains(part));
    error.code == "DENIED" && has("\"outcome\":") && has("\"policies\":[")
}

/// The point of a decision, as `--at` takes it.
fn point(decision: &str) -> Option<&'static str> {
    let points = ["promote", "pull", "admit", "run"];
    points.into_iter().find(|point| decision.contains(&format!("\"at\":\"{point}\"")))
}

/// A refusal by policies says what a person needs in its message; the decision beside it is for programs.
fn refused_by_policy(error: &mut ClientError) -> Option<String> {
    let ErrorKind::Status { status, errors, .. } = &mut *error.kind else { return None };
    if status.as_u16() != 403 || !errors.iter().any(is_decision) {
        return None;
    }
    let details =
        errors.iter_mut().filter(|error| is_decision(error)).filter_map(|error| error.detail.take());
    // A push is asked about before there is anything that can be explained; what comes after it can.
    let at =
        details.filter_map(|detail| point(&detail)).last().map_or(String::new(), |at| format!(" --at {at}"));
    let image = match &error.repository {
        Some(repository) => format!("{}/{repository}[:TAG][@DIGEST]", error.host),
        None => "IMAGE".to_owned(),
    };
    Some(format!("a policy of the registry refuses it; `rreg policy explain {image}{at}` tells more"))
}

impl From<ClientError> for Failure {
    fn from(mut error: ClientError) -> Self {
        let refused = refused_by_policy(&mut error);
        let exit = match (error.class(), &*error.kind) {
            (ErrorClass::Denied, _) => Exit::Denied,
            (ErrorClass::Unreachable, _) => Exit::Unreachable,
            (ErrorClass::NotFound | ErrorClass::Refused, _) => Exit::Refused,
            (ErrorClass::Local, ErrorKind::Setup(_)) => Exit::Usage,
            (ErrorClass::Local, _) => Exit::Input,
        };
        Self {
            exit,
            message: error.to_string(),
            hint: refused.or_else(|| error.hint()),
            code: error.code().map(str::to_owned),
            status: match &*error.kind {
                ErrorKind::Auth(AuthError::Refused { status, .. }) => Some(*status),
                _ => error.status().map(|status| status.as_u16()),
            },
        }
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        let exit = match error {
            ImageError::Missing { .. } | ImageError::Io { .. } => Exit::Input,
            ImageError::Invalid { .. } => Exit::Refused,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<TransferError> for Failure {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::Client(error) => error.into(),
            TransferError::Attached(error) => {
                let mut failure = Self::from(error);
                failure.message.insert_str(0, "what is attached to the image: ");
                let more = "--no-referrers leaves it out";
                failure.hint = Some(failure.hint.map_or(more.into(), |hint| format!("{hint}; {more}")));
                failure
            }
            TransferError::Image(error) => error.into(),
            TransferError::Interrupted(_) => Self::new(Exit::Input, error.to_string()),
            TransferError::Manifest { .. }
            | TransferError::NoPlatform { .. }
            | TransferError::TooManyManifests { .. }
            | TransferError::TooMuch { .. } => Self::new(Exit::Refused, error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_code() {
        let all = [
            Exit::Ok,
            Exit::Refused,
            Exit::Unreachable,
            Exit::Usage,
            Exit::Input,
            Exit::Internal,
            Exit::Busy,
            Exit::Denied,
            Exit::Config,
            Exit::Interrupted,
        ];
        let named: Vec<u8> =
            HELP.lines().skip(1).filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
        assert_eq!(named, all.map(|exit| exit as u8));
    }

    fn refused(status: u16, code: &str, detail: Option<&str>) -> Failure {
        let error = RegistryError {
            code: code.into(),
            message: "sha256:0 may not be pulled: policy \"prod\"".into(),
            detail: detail.map(Into::into),
        };
        let kind = ErrorKind::Status {
            status: reqwest::StatusCode::from_u16(status).unwrap(),
            errors: vec![error],
            retry_after: None,
        };
        ClientError {
            operation: "manifest_get",
            doing: "reading",
            part: Some(":1.0".into()),
            elsewhere: false,
            of_a_cache: false,
            address: None,
            host: "h:1".into(),
            repository: Some("team/app".parse().unwrap()),
            kind: Box::new(kind),
        }
        .into()
    }

    #[test]
    fn a_refusal_by_policy_is_told_without_the_decision() {
        // Cut off in the middle, as details of strangers are.
        let decision = r#"{"at":"pull","digest":"sha256:0","outcome":"deny","policies":[{"mode":"enf"#;
        let failure = refused(403, "DENIED", Some(decision));
        assert_eq!(failure.exit, Exit::Denied);
        assert!(failure.message.ends_with("may not be pulled: policy \"prod\""), "{}", failure.message);
        let hint = failure.hint.unwrap();
        assert!(hint.contains("`rreg policy explain h:1/team/app[:TAG][@DIGEST] --at pull`"), "{hint}");
        for (status, code, detail) in [
            (403, "DENIED", Some(r#"{"rule":"releases","outcome":"deny"}"#)),
            (403, "DENIED", None),
            (403, "OTHER", Some(decision)),
            (400, "DENIED", Some(decision)),
        ] {
            let failure = refused(status, code, detail);
            assert!(
                !failure.hint.as_deref().unwrap_or_default().contains("policy explain"),
                "{code} {detail:?}"
            );
            // What is no decision is told, in words.
            let told = ["rule releases", "outcome deny"];
            assert!(
                detail.is_none_or(|detail| {
                    detail == decision || told.iter().all(|told| failure.message.contains(told))
                }),
                "{}",
                failure.message
            );
            assert!(failure.message.starts_with("reading h:1/team/app:1.0: "), "{}", failure.message);
            assert!(!failure.message.contains(['{', '_']), "{}", failure.message);
            assert_eq!(failure.to_json()["code"], code);
            assert_eq!(failure.to_json()["status"], status);
        }
    }

    #[test]
    fn missing_inputs_and_wrong_hosts() {
        let missing = ImageError::Missing { path: "x".into() };
        assert_eq!(Failure::from(missing).exit, Exit::Input);
        let host = rreg_runtime::RegistryClient::new("a b", &rreg_runtime::ClientOptions::default());
        assert_eq!(host.err().map(|error| Failure::from(error).exit), Some(Exit::Usage));
    }
}
