//! What verifications found: cryptography is done once for a piece of evidence and a trust root.

use rreg_oci::Digest;
use sqlx::Row as _;

use super::MetadataStore;
use crate::db::now_ms;
use crate::error::StorageError;

/// What verifying one piece of evidence under one trust root found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredVerification {
    /// Names the evidence by all that it says.
    pub evidence: Digest,
    /// Names the trust root by all that it says.
    pub trust: Digest,
    /// JSON.
    pub body: String,
    /// When it has to be made again, in milliseconds since the Unix epoch.
    pub holds_until: Option<i64>,
}

impl MetadataStore {
    /// The verifications of one piece of evidence that hold now.
    ///
    /// # Errors
    /// A database failure.
    pub async fn verifications(&self, evidence: &Digest) -> Result<Vec<StoredVerification>, StorageError> {
        let rows = sqlx::query(
            "SELECT trust, body, holds_until FROM verifications \
             WHERE evidence = $1 AND (holds_until IS NULL OR holds_until > $2)",
        )
        .bind(evidence.to_string())
        .bind(now_ms())
        .fetch_all(&mut *self.db.read().await?)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(StoredVerification {
                    evidence: *evidence,
                    trust: super::digest_column(row, 0)?,
                    body: row.try_get(1)?,
                    holds_until: row.try_get(2)?,
                })
            })
            .collect()
    }

    /// Keeps what was found.
    ///
    /// # Errors
    /// A database failure.
    pub async fn keep_verifications(&self, found: Vec<StoredVerification>) -> Result<(), StorageError> {
        if found.is_empty() {
            return Ok(());
        }
        self.db
            .write(
                found,
                |conn, found| {
                    Box::pin(async move {
                        for one in found {
                            sqlx::query(
                                "INSERT INTO verifications (evidence, trust, body, holds_until, made_at) \
                                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT (evidence, trust) DO UPDATE SET \
                                 body = excluded.body, holds_until = excluded.holds_until, made_at = excluded.made_at",
                            )
                            .bind(one.evidence.to_string())
                            .bind(one.trust.to_string())
                            .bind(one.body.as_str())
                            .bind(one.holds_until)
                            .bind(now_ms())
                            .execute(&mut *conn)
                            .await?;
                        }
                        Ok(())
                    })
                },
                |_, ()| {},
            )
            .await
    }

    /// Forgets what was found under trust roots that nobody has any more. Gives how much that was.
    ///
    /// # Errors
    /// A database failure.
    pub async fn forget_verifications(&self, trusted: Vec<Digest>) -> Result<u64, StorageError> {
        // From one to the next by the index: they are few, and each has many rows.
        let rows = sqlx::query(
            "WITH RECURSIVE each(trust) AS (SELECT MIN(trust) FROM verifications UNION ALL \
             SELECT (SELECT MIN(v.trust) FROM verifications v WHERE v.trust > each.trust) FROM each \
             WHERE each.trust IS NOT NULL) SELECT trust FROM each WHERE trust IS NOT NULL",
        )
        .fetch_all(&mut *self.db.read().await?)
        .await?;
        let mut gone = Vec::new();
        for row in &rows {
            let trust: Digest = super::digest_column(row, 0)?;
            if !trusted.contains(&trust) {
                gone.push(trust);
            }
        }
        if gone.is_empty() {
            return Ok(0);
        }
        self.db
            .write(
                gone,
                |conn, gone| {
                    Box::pin(async move {
                        let mut count = 0;
                        for trust in gone {
                            let deleted = sqlx::query("DELETE FROM verifications WHERE trust = $1")
                                .bind(trust.to_string())
                                .execute(&mut *conn)
                                .await?;
                            count += deleted.rows_affected();
                        }
                        Ok(count)
                    })
                },
                |_, _| {},
            )
            .await
    }
}
