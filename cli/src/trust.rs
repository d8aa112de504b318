//! Trust material in files: public keys, authorities' certificates, Sigstore's `trusted_root.json`, and a directory as
//! notation keeps it. Paths are relative to a base: the current directory, or the folder of a policy's file.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rreg_policy::certificates::CertificateRoots;
use rreg_policy::key::PublicKey;
use rreg_policy::notation::{NotationTrust, StoreType, TrustPolicyDocument, TrustStores};
use rreg_policy::sigstore::SigstoreRoot;
use rreg_policy::{TrustError, TrustRoot};

/// Longest file of trust material, key or predicate that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;
/// The name of Sigstore's public instance, whose root is built in.
const PUBLIC_GOOD: &str = "public-good";

/// Reads trust material.
#[derive(Clone, Debug)]
pub(crate) struct TrustFiles {
    base: PathBuf,
}

impl TrustFiles {
    /// With paths relative to `base`.
    pub(crate) fn new(base: impl Into<PathBuf>) -> Self {
        Self { base: base.into() }
    }

    /// A public key (PEM).
    pub(crate) fn key(&self, path: &Path) -> Result<TrustRoot, TrustError> {
        let key = PublicKey::from_pem(&read_file(&self.base.join(path), "public key")?);
        key.map(TrustRoot::Key).map_err(|error| in_file(path, error))
    }

    /// Authorities' certificates (PEM).
    pub(crate) fn certificates(&self, path: &Path) -> Result<TrustRoot, TrustError> {
        let roots = CertificateRoots::parse(&read_file(&self.base.join(path), "certificate roots")?);
        roots.map(TrustRoot::Certificates).map_err(|error| in_file(path, error))
    }

    /// A Sigstore instance: `public-good`, or the path of a `trusted_root.json`.
    pub(crate) fn sigstore(&self, name: &str) -> Result<TrustRoot, TrustError> {
        let root = match name {
            PUBLIC_GOOD => SigstoreRoot::public_good()?,
            path => SigstoreRoot::parse(&read_file(&self.base.join(path), "trusted root")?)
                .map_err(|error| in_file(Path::new(path), error))?,
        };
        Ok(TrustRoot::Sigstore(Arc::new(root)))
    }
}

/// Names under which notation keeps its trust policy for images; the first is the newer one.
const POLICY_NAMES: [&str; 2] = ["trustpolicy.oci.json", "trustpolicy.json"];
const STORE_TYPES: [&str; 3] = ["ca", "signingAuthority", "tsa"];
/// Files in one trust store, and stores of one type.
const MAX_ENTRIES: usize = 1000;

// A directory as notation keeps it: `trustpolicy.oci.json` (or `trustpolicy.json`) and
// `truststore/x509/{ca,signingAuthority,tsa}/<name>/*`. As notation does, it follows no symbolic links in the stores.
impl TrustFiles {
    /// The trust stores of a directory.
    pub(crate) fn notation_stores(&self, directory: &Path) -> Result<TrustStores, TrustError> {
        let mut stores = TrustStores::default();
        for kind in STORE_TYPES {
            let parent = self.base.join(directory).join("truststore/x509").join(kind);
            for (name, store) in entries(&parent, Entry::Directory)? {
                for (file, path) in entries(&store, Entry::File)? {
                    stores.add(kind.parse()?, &name, &file, &read_file(&path, "Notation trust store")?)?;
                }
            }
        }
        Ok(stores)
    }

    /// The trust policy at a path, each of its statements with its stores. The stores lie beside it.
    pub(crate) fn notation_policy(&self, path: &Path) -> Result<Vec<NotationTrust>, TrustError> {
        let document = read_file(&self.base.join(path), "Notation trust policy")?;
        let document = TrustPolicyDocument::parse(&document).map_err(|error| in_file(path, error))?;
        document.statements(&self.notation_stores(path.parent().unwrap_or(Path::new("")))?)
    }

    /// What a directory says about a repository (`host[:port]/name`): the statements of its trust policy that apply to
    /// it, or each `ca` store under the strict level where there is no policy.
    pub(crate) fn notation(&self, directory: &Path, repository: &str) -> Result<Vec<TrustRoot>, TrustError> {
        let all = match self.policy_file(directory) {
            Some(path) => self.notation_policy(&path)?,
            None => {
                let stores = self.notation_stores(directory)?;
                let named = stores.names().filter(|(kind, _)| *kind == StoreType::Ca);
                named.map(|(_, name)| NotationTrust::strict(name, &stores)).collect::<Result<_, _>>()?
            }
        };
        let applying: Vec<TrustRoot> = all
            .into_iter()
            .filter(|trust| trust.applies_to(repository))
            .map(|trust| TrustRoot::Notation(Arc::new(trust)))
            .collect();
        if applying.is_empty() {
            let why =
                format!("{}: no trust policy and no ca store speaks about {repository}", directory.display());
            return Err(TrustError::new("Notation trust", why));
        }
        Ok(applying)
    }

    fn policy_file(&self, directory: &Path) -> Option<PathBuf> {
        let paths = POLICY_NAMES.iter().map(|name| directory.join(name));
        paths.into_iter().find(|path| self.base.join(path).exists())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Entry {
    Directory,
    File,
}

/// Names and paths in a directory, in order; nothing where it is not there. Everything must be of the kind.
fn entries(directory: &Path, kind: Entry) -> Result<Vec<(String, PathBuf)>, TrustError> {
    let failed = |path: &Path, why: &str| {
        TrustError::new("Notation trust store", format!("{}: {why}", path.display()))
    };
    let listed = match std::fs::read_dir(directory) {
        Ok(listed) => listed,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(directory, &e.to_string())),
    };
    let mut found = Vec::new();
    for entry in listed {
        let entry = entry.map_err(|e| failed(directory, &e.to_string()))?;
        let path = entry.path();
        let is = entry.file_type().map_err(|e| failed(&path, &e.to_string()))?;
        let fits = match kind {
            Entry::Directory => is.is_dir(),
            Entry::File => is.is_file(),
        };
        if !fits {
            let why = match kind {
                Entry::Directory => "only folders belong here, one for each store, and no symbolic links",
                Entry::File => "only regular files belong into a store, and no symbolic links",
            };
            return Err(failed(&path, why));
        }
        if found.len() == MAX_ENTRIES {
            return Err(failed(directory, &format!("it has more than {MAX_ENTRIES} entries")));
        }
        let name = entry.file_name().into_string().map_err(|_| failed(&path, "its name is not UTF-8"))?;
        found.push((name, path));
    }
    found.sort();
    Ok(found)
}

fn in_file(path: &Path, error: TrustError) -> TrustError {
    TrustError { what: error.what, why: format!("{}: {}", path.display(), error.why) }
}

/// A whole file of some `what`.
pub(crate) fn read_file(path: &Path, what: &'static str) -> Result<Vec<u8>, TrustError> {
    let failed = |why: String| TrustError::new(what, format!("{}: {why}", path.display()));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| failed(e.to_string()))?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| failed(e.to_string()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(failed(format!("it has more than {MAX_FILE} bytes")));
    }
    Ok(bytes)
}
