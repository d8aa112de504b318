//! Trust material in files, beside the policies that name it, or where a person says that it is.
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
use rreg_policy::notation::{NotationTrust, StoreType, TrustPolicyDocument, TrustStores};
use rreg_policy::sigstore::SigstoreRoot;
use rreg_policy::{TrustError, TrustReference, TrustRoot, TrustSource};

/// Longest file, in bytes.
const MAX_FILE: u64 = 16 << 20;
/// Most files in one trust store, and stores of one type.
const MAX_ENTRIES: usize = 1000;
/// Names of a Notation trust policy, the newer first.
const NOTATION_POLICIES: [&str; 2] = ["trustpolicy.oci.json", "trustpolicy.json"];
const POLICY: &str = "Notation trust policy";
const STORE: &str = "Notation trust store";

/// Trust material below a directory.
#[derive(Clone, Debug)]
pub struct DirectoryTrust(PathBuf);

/// A file of a Notation trust store.
pub struct StoreFile {
    /// What the store vouches for.
    pub kind: StoreType,
    /// Name of the store.
    pub store: String,
    /// Name of the file.
    pub name: String,
    /// Its content.
    pub content: Vec<u8>,
}

impl DirectoryTrust {
    /// With paths relative to `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// A public key (PEM).
    ///
    /// # Errors
    /// [`TrustError`] when it cannot be read or used.
    pub fn key(&self, path: &Path) -> Result<TrustRoot, TrustError> {
        let path = self.0.join(path);
        let key = PublicKey::from_pem(&read_file(&path, "public key")?);
        key.map(TrustRoot::Key).map_err(|error| in_file(&path, error))
    }

    /// Authorities' certificates (PEM).
    ///
    /// # Errors
    /// [`TrustError`] when they cannot be read or used.
    pub fn certificates(&self, path: &Path) -> Result<TrustRoot, TrustError> {
        let path = self.0.join(path);
        let roots = CertificateRoots::parse(&read_file(&path, "root certificates")?);
        roots.map(TrustRoot::Certificates).map_err(|error| in_file(&path, error))
    }

    /// A Sigstore instance: `public-good`, or the path of a `trusted_root.json`.
    ///
    /// # Errors
    /// [`TrustError`] when it cannot be read or used.
    pub fn sigstore(&self, name: &str) -> Result<TrustRoot, TrustError> {
        let root = if name == rreg_policy::PUBLIC_GOOD {
            SigstoreRoot::public_good()?
        } else {
            let path = self.0.join(name);
            let root = SigstoreRoot::parse(&read_file(&path, "Sigstore trusted root")?);
            root.map_err(|error| in_file(&path, error))?
        };
        Ok(TrustRoot::Sigstore(root.into()))
    }

    /// Every statement of a Notation trust policy: `path` is its file, or a directory that has it.
    ///
    /// # Errors
    /// [`TrustError`] when something cannot be read or used.
    pub fn notation(&self, path: &Path) -> Result<Vec<NotationTrust>, TrustError> {
        let file = self.policy_file(path)?;
        let document = TrustPolicyDocument::parse(&read_file(&file, POLICY)?);
        let document = document.map_err(|error| in_file(&file, error))?;
        document.statements(&stores(beside(&file), None)?)
    }

    /// What a directory says about a repository (`host[:port]/name`): the statements of its trust policy that apply to
    /// it, or each `ca` store under the strict level where there is no policy.
    ///
    /// # Errors
    /// [`TrustError`] when something cannot be read or used, or nothing speaks about the repository.
    pub fn notation_about(&self, path: &Path, repository: &str) -> Result<Vec<TrustRoot>, TrustError> {
        let directory = self.0.join(path);
        let all = if directory.is_dir() && policy_in(&directory).is_none() {
            let stores = stores(&directory, None)?;
            let named = stores.names().filter(|(kind, _)| *kind == StoreType::Ca);
            named.map(|(_, name)| NotationTrust::strict(name, &stores)).collect::<Result<_, _>>()?
        } else {
            self.notation(path)?
        };
        let applying = all.into_iter().filter(|trust| trust.applies_to(repository));
        let applying: Vec<_> = applying.map(|trust| TrustRoot::Notation(trust.into())).collect();
        if applying.is_empty() {
            let why =
                format!("{}: no trust policy and no ca store speaks about {repository}", path.display());
            return Err(TrustError::new("Notation trust", why));
        }
        Ok(applying)
    }

