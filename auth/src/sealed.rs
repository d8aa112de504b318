//! Private keys as they are kept at rest: AES-256-GCM under a key that is in a file beside the database and not in it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf;

/// What sealed bytes begin with. A key in clear begins with a DER sequence (0x30).
const BEGINNING: &[u8] = b"rreg-sealed-1 ";
/// Says what the key is for, so that another use of the same file has another key.
const PURPOSE: &[u8] = b"rreg: keys that sign bearer tokens";
/// Fewest bytes of a secret that cannot be guessed.
const LEAST: usize = 32;

/// Why a sealed key cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The secret is too short.
    #[error("it has fewer than {LEAST} bytes; make one with `openssl rand -base64 48`")]
    Short,
    /// Another secret was used, or the bytes were changed.
    #[error("it was sealed under another key file, or has been changed")]
    Wrong,
    /// The library gave up.
    #[error("it cannot be sealed")]
    Failed,
}

/// Seals keys and opens them. `Debug` shows nothing of it.
pub struct Sealer(RandomizedNonceKey);

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    /// With the secret of a file.
    ///
    /// # Errors
    /// [`SealError::Short`].
    pub fn new(secret: &[u8]) -> Result<Self, SealError> {
        let secret = secret.trim_ascii();
        if secret.len() < LEAST {
            return Err(SealError::Short);
        }
        let mut key = [0; 32];
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(secret);
        let expanded = extracted.expand(&[PURPOSE], &AES_256_GCM);
        expanded.and_then(|expanded| expanded.fill(&mut key)).map_err(|_| SealError::Failed)?;
        RandomizedNonceKey::new(&AES_256_GCM, &key).map(Self).map_err(|_| SealError::Failed)
    }

    /// Whether these bytes are sealed, by whichever secret.
    pub fn is_sealed(stored: &[u8]) -> bool {
        stored.starts_with(BEGINNING)
    }

    /// `clear`, so that only who has the secret reads it.
    ///
    /// # Errors
    /// [`SealError::Failed`].
    pub fn seal(&self, clear: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut bytes = clear.to_vec();
        let nonce = self.0.seal_in_place_append_tag(Aad::from(BEGINNING), &mut bytes);
        let nonce = nonce.map_err(|_| SealError::Failed)?;
        Ok([BEGINNING, nonce.as_ref(), &bytes].concat())
    }

    /// What was sealed.
    ///
    /// # Errors
    /// [`SealError::Wrong`].
    pub fn open(&self, stored: &[u8]) -> Result<Vec<u8>, SealError> {
        let rest = stored.strip_prefix(BEGINNING).ok_or(SealError::Wrong)?;
        let (nonce, bytes) = rest.split_at_checked(NONCE_LEN).ok_or(SealError::Wrong)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Wrong)?;
        let mut bytes = bytes.to_vec();
        let clear = self.0.open_in_place(nonce, Aad::from(BEGINNING), &mut bytes);
        clear.map(|clear| clear.to_vec()).map_err(|_| SealError::Wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_secret_opens_it() {
        let sealer = Sealer::new(&[7; 32]).unwrap();
        let sealed = sealer.seal(b"0 a key").unwrap();
        assert!(Sealer::is_sealed(&sealed) && !Sealer::is_sealed(b"0 a key"));
        assert_eq!(sealer.open(&sealed).unwrap(), b"0 a key");
        assert_ne!(sealed, sealer.seal(b"0 a key").unwrap(), "each time another nonce");
        assert_eq!(Sealer::new(&[8; 32]).unwrap().open(&sealed), Err(SealError::Wrong));
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert_eq!(sealer.open(&changed), Err(SealError::Wrong), "{place}");
            assert_eq!(sealer.open(&sealed[..place]), Err(SealError::Wrong), "{place}");
        }
        assert_eq!(Sealer::new(b"short\n").unwrap_err(), SealError::Short);
    }
}
