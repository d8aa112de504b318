//! A Notation trust policy with its trust stores as one document, which is how a registry takes them:
//! `{"trustPolicy": …, "trustStores": {"ca:NAME": [PEM, …]}}`.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rreg_server::DirectoryTrust;
use serde_json::{Value, json};

use crate::exit::{Exit, Failure};

/// The document of a directory as notation keeps it.
pub(super) fn document(directory: &Path) -> Result<Bytes, Failure> {
    let (policy, files) = DirectoryTrust::new(directory).notation_files(Path::new(""))?;
    let policy: Value = serde_json::from_slice(&policy).map_err(|e| {
        Failure::new(Exit::Input, format!("the trust policy in {} is no JSON: {e}", directory.display()))
    })?;
    let mut stores = BTreeMap::<String, Vec<String>>::new();
    for file in files {
        stores.entry(format!("{}:{}", file.kind, file.store)).or_default().push(pem(&file.content));
    }
    Ok(Bytes::from(json!({"trustPolicy": policy, "trustStores": stores}).to_string()))
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