    /// The text of a Notation trust policy, found as by [`Self::notation`], and the files of the stores beside it.
    ///
    /// # Errors
    /// [`TrustError`] when something cannot be read.
    pub fn notation_files(&self, path: &Path) -> Result<(Vec<u8>, Vec<StoreFile>), TrustError> {
        let file = self.policy_file(path)?;
        Ok((read_file(&file, POLICY)?, store_files(beside(&file), None)?))
    }

    fn policy_file(&self, path: &Path) -> Result<PathBuf, TrustError> {
        let path = self.0.join(path);
        if !path.is_dir() {
            return Ok(path);
        }
        let names = NOTATION_POLICIES.join(" and no ");
        policy_in(&path).ok_or_else(|| TrustError::new(POLICY, format!("{} has no {names}", path.display())))
    }
}

impl TrustSource for DirectoryTrust {
    fn load(&self, reference: &TrustReference) -> Result<TrustRoot, TrustError> {
        match reference {
            TrustReference::Key(path) => self.key(Path::new(path)),
            TrustReference::Certificates(path) => self.certificates(Path::new(path)),
            TrustReference::Sigstore(name) => self.sigstore(name),
            TrustReference::Notation { store } => {
                let found = stores(&self.0, Some(store))?;
                if !found.contains(StoreType::Ca, store) {
                    let place = self.0.join("truststore/x509/ca").join(store);
                    let why = format!(
                        "there is no store {store:?}: looked for certificates (PEM or DER files) in {}/; a `store` is a \
                         folder of certificates beside the policy, as notation keeps them",
                        place.display()
                    );
                    return Err(TrustError::new(STORE, why));
                }
                let trust = NotationTrust::strict(store, &found)?;
                Ok(TrustRoot::Notation(trust.into()))
            }
            TrustReference::NotationPolicy(path) => one_statement(path, self.notation(Path::new(path))?),
        }
    }

    fn load_all(&self, reference: &TrustReference) -> Result<Vec<TrustRoot>, TrustError> {
        match reference {
            TrustReference::NotationPolicy(path) => Ok(statements(self.notation(Path::new(path))?)),
            other => Ok(vec![self.load(other)?]),
        }
    }
}

/// Each statement of a trust policy is a root of its own: which is about an image is chosen when it is judged.
pub(crate) fn statements(all: Vec<NotationTrust>) -> Vec<TrustRoot> {
    all.into_iter().map(|statement| TrustRoot::Notation(statement.into())).collect()
}

/// The only statement of a trust policy, for whoever has no image to choose by.
pub(crate) fn one_statement(name: &str, all: Vec<NotationTrust>) -> Result<TrustRoot, TrustError> {
    let [statement]: [NotationTrust; 1] = all.try_into().map_err(|all: Vec<_>| {
        let why = format!("{name} has {} statements; here it needs to have one", all.len());
        TrustError::new(POLICY, why)
    })?;
    Ok(TrustRoot::Notation(statement.into()))
}

fn policy_in(directory: &Path) -> Option<PathBuf> {
    NOTATION_POLICIES.map(|name| directory.join(name)).into_iter().find(|file| file.exists())
}

/// The directory of a file; empty, which is the current one, for a bare name.
fn beside(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}

fn stores(directory: &Path, only: Option<&str>) -> Result<TrustStores, TrustError> {
    let mut stores = TrustStores::default();
    for StoreFile { kind, store, name, content } in store_files(directory, only)? {
        stores.add(kind, &store, &name, &content)?;
    }
    Ok(stores)
}

