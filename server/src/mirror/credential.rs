//! The account at an upstream: where its secret comes from, and what is said when it is refused.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rreg_client::{Credential, Keychain};

use super::error::{Meaning, MirrorError};
use crate::config;

/// Shortest time between two warnings about one upstream: strangers can cause as many refusals as they like.
const PAUSE: Duration = Duration::from_secs(60);

/// Where the secret comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Configuration,
    PasswordFile,
    CredentialsFile,
    Nowhere,
}

pub(super) struct UpstreamCredential {
    source: Source,
    told_at: Mutex<Option<Instant>>,
}

impl UpstreamCredential {
    pub(super) fn new(config: &config::Upstream) -> Self {
        let source = match (&config.username, &config.password_file, &config.credentials_file) {
            (Some(_), Some(_), _) => Source::PasswordFile,
            (Some(_), None, _) => Source::Configuration,
            (None, _, Some(_)) => Source::CredentialsFile,
            (None, _, None) => Source::Nowhere,
        };
        Self { source, told_at: Mutex::default() }
    }

    /// What the client of the upstream asks for its credential.
    pub(super) fn keychain(&self, config: &config::Upstream) -> Keychain {
        let user = config.username.clone().unwrap_or_default();
        match (self.source, &config.password, &config.password_file, &config.credentials_file) {
            (Source::PasswordFile, _, Some(file), _) => Keychain::password_file(user, file.clone()),
            (Source::Configuration, Some(password), ..) => {
                Keychain::fixed(Credential::Password { user, password: password.expose().to_owned() })
            }
            (Source::CredentialsFile, .., Some(file)) => Keychain::from_files(vec![file.clone()]),
            _ => Keychain::empty(),
        }
    }

    /// Says in the log that the upstream refuses, and what whoever runs this registry can do.
    pub(super) fn tell(&self, upstream: &str, error: &MirrorError) {
        let next = match (error.meaning(), self.source) {
            (Some(Meaning::Refused), source) => source.next(),
            (Some(Meaning::Local), _) => {
                "what it names has to be readable for this server; no restart is needed"
            }
            _ => return,
        };
        let mut told_at = self.told_at.lock().unwrap_or_else(PoisonError::into_inner);
        if told_at.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        *told_at = Some(Instant::now());
        tracing::warn!(upstream, %error, next, "an upstream refuses what was asked for, or could not be asked");
    }
}

impl Source {
    /// What can be done about a refusal.
    fn next(self) -> &'static str {
        match self {
            Self::Configuration => {
                "if the credential has expired, change upstreams.password and restart, or use password_file, which is read again"
            }
            Self::PasswordFile => {
                "if the credential has expired, write the new one to upstreams.password_file; no restart is needed"
            }
            Self::CredentialsFile => {
                "if the credential has expired, log in again to upstreams.credentials_file, or look after its credential \
                 helper; no restart is needed"
            }
            Self::Nowhere => {
                "what is asked for is not there or not for everybody; if it is private, set username and password_file, or \
                 credentials_file, of the upstream"
            }
        }
    }
}
