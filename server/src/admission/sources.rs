//! Where policies and the trust material that they name come from: files, and what was set through the API.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rreg_policy::certificates::CertificateRoots;
use rreg_policy::key::PublicKey;
use rreg_policy::notation::{NotationTrust, TrustPolicyDocument, TrustStores};
use rreg_policy::sigstore::SigstoreRoot;
use rreg_policy::{Policy, TrustError, TrustReference, TrustRoot, TrustSource};
use rreg_storage::StoredTrust;
use serde::Deserialize;

use super::active::LoadError;
use crate::trust_files::{DirectoryTrust, one_statement, statements};

/// Longest policy file, in bytes.
const MAX_POLICY: u64 = 1 << 20;
/// Most policy files in a directory.
const MAX_FILES: usize = 10_000;

/// What a directory looks like: names, lengths and times of everything in it. Enough to see a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen(BTreeMap<String, (u64, Option<SystemTime>)>);

impl Seen {
    /// As it is now. What cannot be read is not there, and is told by whoever reads it.
    pub(crate) fn now(directory: &Path) -> Self {
        let mut seen = BTreeMap::new();
        see(directory, 0, &mut seen);
        Self(seen)
    }

    /// Whether it looks the same.
    pub(crate) fn still(&self, directory: Option<&Path>) -> bool {
        directory.is_none_or(|directory| Self::now(directory) == *self)
    }
}

/// Trust material may lie some directories below.
fn see(directory: &Path, depth: usize, seen: &mut BTreeMap<String, (u64, Option<SystemTime>)>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        // Follows links: a mounted ConfigMap is changed by moving one.
        let Ok(metadata) = std::fs::metadata(&path) else { continue };
        if metadata.is_dir() && depth < 8 {
            see(&path, depth + 1, seen);
        }
        if seen.len() < 10 * MAX_FILES {
            seen.insert(path.to_string_lossy().into_owned(), (metadata.len(), metadata.modified().ok()));
        }
    }
}

fn broken(path: &Path, why: String) -> LoadError {
    LoadError::File { path: path.display().to_string(), why }
}

/// The policy files of a directory, by name: `*.yaml` and `*.yml`, without test cases (`*.test.yaml`) and hidden files.
///
/// # Errors
/// [`LoadError`] when the directory cannot be read or has too many.
pub fn policy_files(directory: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let entries = std::fs::read_dir(directory).map_err(|error| broken(directory, error.to_string()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| broken(directory, error.to_string()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ends = |endings: [&str; 2]| endings.iter().any(|ending| name.ends_with(ending));
        let is_cases = ends([".test.yaml", ".test.yml"]);
        if ends([".yaml", ".yml"]) && !is_cases && !name.starts_with('.') && !path.is_dir() {
            paths.push(path);
        }
    }
    if paths.len() > MAX_FILES {
        return Err(broken(directory, format!("there are more than {MAX_FILES} policy files")));
    }
    paths.sort();
    Ok(paths)
}

/// The text of a policy file.
///
/// # Errors
/// [`LoadError`] when it cannot be read, is too long, or is no text.
pub fn policy_text(path: &Path) -> Result<String, LoadError> {
    let file = File::open(path).map_err(|error| broken(path, error.to_string()))?;
    let mut text = String::new();
    file.take(MAX_POLICY + 1).read_to_string(&mut text).map_err(|error| broken(path, error.to_string()))?;
    if text.len() as u64 > MAX_POLICY {
        return Err(broken(path, format!("a policy has at most {MAX_POLICY} bytes")));
    }
    Ok(text)
}

/// Reads every policy of a directory. Trust material that a policy names is a file relative to it.
///
/// # Errors
/// [`LoadError`] for the first file that cannot be read or is no policy.
pub fn load_directory(directory: &Path) -> Result<Vec<Policy>, LoadError> {
    let trust = DirectoryTrust::new(directory);
    let mut policies = Vec::new();
    for path in policy_files(directory)? {
        let read = Policy::parse(&policy_text(&path)?, &trust);
        policies.extend(read.map_err(|errors| broken(&path, errors.to_string()))?);
    }
    Ok(policies)
}

/// Trust material that was set through the API, by name.
pub(crate) struct SetTrust<'a>(BTreeMap<&'a str, &'a [u8]>);

impl<'a> SetTrust<'a> {
    pub(crate) fn new(all: &'a [StoredTrust]) -> Self {
        Self(all.iter().map(|one| (one.name.as_str(), one.content.as_slice())).collect())
    }

    fn named(&self, what: &'static str, name: &str) -> Result<&'a [u8], TrustError> {
        let missing = || {
            TrustError::new(
                what,
                format!("{name:?} is not set; `rreg trust create HOST {name} FILE` sets it"),
            )
        };
        self.0.get(name).copied().ok_or_else(missing)
    }
}

/// Trust policy and stores of Notation in one text.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NotationText {
    /// As in `trustpolicy.oci.json`.
    trust_policy: serde_json::Value,
    /// PEM texts by `ca:NAME`, `signingAuthority:NAME` and `tsa:NAME`.
    trust_stores: BTreeMap<String, Vec<String>>,
}

impl TrustSource for SetTrust<'_> {
    fn load(&self, reference: &TrustReference) -> Result<TrustRoot, TrustError> {
        match reference {
            TrustReference::Key(name) => {
                Ok(TrustRoot::Key(PublicKey::from_pem(self.named("public key", name)?)?))
            }
            TrustReference::Certificates(name) => {
                let pem = self.named("root certificates", name)?;
                Ok(TrustRoot::Certificates(CertificateRoots::parse(pem)?))
            }
            TrustReference::Sigstore(name) if name == rreg_policy::PUBLIC_GOOD => {
                Ok(TrustRoot::Sigstore(SigstoreRoot::public_good()?.into()))
            }
            TrustReference::Sigstore(name) => {
                let json = self.named("Sigstore trusted root", name)?;
                Ok(TrustRoot::Sigstore(SigstoreRoot::parse(json)?.into()))
            }
            TrustReference::Notation { store } => {
                let pem = self.named("Notation trust store", store)?;
                let stores = TrustStores::new([("ca", store.as_str(), "set", pem)])?;
                Ok(TrustRoot::Notation(NotationTrust::strict(store, &stores)?.into()))
            }
            TrustReference::NotationPolicy(name) => one_statement(name, self.notation(name)?),
        }
    }

    fn load_all(&self, reference: &TrustReference) -> Result<Vec<TrustRoot>, TrustError> {
        match reference {
            TrustReference::NotationPolicy(name) => Ok(statements(self.notation(name)?)),
            other => Ok(vec![self.load(other)?]),
        }
    }
}

impl SetTrust<'_> {
    fn notation(&self, name: &str) -> Result<Vec<NotationTrust>, TrustError> {
        const WHAT: &str = "Notation trust policy";
        let text: NotationText = serde_json::from_slice(self.named(WHAT, name)?)
            .map_err(|error| TrustError::new(WHAT, format!("{name:?}: {error}")))?;
        let mut files = Vec::new();
        for (store, pems) in &text.trust_stores {
            let (kind, store) = store
                .split_once(':')
                .ok_or_else(|| TrustError::new(WHAT, format!("{store:?} is no store; write ca:NAME")))?;
            files.extend(pems.iter().map(|pem| (kind, store, name, pem.as_bytes())));
        }
        let stores = TrustStores::new(files)?;
        let document = TrustPolicyDocument::parse(text.trust_policy.to_string().as_bytes())?;
        document.statements(&stores)
    }
}
