//! Offers to make the first administrator. An offer is a secret that is kept as its hash, for a while, and is taken at
//! most once; as soon as there is a user all offers are void.
//!
//! Each replica that starts without users makes an offer of its own, so there can be several.

use sqlx::AnyConnection;

use super::MetadataStore;
use super::audit::AuditEvent;
use super::principals::{NewCredential, NewPrincipal, insert_principal};
use crate::db::now_ms;
use crate::error::StorageError;

impl MetadataStore {
    /// Adds an offer that is good until `expires_at` (milliseconds since the Unix epoch). `secret` is its hash. `false`:
    /// there are users already.
    ///
    /// # Errors
    /// A database failure.
    pub async fn offer_bootstrap(&self, secret: String, expires_at: i64) -> Result<bool, StorageError> {
        self.db
            .write(
                (secret, expires_at),
                |conn, (secret, expires_at)| {
                    Box::pin(async move {
                        if has_users(&mut *conn).await? {
                            return Ok(false);
                        }
                        sqlx::query("DELETE FROM bootstrap WHERE expires_at <= $1")
                            .bind(now_ms())
                            .execute(&mut *conn)
                            .await?;
                        sqlx::query("INSERT INTO bootstrap (secret, expires_at) VALUES ($1, $2)")
                            .bind(secret)
                            .bind(*expires_at)
                            .execute(conn)
                            .await?;
                        Ok(true)
                    })
                },
                |_, _| {},
            )
            .await
    }

    /// Whether the offer with this hash can be taken.
    ///
    /// # Errors
    /// A database failure.
    pub async fn bootstrap_is_open(&self, secret: &str) -> Result<bool, StorageError> {
        let mut conn = self.db.read().await?;
        let offer = sqlx::query("SELECT 1 FROM bootstrap WHERE secret = $1 AND expires_at > $2")
            .bind(secret)
            .bind(now_ms())
            .fetch_optional(&mut *conn)
            .await?;
        Ok(offer.is_some() && !has_users(&mut conn).await?)
    }

    /// Takes the offer with this hash: makes the first administrator. `false`: there is no such offer (any more).
    ///
    /// # Errors
    /// A database failure.
    pub async fn take_bootstrap(
        &self,
        secret: &str,
        name: &str,
        credential: NewCredential,
        audit: AuditEvent,
    ) -> Result<bool, StorageError> {
        let new = NewPrincipal { name: name.to_owned(), kind: "user", admin: true, credential, audit };
        self.db
            .write(
                (secret.to_owned(), new),
                |conn, (secret, new)| Box::pin(take(conn, secret, new)),
                |_, _| {},
            )
            .await
    }
}

async fn take(conn: &mut AnyConnection, secret: &str, new: &NewPrincipal) -> Result<bool, StorageError> {
    // All offers at once: whoever takes another one at the same time waits for these rows, and finds none.
    let taken = sqlx::query(
        "DELETE FROM bootstrap WHERE EXISTS (SELECT 1 FROM bootstrap WHERE secret = $1 AND expires_at > $2)",
    )
    .bind(secret)
    .bind(now_ms())
    .execute(&mut *conn)
    .await?;
    if taken.rows_affected() == 0 || has_users(&mut *conn).await? {
        return Ok(false);
    }
    insert_principal(conn, new).await
}

async fn has_users(conn: &mut AnyConnection) -> Result<bool, StorageError> {
    let row =
        sqlx::query("SELECT 1 FROM principals WHERE kind = 'user' LIMIT 1").fetch_optional(conn).await?;
    Ok(row.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CacheLimits;

    async fn store() -> (tempfile::TempDir, MetadataStore) {
        let dir = tempfile::tempdir().unwrap();
        let store = MetadataStore::sqlite(&dir.path().join("rreg.db"), CacheLimits::default()).await.unwrap();
        (dir, store)
    }

    fn password(hash: &str) -> NewCredential {
        NewCredential { kind: "password", secret: hash.into(), expires_at: None }
    }

    fn event() -> AuditEvent {
        AuditEvent::new("user create", "allowed", "bootstrap link")
    }

    async fn take(store: &MetadataStore, secret: &str, name: &str) -> bool {
        store.take_bootstrap(secret, name, password(name), event()).await.unwrap()
    }

    #[tokio::test]
    async fn an_offer_is_taken_once_and_before_it_expires() {
        let (_dir, store) = store().await;
        let later = now_ms() + 60_000;
        assert!(store.offer_bootstrap("expired".into(), now_ms() - 1).await.unwrap());
        assert!(!store.bootstrap_is_open("expired").await.unwrap());
        assert!(!take(&store, "expired", "a").await && !take(&store, "", "a").await);
        for secret in ["one", "two"] {
            assert!(store.offer_bootstrap(secret.into(), later).await.unwrap());
            assert!(store.bootstrap_is_open(secret).await.unwrap());
        }
        assert!(!take(&store, "three", "a").await, "a wrong secret leaves the offers");
        assert!(take(&store, "two", "alice").await);
        for secret in ["one", "two"] {
            assert!(!store.bootstrap_is_open(secret).await.unwrap() && !take(&store, secret, "b").await);
        }
        assert!(store.principal("alice").await.unwrap().unwrap().admin);
        assert_eq!(store.principals("user").await.unwrap().len(), 1);
        assert_eq!(store.last_audit_events(10).await.unwrap().len(), 1);
        assert!(!store.offer_bootstrap("four".into(), later).await.unwrap());
    }

    #[tokio::test]
    async fn a_user_made_otherwise_voids_all_offers() {
        let (_dir, store) = store().await;
        assert!(store.offer_bootstrap("one".into(), now_ms() + 60_000).await.unwrap());
        store.create_principal("ci", "robot", false, password("r"), event()).await.unwrap();
        assert!(store.bootstrap_is_open("one").await.unwrap());
        store.create_principal("alice", "user", false, password("h"), event()).await.unwrap();
        store.delete_principal("alice", "user", event()).await.unwrap();
        assert!(!store.bootstrap_is_open("one").await.unwrap() && !take(&store, "one", "b").await);
    }
}
