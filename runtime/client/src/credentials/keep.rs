//! Keeps and removes credentials where Docker does: in `config.json`, or by the credential helper that it names.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::config::{ConfigFile, key_of, normalized};
use super::{CredentialError, Keychain, helper, load};

/// Where a credential was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In this file, base64 and not encrypted.
    File(PathBuf),
    /// By this credential helper.
    Helper(String),
}

impl Keychain {
    /// Keeps a password for a registry: in the first file that has something for it, since that is what is found, else in
    /// the last one, which is Docker's.
    ///
    /// # Errors
    /// [`CredentialError`] when file or helper cannot be written; a file that does not parse is left as it is.
    pub async fn keep(&self, host: &str, user: &str, password: &str) -> Result<Kept, CredentialError> {
        let mut chosen = None;
        for path in &self.files {
            let config = load(path).await?.unwrap_or_default();
            let knows = config.knows(host);
            chosen = Some((path, config));
            if knows {
                break;
            }
        }
        let Some((path, config)) = chosen else {
            return Err(CredentialError::Nowhere);
        };
        let server = key_of(host);
        if let Some(name) = config.helper(host) {
            let question = json!({"ServerURL": server, "Username": user, "Secret": password});
            helper::tell(name, "store", &question.to_string(), self.helper_path.as_deref()).await?;
            // Docker lists what its helper has, without the secret.
            edit(path, |auths| {
                remove(auths, host);
                auths.insert(server.to_owned(), json!({}));
            })?;
            return Ok(Kept::Helper(name.to_owned()));
        }
        let auth = STANDARD.encode(format!("{user}:{password}"));
        edit(path, |auths| {
            remove(auths, host);
            auths.insert(server.to_owned(), json!({"auth": auth}));
        })?;
        Ok(Kept::File(path.clone()))
    }

    /// Removes what is kept for a registry, everywhere; whether there was anything.
    ///
    /// # Errors
    /// [`CredentialError`] when a file or helper cannot be changed.
    pub async fn forget(&self, host: &str) -> Result<bool, CredentialError> {
        let mut found = false;
        for path in &self.files {
            let Some(config) = load(path).await? else { continue };
            if let Some(name) = config.helper(host) {
                let server = key_of(host);
                let known = helper::get(name, server, self.helper_path.as_deref()).await?.is_some();
                if known {
                    helper::tell(name, "erase", server, self.helper_path.as_deref()).await?;
                }
                found |= known;
            }
            if config.knows(host) {
                found |= edit(path, |auths| remove(auths, host))?;
            }
        }
        Ok(found)
    }
}

/// Takes a registry's own entries away, however they are written; those of its repositories stay.
fn remove(auths: &mut Map<String, Value>, host: &str) -> bool {
    let before = auths.len();
    auths.retain(|key, _| normalized(key) != normalized(key_of(host)));
    auths.len() != before
}

/// Changes `auths` of a file and nothing else in it. Written beside it and moved over it: nobody reads half of it.
fn edit<T>(path: &Path, change: impl FnOnce(&mut Map<String, Value>) -> T) -> Result<T, CredentialError> {
    let failed = |source| CredentialError::Write { path: path.to_owned(), source };
    let malformed = |why: &str| CredentialError::Malformed { path: path.to_owned(), why: why.to_owned() };
    let mut whole: Value = match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| malformed("not JSON"))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => json!({}),
        Err(error) => return Err(failed(error)),
    };
    let all = whole.as_object_mut().ok_or_else(|| malformed("not a JSON object"))?;
    let auths = all.entry("auths").or_insert_with(|| json!({}));
    let auths = auths.as_object_mut().ok_or_else(|| malformed("auths is no object"))?;
    let outcome = change(auths);
    write(path, &whole).map_err(failed)?;
    Ok(outcome)
}

fn write(path: &Path, value: &Value) -> std::io::Result<()> {
    // A link to the file stays one.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = path.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !directory.exists() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let beside = directory.join(name);
    let written =
        File::options().write(true).create_new(true).mode(0o600).open(&beside).and_then(|mut file| {
            file.write_all(format!("{value:#}\n").as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, &path)
        });
    if written.is_err() {
        // What is left of a failure holds a secret; the failure itself is what is told.
        let _ = fs::remove_file(&beside);
    }
    written
}

impl ConfigFile {
    /// The helper for a registry: one named for it, or the default.
    fn helper(&self, host: &str) -> Option<&str> {
        let server = normalized(key_of(host));
        let named = self.cred_helpers.iter().find(|(key, _)| normalized(key) == server);
        let default = Some(self.creds_store.as_str()).filter(|name| !name.is_empty());
        named.map(|(_, name)| name.as_str()).or(default)
    }

    /// Whether the file says something about a registry itself.
    fn knows(&self, host: &str) -> bool {
        let server = normalized(key_of(host));
        self.auths.keys().chain(self.cred_helpers.keys()).any(|key| normalized(key) == server)
    }
}
