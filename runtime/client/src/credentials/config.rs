//! Docker's `config.json`, the parts about registries.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rreg_oci::RepositoryName;
use serde::Deserialize;

use super::{Credential, CredentialError};
use crate::endpoint::is_docker_hub;

/// The name under which Docker keeps the credentials of Docker Hub.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ConfigFile {
    pub(super) auths: BTreeMap<String, Entry>,
    pub(super) creds_store: String,
    pub(super) cred_helpers: BTreeMap<String, String>,
}

/// Empty where a helper holds the secret.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// What a file says about a registry.
pub(super) enum Said<'a> {
    /// This, or nothing.
    Here(Option<Credential>),
    /// That this helper knows.
    Helper(&'a str),
}

impl ConfigFile {
    /// A helper named for the host first, then what the file holds, then the default helper.
    pub(super) fn find(
        &self,
        path: &Path,
        server: &str,
        repository: Option<&RepositoryName>,
    ) -> Result<Said<'_>, CredentialError> {
        let named = self.cred_helpers.iter().find(|(key, _)| normalized(key) == normalized(server));
        if let Some((_, name)) = named {
            return Ok(Said::Helper(name));
        }
        if let Some((key, entry)) = self.entry(server, repository) {
            let found = entry.credential().map_err(|why| CredentialError::Malformed {
                path: path.to_owned(),
                why: format!("the entry {key:?}: {why}"),
            })?;
            if found.is_some() {
                return Ok(Said::Here(found));
            }
        }
        let default = Some(self.creds_store.as_str()).filter(|name| !name.is_empty());
        Ok(default.map_or(Said::Here(None), Said::Helper))
    }

    /// Podman's files may name a repository or a prefix of one: the longest match wins.
    fn entry(&self, server: &str, repository: Option<&RepositoryName>) -> Option<(&String, &Entry)> {
        let host = normalized(server);
        let mut wanted = match repository {
            Some(repository) => format!("{host}/{repository}"),
            None => host.to_owned(),
        };
        loop {
            if let Some(found) = self.auths.iter().find(|(key, _)| normalized(key) == wanted) {
                return Some(found);
            }
            if wanted == host {
                return None;
            }
            let cut = wanted.rfind('/')?;
            wanted.truncate(cut);
        }
    }
}

/// The name under which a registry's credentials are kept.
pub(super) fn key_of(host: &str) -> &str {
    if is_docker_hub(host) { DOCKER_HUB_KEY } else { host }
}

/// A key without what old Docker versions put around the host.
pub(super) fn normalized(key: &str) -> &str {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let bare = bare.trim_end_matches('/');
    bare.strip_suffix("/v1").or_else(|| bare.strip_suffix("/v2")).unwrap_or(bare)
}

impl Entry {
    fn credential(&self) -> Result<Option<Credential>, &'static str> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credential::IdentityToken(self.identitytoken.clone())));
        }
        if !self.registrytoken.is_empty() {
            return Ok(Some(Credential::RegistryToken(self.registrytoken.clone())));
        }
        if !self.username.is_empty() {
            let (user, password) = (self.username.clone(), self.password.clone());
            return Ok(Some(Credential::Password { user, password }));
        }
        if self.auth.is_empty() {
            return Ok(None);
        }
        let bytes = STANDARD.decode(self.auth.trim()).map_err(|_| "auth is not base64")?;
        let text = String::from_utf8(bytes).map_err(|_| "auth is not UTF-8")?;
        let (user, password) = text.split_once(':').ok_or("auth is not user:password")?;
        // Docker once padded the secret with zero bytes.
        let password = password.trim_end_matches('\0').to_owned();
        Ok(Some(Credential::Password { user: user.to_owned(), password }))
    }
}
