//! The keys that sign bearer tokens: kept in the database, so that replicas know each other's tokens.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rreg_auth::{Claims, SigningKey, TokenError, TokenIssuer, TokenSettings};
use rreg_storage::{Storage, StorageError};

/// A new key is made after so long,
const SIGNS: Duration = Duration::from_secs(30 * 86_400);
/// and the old one verifies for so long more; tokens live for an hour at most.
const OVERLAP: Duration = Duration::from_secs(86_400);
/// Between two looks for keys that other replicas have made: strangers can ask for one with every request.
const RELOAD: Duration = Duration::from_secs(5);

pub(super) struct Keys {
    settings: TokenSettings,
    storage: Storage,
    issuer: RwLock<Arc<TokenIssuer>>,
    reloaded: Mutex<Option<Instant>>,
}

/// Seconds since the Unix epoch.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn corrupt(error: &TokenError) -> StorageError {
    StorageError::Corrupt(format!("table signing_keys: {error}"))
}

impl Keys {
    pub(super) fn new(settings: TokenSettings, storage: Storage) -> Self {
        let issuer = RwLock::new(Arc::new(TokenIssuer::new(settings.clone(), &[])));
        Self { settings, storage, issuer, reloaded: Mutex::new(None) }
    }

    /// Makes a key if the newest is too old, and reads all of them.
    pub(super) async fn refresh(&self) -> Result<(), StorageError> {
        let metadata = self.storage.metadata();
        let ago = |age: Duration| {
            let seconds = now().saturating_sub(age.as_secs());
            i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX)
        };
        let mut stored = metadata.signing_keys().await?;
        let young = stored.last().is_some_and(|key| key.created_at > ago(SIGNS));
        if !young {
            let key = SigningKey::generate().map_err(|e| corrupt(&e))?;
            metadata.rotate_signing_key(key.expose().to_vec(), ago(SIGNS), ago(SIGNS + OVERLAP)).await?;
            stored = metadata.signing_keys().await?;
        }
        let keys: Result<Vec<_>, _> = stored.iter().map(|key| SigningKey::from_pkcs8(&key.private)).collect();
        let issuer = TokenIssuer::new(self.settings.clone(), &keys.map_err(|e| corrupt(&e))?);
        *self.issuer.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(issuer);
        Ok(())
    }

    pub(super) fn issuer(&self) -> Arc<TokenIssuer> {
        self.issuer.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a token says. Another replica may have made its key a moment ago.
    pub(super) async fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        match self.issuer().verify(token, now()) {
            Err(TokenError::UnknownKey) if self.may_reload() => {
                if let Err(error) = self.refresh().await {
                    tracing::error!(%error, "token signing keys cannot be read");
                }
                self.issuer().verify(token, now())
            }
            verified => verified,
        }
    }

    fn may_reload(&self) -> bool {
        let mut last = self.reloaded.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| last.elapsed() >= RELOAD);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}
