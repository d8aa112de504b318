//! Trust policy documents: `trustpolicy.json` and `trustpolicy.oci.json`, as notation writes them. Documents for blobs
//! (`trustpolicy.blob.json`) have no registry scopes and are refused: a registry has no use for them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::identity::{self, SUBJECT_PREFIX};
use super::levels::Level;
use super::trust::NotationTrust;
use super::trust_store::{StoreType, TrustStores, check_name};
use crate::trust::TrustError;

/// Bytes of a document, and statements in it.
const MAX_DOCUMENT: usize = 1 << 20;
const MAX_STATEMENTS: usize = 1000;

/// When a time stamp is asked for, where a `tsa` store is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum VerifyTimestamp {
    /// Always.
    #[default]
    Always,
    /// Only if a certificate of the chain has ended.
    AfterCertExpiry,
}

/// One statement, checked.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) name: String,
    /// `*` alone, or full names of repositories.
    pub(super) scopes: BTreeSet<String>,
    pub(super) level: Level,
    pub(super) verify_timestamp: VerifyTimestamp,
    pub(super) stores: BTreeSet<(StoreType, String)>,
    /// `*` alone, or identities as they were written.
    pub(super) identities: Vec<String>,
}

/// A trust policy document, checked.
#[derive(Clone, Debug)]
pub struct TrustPolicyDocument {
    statements: Vec<Statement>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireDocument {
    #[serde(default)]
    version: String,
    #[serde(default)]
    trust_policies: Vec<WireStatement>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireStatement {
    #[serde(default)]
    name: String,
    #[serde(default)]
    registry_scopes: Vec<String>,
    #[serde(default)]
    signature_verification: WireVerification,
    #[serde(default)]
    trust_stores: Vec<String>,
    #[serde(default)]
    trusted_identities: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireVerification {
    #[serde(default)]
    level: String,
    #[serde(default, rename = "override")]
    overrides: BTreeMap<String, String>,
    #[serde(default)]
    verify_timestamp: String,
}

fn wrong(why: String) -> TrustError {
    TrustError::new("Notation trust policy", why)
}

impl TrustPolicyDocument {
    /// Reads and checks a document.
    pub fn parse(json: &[u8]) -> Result<Self, TrustError> {
        if json.len() > MAX_DOCUMENT {
            return Err(wrong(format!("it has more than {MAX_DOCUMENT} bytes")));
        }
        let document: WireDocument =
            serde_json::from_slice(json).map_err(|error| wrong(format!("it cannot be read: {error}")))?;
        if document.version != "1.0" {
            return Err(wrong(format!("its version is {:?}; \"1.0\" is known", document.version)));
        }
        let count = document.trust_policies.len();
        if count == 0 || count > MAX_STATEMENTS {
            return Err(wrong(format!("it has {count} statements; 1 to {MAX_STATEMENTS} are allowed")));
        }
        let statements: Vec<Statement> =
            document.trust_policies.into_iter().map(check).collect::<Result<_, _>>()?;
        check_together(&statements)?;
        Ok(Self { statements })
    }

    /// Each statement with the certificates of its stores. A store that is not there is an error that names it.
    pub fn statements(&self, stores: &TrustStores) -> Result<Vec<NotationTrust>, TrustError> {
        let all = self.statements.iter();
        all.map(|statement| {
            // An exact scope goes before `*`, whatever the order.
            let others = self.statements.iter().filter(|other| other.name != statement.name);
            let named = others.flat_map(|other| other.scopes.iter().cloned());
            let elsewhere = if statement.scopes.contains("*") { named.collect() } else { BTreeSet::new() };
            NotationTrust::new(statement.clone(), elsewhere, stores)
        })
        .collect()
    }
}

fn check(wire: WireStatement) -> Result<Statement, TrustError> {
    let name = wire.name;
    if name.is_empty() {
        return Err(wrong("a statement has no name".to_owned()));
    }
    let wrong = |why: String| wrong(format!("the statement {name:?}: {why}"));
    let verification = wire.signature_verification;
    let level = Level::parse(&verification.level, &verification.overrides).map_err(wrong)?;
    let verify_timestamp = match verification.verify_timestamp.as_str() {
        "" | "always" => VerifyTimestamp::Always,
        "afterCertExpiry" => VerifyTimestamp::AfterCertExpiry,
        other => {
            return Err(wrong(format!("verifyTimestamp is {other:?}; always or afterCertExpiry is allowed")));
        }
    };
    let (stores, identities) = (wire.trust_stores, wire.trusted_identities);
    if level.is_skip() && !(stores.is_empty() && identities.is_empty()) {
        return Err(wrong("its level is skip, so it must have no trust stores and no identities".to_owned()));
    }
    if !level.is_skip() && (stores.is_empty() || identities.is_empty()) {
        return Err(wrong("it must have trustStores and trustedIdentities".to_owned()));
    }
    let stores = stores.iter().map(|store| read_store(store)).collect::<Result<_, _>>().map_err(wrong)?;
    check_identities(&identities).map_err(wrong)?;
    let scopes = check_scopes(&wire.registry_scopes, &level).map_err(wrong)?;
    Ok(Statement { scopes, level, verify_timestamp, stores, identities, name: name.clone() })
}

fn read_store(store: &str) -> Result<(StoreType, String), String> {
    let (kind, name) = store
        .split_once(':')
        .ok_or_else(|| format!("the trust store {store:?} must be written as ca:acme"))?;
    check_name(name)?;
    Ok((kind.parse().map_err(|error: TrustError| error.why)?, name.to_owned()))
}

/// Identities of other kinds than `x509.subject` are for plug-ins: they are allowed and match nothing here.
fn check_identities(identities: &[String]) -> Result<(), String> {
    if identities.len() > 1 && identities.iter().any(|identity| identity == "*") {
        return Err("the identity \"*\" must stand alone".to_owned());
    }
    let mut subjects = Vec::new();
    for identity in identities.iter().filter(|identity| *identity != "*") {
        if identity.is_empty() {
            return Err("it has an empty identity".to_owned());
        }
        if !identity.contains(':') {
            return Err(format!(
                "the identity {identity:?} must be written as x509.subject: C=US,ST=WA,O=acme"
            ));
        }
        if identity.starts_with(SUBJECT_PREFIX) {
            subjects.push((identity, identity::parse_pattern(identity)?));
        }
    }
    for (at, (one, subject)) in subjects.iter().enumerate() {
        for (other, wider) in subjects.iter().take(at) {
            if identity::is_subset(subject, wider) || identity::is_subset(wider, subject) {
                return Err(format!(
                    "the identities {other:?} and {one:?} overlap; keep the one that is meant"
                ));
            }
        }
    }
    Ok(())
}

fn check_scopes(scopes: &[String], level: &Level) -> Result<BTreeSet<String>, String> {
    if scopes.is_empty() {
        return Err("it has no registryScopes; name repositories in full, or \"*\"".to_owned());
    }
    let wildcard = scopes.iter().any(|scope| scope == "*");
    if wildcard && scopes.len() > 1 {
        return Err("the scope \"*\" must stand alone".to_owned());
    }
    if wildcard && level.is_skip() {
        return Err("the level skip is not allowed for the scope \"*\"; name the repositories".to_owned());
    }
    for scope in scopes.iter().filter(|scope| *scope != "*") {
        if !is_repository(scope) {
            return Err(format!(
                "the scope {scope:?} is no full name of a repository, such as registry.acme.io/team/app"
            ));
        }
    }
    let set: BTreeSet<String> = scopes.iter().cloned().collect();
    if set.len() != scopes.len() {
        return Err("it has a scope twice".to_owned());
    }
    Ok(set)
}

/// Host with an optional port, then a path, as in the distribution specification. No scheme, tag or digest.
fn is_repository(scope: &str) -> bool {
    let Some((domain, path)) = scope.split_once('/') else { return false };
    let (host, port) = domain.split_once(':').map_or((domain, None), |(host, port)| (host, Some(port)));
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let port_fits = port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    host.split('.').all(label) && port_fits && path.split('/').all(is_path_part)
}

/// Lower-case letters and digits, separated by `.`, `_`, `__` or any number of `-`.
fn is_path_part(part: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = part.bytes().next().is_some_and(word) && part.bytes().last().is_some_and(word);
    let separators =
        part.split(|c: char| c.is_ascii() && word(c as u8)).filter(|separator| !separator.is_empty());
    let known =
        |separator: &str| matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-');
    ends && separators.into_iter().all(known)
}

fn check_together(statements: &[Statement]) -> Result<(), TrustError> {
    let (mut names, mut scopes) = (BTreeSet::new(), BTreeSet::new());
    for statement in statements {
        if !names.insert(&statement.name) {
            return Err(wrong(format!("two statements have the name {:?}", statement.name)));
        }
        if let Some(scope) = statement.scopes.iter().find(|scope| !scopes.insert(*scope)) {
            return Err(wrong(format!("the scope {scope:?} is in two statements; it may be in one")));
        }
    }
    Ok(())
}
