//! The keys that sign bearer tokens: kept in the database, so that replicas know each other's tokens.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rreg_auth::{Claims, SealError, Sealer, SigningKey, TokenError, TokenIssuer, TokenSettings};
use rreg_storage::{Storage, StorageError, StoredKey};

/// A new key is made after so long,
const SIGNS: Duration = Duration::from_secs(30 * 86_400);
/// and the old one verifies for so long more; tokens live for an hour at most.
const OVERLAP: Duration = Duration::from_secs(86_400);
/// Between two looks for keys that other replicas have made: strangers can ask for one with every request.
const RELOAD: Duration = Duration::from_secs(5);

pub(super) struct Keys {
    settings: TokenSettings,
    storage: Storage,
    /// `auth.key_file`
    sealer: Option<Sealer>,
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

fn sealing(error: &SealError) -> StorageError {
    StorageError::Setting(format!("auth.key_file: {error}"))
}

impl Keys {
    /// `key_file` has the secret under which the keys are sealed.
    pub(super) fn new(
        settings: TokenSettings,
        storage: Storage,
        key_file: Option<&Path>,
    ) -> Result<Self, StorageError> {
        let issuer = RwLock::new(Arc::new(TokenIssuer::new(settings.clone(), &[])));
        let sealer = key_file.map(|path| {
            let failed =
                |why: String| StorageError::Setting(format!("auth.key_file = {}: {why}", path.display()));
            let secret = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
            Sealer::new(&secret).map_err(|error| failed(error.to_string()))
        });
        Ok(Self { settings, storage, sealer: sealer.transpose()?, issuer, reloaded: Mutex::new(None) })
    }

    /// The key in clear. One that was kept in clear before there was a key file is sealed now.
    async fn open(&self, stored: &StoredKey) -> Result<SigningKey, StorageError> {
        let clear = match (&self.sealer, Sealer::is_sealed(&stored.private)) {
            (Some(sealer), true) => sealer.open(&stored.private).map_err(|error| {
                StorageError::Setting(format!("a signing key cannot be opened with auth.key_file: {error}"))
            })?,
            (None, true) => {
                let why = "the signing keys are sealed, and auth.key_file, which opens them, is not set";
                return Err(StorageError::Setting(why.to_owned()));
            }
            (Some(sealer), false) => {
                let sealed = sealer.seal(&stored.private).map_err(|error| sealing(&error))?;
                self.storage.metadata().replace_signing_key(stored.private.clone(), sealed).await?;
                tracing::info!("a signing key that was kept in clear is sealed now");
                stored.private.clone()
            }
            (None, false) => stored.private.clone(),
        };
        SigningKey::from_pkcs8(&clear).map_err(|error| corrupt(&error))
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
            let private = match &self.sealer {
                Some(sealer) => sealer.seal(key.expose()).map_err(|error| sealing(&error))?,
                None => key.expose().to_vec(),
            };
            metadata.rotate_signing_key(private, ago(SIGNS), ago(SIGNS + OVERLAP)).await?;
            stored = metadata.signing_keys().await?;
        }
        let mut keys = Vec::with_capacity(stored.len());
        for key in &stored {
            keys.push(self.open(key).await?);
        }
        let issuer = TokenIssuer::new(self.settings.clone(), &keys);
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
