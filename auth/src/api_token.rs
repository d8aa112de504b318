//! Tokens that programs present as passwords: recognisable, checked before anything is looked up, stored hashed.

use std::fmt;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// What every one of them begins with, so that scanners for leaked secrets find them.
const PREFIX: &str = "rreg_";
/// Random bytes in a token.
const RANDOM: usize = 32;
/// Bytes of checksum.
const CHECKSUM: usize = 4;

/// A token in clear, shown once. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiToken(String);

impl ApiToken {
    /// The token of these random bytes.
    pub fn from_random(random: [u8; RANDOM]) -> Self {
        let mut text = format!("{PREFIX}{}", hex(&random));
        let sum = checksum(&text);
        text.push_str(&sum);
        Self(text)
    }

    /// Whether `text` claims to be a token: then it is one, or nothing at all.
    pub fn looks_like(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Reads a token; `None` when it is mistyped.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        if digits.len() != 2 * (RANDOM + CHECKSUM)
            || !digits.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
        {
            return None;
        }
        let (body, sum) = text.split_at(PREFIX.len() + 2 * RANDOM);
        (checksum(body) == sum).then(|| Self(text.to_owned()))
    }

    /// The token itself, to be shown once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored. A plain hash is enough: 256 random bits cannot be guessed, however fast the hash.
    pub fn fingerprint(&self) -> String {
        fingerprint(self.0.as_bytes())
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rreg_********")
    }
}

/// SHA-256 in hexadecimal: a name for a secret of high entropy.
pub fn fingerprint(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn checksum(text: &str) -> String {
    hex(Sha256::digest(text.as_bytes()).get(..CHECKSUM).unwrap_or_default())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing into memory cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_back_and_mistyped_ones_are_not() {
        let token = ApiToken::from_random([7; RANDOM]);
        assert_eq!(ApiToken::parse(token.expose()), Some(token.clone()));
        assert!(ApiToken::looks_like(token.expose()) && !ApiToken::looks_like("hunter2"));
        assert_eq!(token.fingerprint().len(), 64);
        assert!(!format!("{token:?}").contains("0707"));
        for at in PREFIX.len()..token.expose().len() {
            let mut bytes = token.expose().as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(ApiToken::parse(&String::from_utf8(bytes).unwrap()), None, "{at}");
        }
        for bad in ["", "rreg_", "rreg_zz", &token.expose()[..76], &token.expose().to_uppercase()] {
            assert_eq!(ApiToken::parse(bad), None, "{bad}");
        }
    }
}
