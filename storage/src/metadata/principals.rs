//! Users, robots and their secrets. What the words mean is the business of `auth`; here they are text. Each
//! change goes into the audit trail in its own transaction.

use std::time::Duration;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::audit::{AuditEvent, add};
use super::{MetadataStore, to_sql};
use crate::db::now_ms;
use crate::error::StorageError;

/// A user or a robot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Its name.
    pub name: String,
    /// `user` or `robot`.
    pub kind: String,
    /// Whether it administers the whole registry.
    pub admin: bool,
    /// Since when, in milliseconds since the Unix epoch.
    pub created_at: i64,
    /// When its last secret expires; `None` where one never does.
    pub expires_at: Option<i64>,
}

/// What is stored of a secret.
#[derive(Clone)]
pub struct NewCredential {
    /// `password` or `token`.
    pub kind: &'static str,
    /// Its hash.
    pub secret: String,
    /// Milliseconds since the Unix epoch; `None`: never.
    pub expires_at: Option<i64>,
}

impl std::fmt::Debug for NewCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewCredential({}, {:?})", self.kind, self.expires_at)
    }
}

/// A user or robot that shall be.
pub(super) struct NewPrincipal {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) admin: bool,
    pub(super) credential: NewCredential,
    pub(super) audit: AuditEvent,
}

impl MetadataStore {
    /// Adds a principal with its secret. `false`: the name is taken.
    ///
    /// # Errors
    /// A database failure.
    pub async fn create_principal(
        &self,
        name: &str,
        kind: &'static str,
        admin: bool,
        credential: NewCredential,
        audit: AuditEvent,
    ) -> Result<bool, StorageError> {
        let new = NewPrincipal { name: name.to_owned(), kind, admin, credential, audit };
        self.db.write(new, |conn, new| Box::pin(insert_principal(conn, new)), |_, _| {}).await
    }

    /// Replaces all secrets of a principal. `false`: there is none of that name and kind.
    ///
    /// # Errors
    /// A database failure.
    pub async fn replace_credentials(
        &self,
        name: &str,
        kind: &'static str,
        credential: NewCredential,
        audit: AuditEvent,
    ) -> Result<bool, StorageError> {
        self.db
            .write(
                (name.to_owned(), kind, credential, audit),
                |conn, (name, kind, credential, audit)| {
                    Box::pin(async move {
                        let row = sqlx::query("SELECT id FROM principals WHERE name = $1 AND kind = $2")
                            .bind(name)
                            .bind(*kind)
                            .fetch_optional(&mut *conn)
                            .await?;
                        let Some(row) = row else { return Ok(false) };
                        let id: i64 = row.try_get(0)?;
                        sqlx::query("DELETE FROM credentials WHERE principal_id = $1")
                            .bind(id)
                            .execute(&mut *conn)
                            .await?;
                        add_credential(&mut *conn, id, credential).await?;
                        add(conn, audit).await?;
                        Ok(true)
                    })
                },
                |_, _| {},
            )
            .await
    }

    /// Removes a principal, its secrets and its memberships: whoever gets the name next inherits nothing. `false`:
    /// there is none of that name and kind.
    ///
    /// # Errors
    /// A database failure.
    pub async fn delete_principal(
        &self,
        name: &str,
        kind: &'static str,
        audit: AuditEvent,
    ) -> Result<bool, StorageError> {
        self.db
            .write(
                (name.to_owned(), kind, audit),
                |conn, (name, kind, audit)| {
                    Box::pin(async move {
                        let gone = sqlx::query("DELETE FROM principals WHERE name = $1 AND kind = $2")
                            .bind(name)
                            .bind(*kind)
                            .execute(&mut *conn)
                            .await?;
                        if gone.rows_affected() == 0 {
                            return Ok(false);
                        }
                        sqlx::query("DELETE FROM memberships WHERE principal = $1")
                            .bind(name)
                            .execute(&mut *conn)
                            .await?;
                        add(conn, audit).await?;
                        Ok(true)
                    })
                },
                |_, _| {},
            )
            .await
    }

    /// The principal of this name.
    ///
    /// # Errors
    /// A database failure.
    pub async fn principal(&self, name: &str) -> Result<Option<Principal>, StorageError> {
        let row = sqlx::query(
            "SELECT p.name, p.kind, p.admin, p.created_at, MAX(COALESCE(c.expires_at, 0)), \
             SUM(CASE WHEN c.id IS NOT NULL AND c.expires_at IS NULL THEN 1 ELSE 0 END) FROM principals p \
             LEFT JOIN credentials c ON c.principal_id = p.id WHERE p.name = $1 GROUP BY p.id, p.name, p.kind, p.admin, p.created_at",
        )
        .bind(name)
        .fetch_optional(&mut *self.db.read().await?)
        .await?;
        row.as_ref().map(principal_of).transpose()
    }

