//! A Notation trust policy with its trust stores as one document, which is how a registry takes them:
//! `{"trustPolicy": …, "trustStores": {"ca:NAME": [PEM, …]}}`.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::exit::{Exit, Failure};

/// Names of a trust policy in notation's directory, the newer first.
const POLICIES: [&str; 2] = ["trustpolicy.oci.json", "trustpolicy.json"];
/// The kinds of trust stores (Notary Project, "Trust Store").
const KINDS: [&str; 3] = ["ca", "signingAuthority", "tsa"];
/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The document of a directory as notation keeps it.
pub(super) fn document(directory: &Path) -> Result<Bytes, Failure> {
    let policy = POLICIES.map(|name| directory.join(name)).into_iter().find(|path| path.is_file());
    let policy =
        policy.ok_or_else(|| unreadable(directory, format!("it has no {}", POLICIES.join(" and no "))))?;
    let text = bytes_of(&policy)?;
    let text: Value =
        serde_json::from_slice(&text).map_err(|e| unreadable(&policy, format!("it is no JSON: {e}")))?;
    let mut stores = BTreeMap::<String, Vec<String>>::new();
    for kind in KINDS {
        let all = directory.join("truststore").join("x509").join(kind);
        for store in entries(&all)?.into_iter().filter(|path| path.is_dir()) {
            let name = store.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let certificates = entries(&store)?;
            let pems = certificates.iter().map(|path| bytes_of(path).map(|bytes| pem(&bytes)));
            stores.insert(format!("{kind}:{name}"), pems.collect::<Result<_, _>>()?);
        }
    }
    Ok(Bytes::from(json!({"trustPolicy": text, "trustStores": stores}).to_string()))
}

/// What is in a directory, by name; nothing where there is none. Links are refused, as notation does: what is trusted
/// lies where it is looked for.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let listed = match std::fs::read_dir(directory) {
        Ok(listed) => listed,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(unreadable(directory, e.to_string())),
    };
    let mut paths = Vec::new();
    for entry in listed {
        let entry = entry.map_err(|e| unreadable(directory, e.to_string()))?;
        let kind = entry.file_type().map_err(|e| unreadable(&entry.path(), e.to_string()))?;
        if kind.is_symlink() {
            return Err(unreadable(&entry.path(), "it is a link, which a trust store may not have".into()));
        }
        paths.push(entry.path());
    }
    paths.sort();
    Ok(paths)
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| unreadable(path, e.to_string()))?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| unreadable(path, e.to_string()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(unreadable(path, format!("it has more than {MAX_FILE} bytes")));
    }
    Ok(bytes)
}

/// A certificate as PEM (RFC 7468); stores may have DER.
fn pem(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.contains("-----BEGIN ") => text.to_owned(),
        _ => {
            let body = STANDARD.encode(bytes);
            let lines = body.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line) + "\n");
            format!("-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n", lines.collect::<String>())
        }
    }
}

fn unreadable(path: &Path, why: String) -> Failure {
    Failure::new(Exit::Input, format!("the trust material {} cannot be read: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_become_pem() {
        let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(pem(text.as_bytes()), text);
        let made = pem(&[0x30; 60]);
        assert!(made.lines().all(|line| line.len() <= 64) && made.lines().count() == 4, "{made}");
    }
}
