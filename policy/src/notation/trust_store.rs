//! Trust stores: named sets of certificates, as notation keeps them in `truststore/x509/<type>/<name>/`. The files are
//! read by the caller, who also refuses symbolic links and folders, as notation does.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::certificate::Certificate;
use crate::trust::TrustError;

/// Bytes of one file and certificates of one store.
const MAX_FILE: usize = 1 << 20;
const MAX_CERTIFICATES: usize = 1000;

/// What the certificates of a store vouch for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreType {
    /// Signers under the scheme `notary.x509`.
    Ca,
    /// Signers under the scheme `notary.x509.signingAuthority`.
    SigningAuthority,
    /// Time-stamping authorities.
    Tsa,
}

impl FromStr for StoreType {
    type Err = TrustError;

    fn from_str(name: &str) -> Result<Self, TrustError> {
        match name {
            "ca" => Ok(Self::Ca),
            "signingAuthority" => Ok(Self::SigningAuthority),
            "tsa" => Ok(Self::Tsa),
            other => Err(TrustError::new(
                "Notation trust store",
                format!("the type {other:?} is not known; ca, signingAuthority and tsa are"),
            )),
        }
    }
}

impl fmt::Display for StoreType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ca => "ca",
            Self::SigningAuthority => "signingAuthority",
            Self::Tsa => "tsa",
        })
    }
}

/// Trust stores by type and name.
#[derive(Clone, Debug, Default)]
pub struct TrustStores {
    stores: BTreeMap<(StoreType, String), Vec<Certificate>>,
}

impl TrustStores {
    /// Reads stores from files: type, name of the store, name of the file, content. A file is PEM with one or more
    /// certificates, or DER with one or more after each other.
    pub fn new<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str, &'a str, &'a [u8])>,
    ) -> Result<Self, TrustError> {
        let mut all = Self::default();
        for (kind, name, file, content) in files {
            all.add(kind.parse()?, name, file, content)?;
        }
        Ok(all)
    }

    /// Adds a file to a store.
    pub fn add(&mut self, kind: StoreType, name: &str, file: &str, content: &[u8]) -> Result<(), TrustError> {
        let wrong = |why: String| TrustError::new("Notation trust store", format!("{kind}:{name}: {why}"));
        check_name(name).map_err(wrong)?;
        let certificates = read_file(content).map_err(|why| wrong(format!("the file {file:?}: {why}")))?;
        for certificate in &certificates {
            check_fit(kind, certificate).map_err(|why| wrong(format!("the file {file:?}: {why}")))?;
        }
        let store = self.stores.entry((kind, name.to_owned())).or_default();
        for certificate in certificates {
            if !store.contains(&certificate) {
                store.push(certificate);
            }
        }
        if store.len() > MAX_CERTIFICATES {
            return Err(wrong(format!("it has more than {MAX_CERTIFICATES} certificates")));
        }
        Ok(())
    }

    /// Whether there is such a store.
    pub fn contains(&self, kind: StoreType, name: &str) -> bool {
        self.stores.contains_key(&(kind, name.to_owned()))
    }

    /// Types and names of the stores.
    pub fn names(&self) -> impl Iterator<Item = (StoreType, &str)> {
        self.stores.keys().map(|(kind, name)| (*kind, name.as_str()))
    }

    pub(super) fn get(&self, kind: StoreType, name: &str) -> Option<&[Certificate]> {
        self.stores.get(&(kind, name.to_owned())).map(Vec::as_slice)
    }
}

/// Names are names of folders in every file system.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let fits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    fits.then_some(())
        .ok_or_else(|| format!("the name {name:?} must be of letters, digits, \"_\", \".\" and \"-\""))
}

fn read_file(content: &[u8]) -> Result<Vec<Certificate>, String> {
    if content.len() > MAX_FILE {
        return Err(format!("it has more than {MAX_FILE} bytes"));
    }
    let text = content.trim_ascii_start();
    let found = if text.windows(10).any(|window| window == b"-----BEGIN") {
        read_pem(text)?
    } else {
        read_der(content)?
    };
    if found.is_empty() {
        return Err("it has no certificate; PEM or DER is needed".to_owned());
    }
    Ok(found)
}

fn read_pem(content: &[u8]) -> Result<Vec<Certificate>, String> {
    const BEGIN: &str = "-----BEGIN ";
    const END: &str = "-----END CERTIFICATE-----";
    let text = std::str::from_utf8(content).map_err(|_| "its PEM is no text".to_owned())?;
    let blocks = text.split(BEGIN).skip(1).map(|block| {
        let (body, _) = block.split_once(END).ok_or("it has a PEM block that is no whole \"CERTIFICATE\"")?;
        let (_, der) = der::pem::decode_vec(format!("{BEGIN}{body}{END}\n").as_bytes())
            .map_err(|error| format!("it has a malformed PEM block: {error}"))?;
        Certificate::from_der(&der)
    });
    blocks.collect()
}

fn read_der(content: &[u8]) -> Result<Vec<Certificate>, String> {
    use der::{Reader, SliceReader};
    let malformed = |error: der::Error| format!("it is neither PEM nor DER: {error}");
    let mut reader = SliceReader::new(content).map_err(malformed)?;
    let mut found = Vec::new();
    while !reader.is_finished() {
        found.push(Certificate::from_der(reader.tlv_bytes().map_err(malformed)?)?);
    }
    Ok(found)
}

/// A leaf that somebody else issued must not become an anchor by mistake; a time-stamping store has roots alone.
fn check_fit(kind: StoreType, certificate: &Certificate) -> Result<(), String> {
    let subject = certificate.subject();
    if kind == StoreType::Tsa {
        return match certificate.check_issued_by(certificate) {
            Ok(()) => Ok(()),
            Err(why) => Err(format!("{subject:?} is no root of a time-stamping authority: {why}")),
        };
    }
    if !certificate.is_ca() && certificate.check_signed_by_key_of(certificate).is_err() {
        return Err(format!("{subject:?} is neither an authority nor signed by itself"));
    }
    Ok(())
}
