//! What the commands for users, robots and organisations share: the database, secrets, and a row in the audit trail for
//! each change. They work beside a running server, which learns of a change within 30 seconds.

use std::io::Read as _;

use rreg_auth::{ApiToken, Htpasswd, OrganisationName, PrincipalName, hash_password};
use rreg_server::Made;
use rreg_storage::{AuditEvent, MetadataStore, NewCredential};

use super::config::{Existing, Place};
use crate::exit::{Exit, Failure};

/// Longest password read from standard input, in bytes.
const MAX_INPUT: u64 = 4096;

/// The database of a configuration.
pub(super) struct Accounts {
    pub(super) config: Existing,
    pub(super) metadata: MetadataStore,
    pub(super) htpasswd: Htpasswd,
}

impl From<rreg_auth::NameError> for Failure {
    fn from(error: rreg_auth::NameError) -> Self {
        Self::new(Exit::Usage, error.to_string())
    }
}

impl Accounts {
    pub(super) async fn open(place: &Place) -> Result<Self, Failure> {
        let config = place.existing(Made::Rows).await?;
        let htpasswd = rreg_server::read_htpasswd(&config)?;
        let metadata = rreg_server::open_metadata(&config).await?;
        Ok(Self { config, metadata, htpasswd })
    }

    /// What a change leaves in the audit trail.
    pub(super) fn event(&self, event: &str, target: impl Into<String>) -> AuditEvent {
        let mut done = AuditEvent::new(event, "allowed", "command line");
        done.actor = operator();
        done.target = Some(target.into());
        done
    }

    /// Ends the command.
    pub(super) async fn close(self) {
        self.metadata.close().await;
    }

    /// Whether there is an account of this name.
    pub(super) async fn exists(&self, name: &PrincipalName) -> Result<bool, Failure> {
        Ok(self.htpasswd.contains(name) || self.metadata.principal(name.as_str()).await?.is_some())
    }
}

/// Who is at this machine's command line: by name where the environment has one, else by number.
fn operator() -> String {
    let name = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let number = || format!("uid {}", rustix::process::getuid().as_raw());
    format!("operator:{}", name.unwrap_or_else(number))
}

pub(super) fn principal(text: &str) -> Result<PrincipalName, Failure> {
    Ok(text.parse()?)
}

pub(super) fn organisation(text: &str) -> Result<OrganisationName, Failure> {
    Ok(text.parse()?)
}

pub(super) fn unknown(kind: &str, name: &str) -> Failure {
    Failure::new(Exit::Refused, format!("there is no {kind} {name}"))
}

/// A password: from standard input, or a fresh one that is to be shown.
pub(super) struct Password {
    pub(super) credential: NewCredential,
    pub(super) shown: Option<String>,
}

impl Password {
    pub(super) fn new(from_stdin: bool) -> Result<Self, Failure> {
        let (text, fresh) = if from_stdin { (read_password()?, false) } else { (random_password(), true) };
        let secret = hash_password(&text, rand::random())
            .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
        let credential = NewCredential { kind: "password", secret, expires_at: None };
        Ok(Self { credential, shown: fresh.then_some(text) })
    }
}

fn read_password() -> Result<String, Failure> {
    let mut text = String::new();
    let failed = |e| Failure::new(Exit::Input, format!("cannot read the password from standard input: {e}"));
    std::io::stdin().take(MAX_INPUT).read_to_string(&mut text).map_err(failed)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// 128 random bits in letters and digits that are not mistaken for each other.
fn random_password() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";
    let bits = rand::random::<u128>();
    let letter = |place: u32| LETTERS.get(((bits >> (5 * place)) & 31) as usize).copied().unwrap_or(b'a');
    (0..25).map(|place| char::from(letter(place))).collect()
}

/// A fresh token and what is stored of it.
pub(super) fn fresh_token(expires_at: Option<i64>) -> (ApiToken, NewCredential) {
    let token = ApiToken::from_random(rand::random());
    let secret = token.fingerprint();
    (token, NewCredential { kind: "token", secret, expires_at })
}

/// `90d`, `12h`, `30m`: seconds.
pub(super) fn lifetime(text: &str) -> Result<u64, String> {
    let parsed = text.parse::<rreg_server::config::HumanDuration>()?;
    match parsed.0.as_secs() {
        0 => Err("is shorter than a second".to_owned()),
        seconds => Ok(seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_secrets_differ_and_can_be_set() {
        let (one, two) = (random_password(), random_password());
        assert!(one != two && one.len() == 25, "{one} {two}");
        assert!(hash_password(&one, [0; 16]).is_ok());
        assert_eq!(lifetime("90d"), Ok(7_776_000));
        assert!(lifetime("0s").is_err() && lifetime("soon").is_err());
    }
}
