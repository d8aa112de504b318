//! What a keychain said at one moment: each file and helper is asked once, however many repositories are looked up.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rreg_oci::RepositoryName;

use super::config::{ConfigFile, Said, key_of};
use super::{Credential, CredentialError, Fixed, Keychain, MAX_FILE, helper, load};

/// Files and helpers are asked again after this, so that what was changed is used before the old is refused.
const LASTS: Duration = Duration::from_secs(600);

/// What was read so far.
pub(crate) struct Reading {
    password: Option<Credential>,
    /// As many of the keychain's files as were needed, in their order; `None` is one that does not exist.
    configs: Vec<Option<ConfigFile>>,
    helped: HashMap<String, Option<Credential>>,
    since: Instant,
}

impl Default for Reading {
    fn default() -> Self {
        Self { password: None, configs: Vec::new(), helped: HashMap::new(), since: Instant::now() }
    }
}

impl Reading {
    /// Whether it is time to read again.
    pub(crate) fn is_old(&self) -> bool {
        self.since.elapsed() >= LASTS
    }

    /// Lets it stand for as long again.
    pub(crate) fn extend(&mut self) {
        self.since = Instant::now();
    }

    /// The credential for `repository` on `host`, if one is stored.
    ///
    /// # Errors
    /// [`CredentialError`] when a file or helper that should know cannot be asked.
    pub(crate) async fn find(
        &mut self,
        keychain: &Keychain,
        host: &str,
        repository: Option<&RepositoryName>,
    ) -> Result<Option<Credential>, CredentialError> {
        match &keychain.fixed {
            Some(Fixed::Given(credential)) => return Ok(Some(credential.clone())),
            Some(Fixed::InFile { user, file }) => {
                if self.password.is_none() {
                    let password = password(file).await?;
                    self.password = Some(Credential::Password { user: user.clone(), password });
                }
                return Ok(self.password.clone());
            }
            None => {}
        }
        let server = key_of(host);
        for (index, path) in keychain.files.iter().enumerate() {
            if self.configs.len() <= index {
                self.configs.push(load(path).await?);
            }
            let Some(Some(config)) = self.configs.get(index) else { continue };
            let found = match config.find(path, server, repository)? {
                Said::Here(found) => found,
                Said::Helper(name) => match self.helped.get(name) {
                    Some(known) => known.clone(),
                    None => {
                        let found = helper::get(name, server, keychain.helper_path.as_deref()).await?;
                        self.helped.insert(name.to_owned(), found.clone());
                        found
                    }
                },
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

/// The text of a file that holds a password.
async fn password(path: &Path) -> Result<String, CredentialError> {
    let malformed = |why: String| CredentialError::Malformed { path: path.to_owned(), why };
    let read = |source| CredentialError::Read { path: path.to_owned(), source };
    if tokio::fs::metadata(path).await.map_err(read)?.len() > MAX_FILE {
        return Err(malformed(format!("it is longer than {MAX_FILE} bytes")));
    }
    let bytes = tokio::fs::read(path).await.map_err(read)?;
    let text = String::from_utf8(bytes).map_err(|_| malformed("it is not text".into()))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(malformed("it is empty".into())),
        password => Ok(password.to_owned()),
    }
}
