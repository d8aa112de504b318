//! Passwords of people, hashed with argon2id.

use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};

/// Longest password, in bytes: hashing is work that a stranger can ask for.
const MAX: usize = 1024;
/// Shortest password of a new account, in characters (NIST SP 800-63B, 3.1.1.2).
const MIN: usize = 8;

/// A hash with this crate's parameters that no password is known to have: checked where there is no account, so that an
/// unknown name takes as long as a wrong password.
pub const DUMMY_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$cnJlZy1ub2JvZHktMDAwMQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Why a password cannot be set.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Too short, or far too long.
    #[error("a password has at least {MIN} characters and at most {MAX} bytes")]
    Length,
    /// It would be taken for a token.
    #[error("a password does not begin with rreg_: that is how tokens begin")]
    Token,
    /// The hash function refused.
    #[error("the password cannot be hashed: {0}")]
    Hash(String),
}

/// 19 MiB, two passes, one lane: the first choice of OWASP's password storage cheat sheet.
fn argon2() -> Result<Argon2<'static>, PasswordError> {
    let params = Params::new(19_456, 2, 1, None).map_err(|e| PasswordError::Hash(e.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// The hash to be stored. Takes tens of milliseconds and 19 MiB: not for a thread that serves others.
///
/// # Errors
/// [`PasswordError`].
pub fn hash_password(password: &str, salt: [u8; 16]) -> Result<String, PasswordError> {
    if password.chars().count() < MIN || password.len() > MAX {
        return Err(PasswordError::Length);
    }
    if crate::ApiToken::looks_like(password) {
        return Err(PasswordError::Token);
    }
    let hash = argon2()?.hash_password_with_salt(password.as_bytes(), &salt);
    hash.map(|hash| hash.to_string()).map_err(|e| PasswordError::Hash(e.to_string()))
}

/// Whether `password` is the one of `hash`. As costly as [`hash_password`]. A hash that cannot be read has none.
pub fn verify_password(password: &str, hash: &str) -> bool {
    let Ok(argon2) = argon2() else { return false };
    password.len() <= MAX && argon2.verify_password(password.as_bytes(), hash).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords() {
        let hash = hash_password("correct horse", [3; 16]).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(verify_password("correct horse", &hash));
        assert!(!verify_password("correct horsf", &hash) && !verify_password("", &hash));
        assert!(!verify_password("x", "not a hash") && !verify_password("x", ""));
        assert_eq!(hash_password("short", [0; 16]), Err(PasswordError::Length));
        assert_eq!(hash_password(&"x".repeat(2000), [0; 16]), Err(PasswordError::Length));
        assert_eq!(hash_password("rreg_password", [0; 16]), Err(PasswordError::Token));
    }

    #[test]
    fn the_dummy_is_a_hash_like_any_other() {
        let parameters = |hash: &str| hash.split('$').take(4).map(str::to_owned).collect::<Vec<_>>();
        let real = hash_password("correct horse", [3; 16]).unwrap();
        assert_eq!(parameters(DUMMY_HASH), parameters(&real));
        assert_eq!(DUMMY_HASH.len(), real.len());
        // It must be hashed against, not refused as malformed.
        assert!(argon2::password_hash::phc::PasswordHash::new(DUMMY_HASH).is_ok());
        assert!(!verify_password("anything", DUMMY_HASH));
    }
}