/// The files of the trust stores below `directory`, only those of stores called `only` where that is given.
fn store_files(directory: &Path, only: Option<&str>) -> Result<Vec<StoreFile>, TrustError> {
    let root = directory.join("truststore").join("x509");
    let mut files = Vec::new();
    for kind in [StoreType::Ca, StoreType::SigningAuthority, StoreType::Tsa] {
        for (store, directory) in entries(&root.join(kind.to_string()), Entry::Directory, only)? {
            for (name, path) in entries(&directory, Entry::File, None)? {
                let content = read_file(&path, STORE)?;
                files.push(StoreFile { kind, store: store.clone(), name, content });
            }
        }
    }
    Ok(files)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Entry {
    Directory,
    File,
}

/// Names and paths in a directory, in order, those called `only` where that is given; nothing where it is not there.
/// Everything must be of the kind.
fn entries(directory: &Path, kind: Entry, only: Option<&str>) -> Result<Vec<(String, PathBuf)>, TrustError> {
    let failed = |path: &Path, why: &str| TrustError::new(STORE, format!("{}: {why}", path.display()));
    let listed = match fs::read_dir(directory) {
        Ok(listed) => listed,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(directory, &error.to_string())),
    };
    let mut found = Vec::new();
    for entry in listed {
        let entry = entry.map_err(|error| failed(directory, &error.to_string()))?;
        let path = entry.path();
        let name = entry.file_name().into_string().map_err(|_| failed(&path, "its name is not UTF-8"))?;
        if only.is_some_and(|only| only != name) {
            continue;
        }
        // Of the entry itself, not of what a link leads to.
        let is = entry.file_type().map_err(|error| failed(&path, &error.to_string()))?;
        let (fits, why) = match kind {
            Entry::Directory => {
                (is.is_dir(), "only folders belong here, one for each store, and no symbolic links")
            }
            Entry::File => (is.is_file(), "only regular files belong into a store, and no symbolic links"),
        };
        if !fits {
            return Err(failed(&path, why));
        }
        if found.len() == MAX_ENTRIES {
            return Err(failed(directory, &format!("it has more than {MAX_ENTRIES} entries")));
        }
        found.push((name, path));
    }
    found.sort();
    Ok(found)
}

fn in_file(path: &Path, error: TrustError) -> TrustError {
    TrustError { what: error.what, why: format!("{}: {}", path.display(), error.why) }
}

/// A whole file of some `what`, at most 16 MiB. Pipes are read too: a key need not lie on a disk.
///
/// # Errors
/// [`TrustError`] when it cannot be read or is longer.
pub fn read_file(path: &Path, what: &'static str) -> Result<Vec<u8>, TrustError> {
    let failed = |why: String| TrustError::new(what, format!("{}: {why}", path.display()));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(failed(format!("it has more than {MAX_FILE} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said<T>(result: Result<T, TrustError>) -> String {
        result.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn errors_name_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let trust = DirectoryTrust::new(directory.path());
        fs::write(directory.path().join("bad.pem"), "no key").unwrap();
        let bad = Path::new("bad.pem");
        for said in [said(trust.key(bad)), said(trust.certificates(bad)), said(trust.sigstore("bad.pem"))] {
            assert!(said.contains("bad.pem"), "{said}");
        }
        assert!(said(trust.key(Path::new("gone.pub"))).contains("gone.pub"));
        let none = said(trust.notation(Path::new(".")));
        assert!(none.contains("trustpolicy.oci.json") && none.contains("trustpolicy.json"), "{none}");
        let long = File::create(directory.path().join("long")).unwrap();
        long.set_len(MAX_FILE + 1).unwrap();
        assert!(said(trust.key(Path::new("long"))).contains("more than"));
    }

    #[test]
    fn stores_hold_files_and_no_links() {
        let directory = tempfile::tempdir().unwrap();
        let stores = directory.path().join("truststore/x509/ca");
        fs::create_dir_all(stores.join("team")).unwrap();
        fs::write(stores.join("team/one.pem"), "one").unwrap();
        let found = store_files(directory.path(), None).unwrap();
        assert_eq!(found.len(), 1);
        assert!(found.iter().all(|file| (file.store.as_str(), file.name.as_str()) == ("team", "one.pem")));
        std::os::unix::fs::symlink(stores.join("team"), stores.join("linked")).unwrap();
        assert!(said(store_files(directory.path(), None)).contains("symbolic links"));
        assert_eq!(store_files(directory.path(), Some("team")).unwrap().len(), 1, "others do not matter");
        std::os::unix::fs::symlink(stores.join("team/one.pem"), stores.join("team/two.pem")).unwrap();
        assert!(said(store_files(directory.path(), Some("team"))).contains("symbolic links"));
    }
}
