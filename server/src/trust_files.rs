//! Trust material in files, beside the policies that name it.
//!
//! Keys, certificates and Sigstore roots are files relative to a directory. A Notation trust store is
//! `truststore/x509/{ca,signingAuthority,tsa}/NAME/` below it, as notation keeps it; a Notation trust policy is a file
//! with its `truststore` beside it, or a directory that has both. As in notation, links in trust stores are refused:
//! what is trusted lies where it is looked for.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use rreg_policy::certificates::CertificateRoots;
use rreg_policy::key::PublicKey;
use rreg_policy::notation::{NotationTrust, TrustPolicyDocument, TrustStores};
use rreg_policy::sigstore::SigstoreRoot;
use rreg_policy::{TrustError, TrustReference, TrustRoot, TrustSource};

/// Longest file, in bytes.
const MAX_FILE: u64 = 4 << 20;
/// Most certificate files in one store.
const MAX_CERTIFICATES: usize = 1000;
/// Names of a Notation trust policy, the newer first.
const NOTATION_POLICIES: [&str; 2] = ["trustpolicy.oci.json", "trustpolicy.json"];

/// Trust material below a directory.
#[derive(Clone, Debug)]
pub struct DirectoryTrust(PathBuf);

impl DirectoryTrust {
    /// Below `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// Every statement of a Notation trust policy: `path` is its file, or a directory that has it.
    ///
    /// # Errors
    /// [`TrustError`] when something cannot be read or used.
    pub fn notation(&self, path: &str) -> Result<Vec<NotationTrust>, TrustError> {
        const WHAT: &str = "Notation trust policy";
        let path = self.0.join(path);
        let file = if path.is_dir() {
            let names = NOTATION_POLICIES.map(|name| path.join(name));
            let missing = || {
                TrustError::new(
                    WHAT,
                    format!("{} has no {}", path.display(), NOTATION_POLICIES.join(" and no ")),
                )
            };
            names.into_iter().find(|file| file.exists()).ok_or_else(missing)?
        } else {
            path
        };
        let document = TrustPolicyDocument::parse(&read(WHAT, &file)?)?;
        stores(file.parent().unwrap_or(&self.0), None, |stores| document.statements(stores))
    }
}

impl TrustSource for DirectoryTrust {
    fn load(&self, reference: &TrustReference) -> Result<TrustRoot, TrustError> {
        Ok(match reference {
            TrustReference::Key(path) => {
                TrustRoot::Key(PublicKey::from_pem(&read("public key", &self.0.join(path))?)?)
            }
            TrustReference::Certificates(path) => TrustRoot::Certificates(CertificateRoots::parse(&read(
                "root certificates",
                &self.0.join(path),
            )?)?),
            TrustReference::Sigstore(name) if name == rreg_policy::PUBLIC_GOOD => {
                TrustRoot::Sigstore(SigstoreRoot::public_good()?.into())
            }
            TrustReference::Sigstore(path) => TrustRoot::Sigstore(
                SigstoreRoot::parse(&read("Sigstore trusted root", &self.0.join(path))?)?.into(),
            ),
            TrustReference::Notation { store } => TrustRoot::Notation(
                stores(&self.0, Some(store), |stores| NotationTrust::strict(store, stores))?.into(),
            ),
            TrustReference::NotationPolicy(path) => {
                let statements = self.notation(path)?;
                let [statement]: [NotationTrust; 1] = statements.try_into().map_err(|all: Vec<_>| {
                    let why = format!("{path} has {} statements; a rule needs a policy of one", all.len());
                    TrustError::new("Notation trust policy", why)
                })?;
                TrustRoot::Notation(statement.into())
            }
        })
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TrustError> {
    let wrong = |why: String| TrustError::new(what, format!("{}: {why}", path.display()));
    let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
    if !file.metadata().map_err(|error| wrong(error.to_string()))?.is_file() {
        return Err(wrong("it is no file".into()));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| wrong(error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(wrong(format!("it has more than {MAX_FILE} bytes")));
    }
    Ok(bytes)
}

/// Reads the trust stores below `directory`, only those called `only` where that is given.
fn stores<T>(
    directory: &Path,
    only: Option<&str>,
    use_them: impl FnOnce(&TrustStores) -> Result<T, TrustError>,
) -> Result<T, TrustError> {
    const WHAT: &str = "Notation trust store";
    let root = directory.join("truststore").join("x509");
    let mut files = Vec::new();
    for kind in ["ca", "signingAuthority", "tsa"] {
        let types = root.join(kind);
        for name in directories(WHAT, &types)? {
            if only.is_some_and(|only| only != name) {
                continue;
            }
            for path in certificates(WHAT, &types.join(&name))? {
                let content = read(WHAT, &path)?;
                let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                files.push((kind, name.clone(), file, content));
            }
        }
    }
    let files =
        files.iter().map(|(kind, name, file, bytes)| (*kind, name.as_str(), file.as_str(), bytes.as_slice()));
    use_them(&TrustStores::new(files)?)
}

fn directories(what: &'static str, path: &Path) -> Result<Vec<String>, TrustError> {
    let wrong = |error: std::io::Error| TrustError::new(what, format!("{}: {error}", path.display()));
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(wrong(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(wrong)?;
        if entry.file_type().map_err(wrong)?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<PathBuf>, TrustError> {
    let wrong = |why: String| TrustError::new(what, format!("{}: {why}", path.display()));
    let mut paths = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| wrong(error.to_string()))? {
        let entry = entry.map_err(|error| wrong(error.to_string()))?;
        if !entry.file_type().map_err(|error| wrong(error.to_string()))?.is_file() {
            return Err(wrong(format!(
                "{} is no file; links and directories are refused",
                entry.path().display()
            )));
        }
        paths.push(entry.path());
    }
    if paths.len() > MAX_CERTIFICATES {
        return Err(wrong(format!("it has more than {MAX_CERTIFICATES} files")));
    }
    paths.sort();
    Ok(paths)
}
