//! Accounts and rules as the configuration and the database have them.

use std::collections::BTreeMap;

use rreg_auth::{Access, Caller, Htpasswd, Identity, PrincipalName};
use rreg_storage::{MetadataStore, StorageError};

use crate::config::Config;

/// The rules of a configuration.
pub fn access(config: &Config) -> Access {
    Access {
        mode: config.auth.mode.into(),
        read_only: config.server.read_only,
        anonymous_pull: config.auth.anonymous_pull,
        public: config.auth.public.clone(),
    }
}

/// The user or robot of this name with the roles that they have now; `None` when there is no such account. A name that
/// the database knows is the database's, whatever the htpasswd file says.
///
/// # Errors
/// A database failure.
pub async fn caller_of(
    metadata: &MetadataStore,
    htpasswd: &Htpasswd,
    name: &PrincipalName,
) -> Result<Option<Caller>, StorageError> {
    let (identity, admin) = match metadata.principal(name.as_str()).await? {
        Some(stored) if stored.kind == "robot" => (Identity::Robot(name.clone()), stored.admin),
        Some(stored) if stored.kind == "user" => (Identity::User(name.clone()), stored.admin),
        None if htpasswd.contains(name) => (Identity::User(name.clone()), false),
        _ => return Ok(None),
    };
    let mut roles = BTreeMap::new();
    for membership in metadata.memberships(Some(name.as_str())).await? {
        // A role of a newer version gives nothing here.
        if let (Ok(organisation), Ok(role)) = (membership.organisation.parse(), membership.role.parse()) {
            roles.insert(organisation, role);
        }
    }
    Ok(Some(Caller { admin, roles, ..Caller::new(identity) }))
}
