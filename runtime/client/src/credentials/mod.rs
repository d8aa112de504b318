//! Where users keep their registry credentials: podman's `auth.json` and Docker's `config.json`, both the same
//! format, with credential helpers.

mod config;
mod helper;
mod keep;
mod reading;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use rreg_oci::RepositoryName;

use self::config::ConfigFile;
pub use self::keep::Kept;
pub(crate) use self::reading::Reading;

/// Longest credential file read, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// A secret for one registry. Its `Debug` tells the kind only.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// User name and password.
    Password {
        /// The account.
        user: String,
        /// Its secret.
        password: String,
    },
    /// An OAuth2 refresh token.
    IdentityToken(String),
    /// A token that the registry takes as it is.
    RegistryToken(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password",
            Self::IdentityToken(_) => "IdentityToken",
            Self::RegistryToken(_) => "RegistryToken",
        })
    }
}

/// Why credentials could not be read. A file or helper that is there and cannot be read is an error: going on
/// anonymously would hide it.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file cannot be read.
    #[error("cannot read the credential file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file does not parse. The parser's message is left out: it could quote a secret.
    #[error("the credential file {} is malformed: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where.
        why: String,
    },
    /// The file cannot be written.
    #[error("cannot write the credential file {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No file is known that could hold it.
    #[error("there is no place for credentials: none of HOME, DOCKER_CONFIG and REGISTRY_AUTH_FILE is set")]
    Nowhere,
    /// The helper failed.
    #[error("the credential helper docker-credential-{helper} failed: {why}")]
    Helper {
        /// Its name in the file.
        helper: String,
        /// What happened.
        why: String,
    },
}

/// The credential files to look in, first match wins.
#[derive(Clone, Debug, Default)]
pub struct Keychain {
    files: Vec<PathBuf>,
    /// `PATH` of the helpers; the process's own when `None`.
    helper_path: Option<OsString>,
    /// Comes before all files.
    fixed: Option<Fixed>,
}

/// The credential of the registry that a client is made for.
#[derive(Clone, Debug)]
enum Fixed {
    /// As given.
    Given(Credential),
    /// The password of `user` is what `file` holds.
    InFile { user: String, file: PathBuf },
}

impl Keychain {
    /// No credentials at all.
    pub fn empty() -> Self {
        Self::default()
    }

    /// These files, in this order. One that does not exist is skipped.
    pub fn from_files(files: Vec<PathBuf>) -> Self {
        Self { files, helper_path: None, fixed: None }
    }

    /// This credential for the registry that a client is made for.
    #[must_use]
    pub fn fixed(credential: Credential) -> Self {
        Self { fixed: Some(Fixed::Given(credential)), ..Self::default() }
    }

    /// This account's password for the registry that a client is made for: the text of a file, without line ends after
    /// it.
    #[must_use]
    pub fn password_file(user: String, file: PathBuf) -> Self {
        Self { fixed: Some(Fixed::InFile { user, file }), ..Self::default() }
    }

    /// Whether it says the same for ever.
    pub(crate) fn is_constant(&self) -> bool {
        match &self.fixed {
            Some(Fixed::Given(_)) => true,
            Some(Fixed::InFile { .. }) => false,
            None => self.files.is_empty(),
        }
    }

    /// What there is for other registries than the one that this was made for.
    pub(crate) fn of_others(&self) -> Self {
        Self { fixed: None, ..self.clone() }
    }

    /// The same with another `PATH` to look for helpers in.
    #[must_use]
    pub fn with_helper_path(mut self, path: impl Into<OsString>) -> Self {
        self.helper_path = Some(path.into());
        self
    }

    /// The places where podman, skopeo and Docker look: `$REGISTRY_AUTH_FILE` alone when it is set, else
    /// `$XDG_RUNTIME_DIR/containers/auth.json`, then `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`.
    pub fn from_environment() -> Self {
        let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        if let Some(file) = variable("REGISTRY_AUTH_FILE") {
            return Self::from_files(vec![file]);
        }
        let podman = variable("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json"));
        let docker = variable("DOCKER_CONFIG")
            .or_else(|| variable("HOME").map(|home| home.join(".docker")))
            .map(|dir| dir.join("config.json"));
        Self::from_files(podman.into_iter().chain(docker).collect())
    }

    /// The credential for `repository` on `host`, if one is stored.
    ///
    /// # Errors
    /// [`CredentialError`] when a file or helper that should know cannot be asked.
    pub async fn find(
        &self,
        host: &str,
        repository: Option<&RepositoryName>,
    ) -> Result<Option<Credential>, CredentialError> {
        Reading::default().find(self, host, repository).await
    }
}

async fn load(path: &Path) -> Result<Option<ConfigFile>, CredentialError> {
    let read = |source| CredentialError::Read { path: path.to_owned(), source };
    match tokio::fs::metadata(path).await {
        Ok(meta) if meta.len() > MAX_FILE => {
            let why = format!("it is longer than {MAX_FILE} bytes");
            return Err(CredentialError::Malformed { path: path.to_owned(), why });
        }
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(read(e)),
    }
    let bytes = tokio::fs::read(path).await.map_err(read)?;
    let parsed = serde_json::from_slice(&bytes).map_err(|e| CredentialError::Malformed {
        path: path.to_owned(),
        why: format!("not the JSON expected at line {} column {}", e.line(), e.column()),
    })?;
    Ok(Some(parsed))
}
