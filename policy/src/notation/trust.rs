//! One statement of a trust policy with its certificates: what a signature is judged under.

use std::collections::BTreeSet;

use rreg_oci::Digest;

use super::certificate::Certificate;
use super::envelope::Scheme;
use super::identity::subject_matches;
use super::levels::Level;
use super::trust_policy::{Statement, VerifyTimestamp};
use super::trust_store::{StoreType, TrustStores};
use crate::trust::TrustError;

/// One statement of a Notation trust policy with its trust stores.
#[derive(Clone, Debug)]
pub struct NotationTrust {
    id: Digest,
    statement: Statement,
    /// Scopes that other statements of the same document claim.
    elsewhere: BTreeSet<String>,
    /// Type, name and certificates of each store.
    stores: Vec<(StoreType, String, Vec<Certificate>)>,
}

impl NotationTrust {
    pub(super) fn new(
        statement: Statement,
        elsewhere: BTreeSet<String>,
        stores: &TrustStores,
    ) -> Result<Self, TrustError> {
        let with_certificates = |(kind, name): &(StoreType, String)| {
            let certificates = stores.get(*kind, name).ok_or_else(|| {
                let why = format!(
                    "the statement {:?} names the trust store {kind}:{name}, which has no certificates; put them into \
                     truststore/x509/{kind}/{name}/",
                    statement.name
                );
                TrustError::new("Notation trust policy", why)
            })?;
            Ok((*kind, name.clone(), certificates.to_vec()))
        };
        let stores =
            statement.stores.iter().map(with_certificates).collect::<Result<Vec<_>, TrustError>>()?;
        let id = id(&statement, &elsewhere, &stores);
        Ok(Self { id, statement, elsewhere, stores })
    }

    /// Everything enforced, for every repository, with the `ca` store of a name, and the `signingAuthority` and `tsa`
    /// stores of that name where there are any. Any identity passes here: rules on identities look at the signer that
    /// the verification names.
    pub fn strict(store: &str, stores: &TrustStores) -> Result<Self, TrustError> {
        let kinds = [StoreType::Ca, StoreType::SigningAuthority, StoreType::Tsa];
        // The first one must be there; `new` says so if it is not.
        let found = kinds.into_iter().filter(|kind| *kind == StoreType::Ca || stores.contains(*kind, store));
        let statement = Statement {
            name: store.to_owned(),
            scopes: BTreeSet::from(["*".to_owned()]),
            level: Level::STRICT,
            verify_timestamp: VerifyTimestamp::Always,
            stores: found.map(|kind| (kind, store.to_owned())).collect(),
            identities: vec!["*".to_owned()],
        };
        Self::new(statement, BTreeSet::new(), stores)
    }

    /// Digest of all that it says and of its certificates.
    pub fn id(&self) -> Digest {
        self.id
    }

    /// The name of the statement.
    pub fn name(&self) -> &str {
        &self.statement.name
    }

    /// Which checks must pass.
    pub fn level(&self) -> &Level {
        &self.statement.level
    }

    /// Whether it speaks about a repository, named in full: `registry.acme.io/team/app`. A statement for `*` does not
    /// speak about what another statement of its document names.
    pub fn applies_to(&self, registry_and_repository: &str) -> bool {
        let scopes = &self.statement.scopes;
        scopes.contains(registry_and_repository)
            || scopes.contains("*") && !self.elsewhere.contains(registry_and_repository)
    }

    /// The same of a repository in parts. A registry that judges its own content does not know by which names its users
    /// reach it: its `registry` is empty, and scopes are compared by their path alone.
    pub fn speaks_about(&self, registry: &str, repository: &str) -> bool {
        if !registry.is_empty() {
            return self.applies_to(&format!("{registry}/{repository}"));
        }
        let named = |scopes: &BTreeSet<String>| {
            scopes.iter().any(|scope| scope.split_once('/').is_some_and(|(_, path)| path == repository))
        };
        let scopes = &self.statement.scopes;
        named(scopes) || scopes.contains("*") && !named(&self.elsewhere)
    }

    pub(super) fn verify_timestamp(&self) -> VerifyTimestamp {
        self.statement.verify_timestamp
    }

    /// The certificates that signers of a scheme may lead to, with the names of their stores.
    pub(super) fn anchors(&self, scheme: Scheme) -> impl Iterator<Item = (String, &Certificate)> {
        let kind = match scheme {
            Scheme::X509 => StoreType::Ca,
            Scheme::SigningAuthority => StoreType::SigningAuthority,
        };
        let stores = self.stores.iter().filter(move |(found, ..)| *found == kind);
        stores.flat_map(|(kind, name, all)| all.iter().map(move |one| (format!("{kind}:{name}"), one)))
    }

    /// The roots of time-stamping authorities; `None` where no such store is named.
    pub(super) fn time_stampers(&self) -> Option<Vec<Certificate>> {
        let stores = self.stores.iter().filter(|(kind, ..)| *kind == StoreType::Tsa);
        let found: Vec<Certificate> = stores.flat_map(|(_, _, all)| all.iter().cloned()).collect();
        (!found.is_empty()).then_some(found)
    }

    /// Whether a subject is one of the trusted identities.
    pub(super) fn trusts(&self, subject: &str) -> bool {
        let mut all = self.statement.identities.iter();
        all.any(|identity| {
            identity == "*" || identity.starts_with("x509.subject:") && subject_matches(identity, subject)
        })
    }

    /// The trusted identities, for people.
    pub(super) fn identities(&self) -> String {
        self.statement.identities.join(", ")
    }
}

fn id(
    statement: &Statement,
    elsewhere: &BTreeSet<String>,
    stores: &[(StoreType, String, Vec<Certificate>)],
) -> Digest {
    let stores: Vec<(String, BTreeSet<String>)> = stores
        .iter()
        .map(|(kind, name, all)| {
            (format!("{kind}:{name}"), all.iter().map(|one| one.digest().to_string()).collect())
        })
        .collect();
    let mut identities = statement.identities.clone();
    identities.sort();
    let parts = (
        "notation",
        &statement.name,
        &statement.scopes,
        elsewhere,
        &statement.level,
        statement.verify_timestamp,
        identities,
        stores,
    );
    Digest::sha256(serde_json::to_string(&parts).unwrap_or_default().as_bytes())
}