    /// All principals of a kind, by name.
    ///
    /// # Errors
    /// A database failure.
    pub async fn principals(&self, kind: &str) -> Result<Vec<Principal>, StorageError> {
        let rows = sqlx::query(
            "SELECT p.name, p.kind, p.admin, p.created_at, MAX(COALESCE(c.expires_at, 0)), \
             SUM(CASE WHEN c.id IS NOT NULL AND c.expires_at IS NULL THEN 1 ELSE 0 END) FROM principals p \
             LEFT JOIN credentials c ON c.principal_id = p.id WHERE p.kind = $1 \
             GROUP BY p.id, p.name, p.kind, p.admin, p.created_at ORDER BY p.name",
        )
        .bind(kind)
        .fetch_all(&mut *self.db.read().await?)
        .await?;
        rows.iter().map(principal_of).collect()
    }

    /// Since when the account's password, or the account itself where it has none, has been what it is, in milliseconds since
    /// the Unix epoch: what was given out before is worth nothing.
    ///
    /// # Errors
    /// A database failure.
    pub async fn account_since(&self, name: &str) -> Result<Option<i64>, StorageError> {
        let row = sqlx::query(
            "SELECT p.created_at, COALESCE(MAX(c.created_at), 0) FROM principals p \
             LEFT JOIN credentials c ON c.principal_id = p.id AND c.kind = 'password' \
             WHERE p.name = $1 GROUP BY p.id, p.created_at",
        )
        .bind(name)
        .fetch_optional(&mut *self.db.read().await?)
        .await?;
        row.map(|row| Ok(row.try_get::<i64, _>(0)?.max(row.try_get::<i64, _>(1)?))).transpose()
    }

    /// Hash of the password of a user, if it has not expired.
    ///
    /// # Errors
    /// A database failure.
    pub async fn password_hash(&self, name: &str) -> Result<Option<String>, StorageError> {
        let row = sqlx::query(
            "SELECT c.secret FROM credentials c JOIN principals p ON p.id = c.principal_id \
             WHERE p.name = $1 AND c.kind = 'password' AND (c.expires_at IS NULL OR c.expires_at > $2)",
        )
        .bind(name)
        .bind(now_ms())
        .fetch_optional(&mut *self.db.read().await?)
        .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Whose token has this hash, if it has not expired, and when it does.
    ///
    /// # Errors
    /// A database failure.
    pub async fn token_owner(&self, hash: &str) -> Result<Option<(String, Option<i64>)>, StorageError> {
        let row = sqlx::query(
            "SELECT p.name, COALESCE(c.expires_at, 0) FROM credentials c JOIN principals p ON p.id = c.principal_id \
             WHERE c.secret = $1 AND c.kind = 'token' AND (c.expires_at IS NULL OR c.expires_at > $2)",
        )
        .bind(hash)
        .bind(now_ms())
        .fetch_optional(&mut *self.db.read().await?)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let expires: i64 = row.try_get(1)?;
        Ok(Some((row.try_get(0)?, (expires > 0).then_some(expires))))
    }
}

/// `false`: the name is taken.
pub(super) async fn insert_principal(
    conn: &mut AnyConnection,
    new: &NewPrincipal,
) -> Result<bool, StorageError> {
    let row = sqlx::query(
        "INSERT INTO principals (name, kind, admin, created_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (name) DO NOTHING RETURNING id",
    )
    .bind(&new.name)
    .bind(new.kind)
    .bind(i64::from(new.admin))
    .bind(now_ms())
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(false) };
    add_credential(&mut *conn, row.try_get(0)?, &new.credential).await?;
    if new.kind == "user" {
        // There is a user now: offers to make the first one are void.
        sqlx::query("DELETE FROM bootstrap").execute(&mut *conn).await?;
    }
    add(conn, &new.audit).await?;
    Ok(true)
}

fn principal_of(row: &AnyRow) -> Result<Principal, StorageError> {
    let expires: i64 = row.try_get(4)?;
    let lasting: i64 = row.try_get(5)?;
    Ok(Principal {
        name: row.try_get(0)?,
        kind: row.try_get(1)?,
        admin: row.try_get::<i64, _>(2)? != 0,
        created_at: row.try_get(3)?,
        expires_at: (lasting == 0).then_some(expires),
    })
}

async fn add_credential(
    conn: &mut AnyConnection,
    principal: i64,
    credential: &NewCredential,
) -> Result<(), StorageError> {
    sqlx::query(
        "INSERT INTO credentials (principal_id, kind, secret, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(principal)
    .bind(credential.kind)
    .bind(&credential.secret)
    .bind(now_ms())
    .bind(credential.expires_at)
    .execute(conn)
    .await?;
    Ok(())
}

/// Milliseconds since the Unix epoch, `seconds` from now.
pub fn expiry_in(seconds: u64) -> i64 {
    now_ms().saturating_add(to_sql(seconds.saturating_mul(1000)))
}

/// Milliseconds since the Unix epoch, `age` ago.
pub fn time_ago(age: Duration) -> i64 {
    now_ms().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
