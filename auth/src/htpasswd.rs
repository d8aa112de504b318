//! Files of `htpasswd -B`: one `name:bcrypt hash` a line.

use std::collections::BTreeMap;
use std::fmt;

use crate::identity::PrincipalName;

/// Largest cost that is taken: two to its power rounds, about a second.
const MAX_COST: u32 = 14;
/// Largest file, in bytes.
const MAX_TEXT: usize = 4 << 20;
/// Stands in for a user who is not there. Nobody knows a password of it.
const DUMMY: &str = ".....................................................";

/// What is wrong with a file. Hashes are not repeated.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HtpasswdError {
    /// A line is not `name:hash`, or its name is not one.
    #[error("line {line}: {why}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// In which way.
        why: String,
    },
    /// The file is too large.
    #[error("the file has more than {MAX_TEXT} bytes")]
    TooLarge,
}

/// The users of a file.
#[derive(Clone, Default)]
pub struct Htpasswd {
    hashes: BTreeMap<PrincipalName, String>,
    /// A hash as costly as the costliest of the file.
    dummy: String,
}

impl Htpasswd {
    /// Reads a file's text.
    ///
    /// # Errors
    /// [`HtpasswdError`] with the line.
    pub fn parse(text: &str) -> Result<Self, HtpasswdError> {
        if text.len() > MAX_TEXT {
            return Err(HtpasswdError::TooLarge);
        }
        let mut hashes = BTreeMap::new();
        let mut highest = 4;
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why: &str| HtpasswdError::Line { line: at + 1, why: why.to_owned() };
            let (name, hash) = line.split_once(':').ok_or_else(|| wrong("is not NAME:HASH"))?;
            let name: PrincipalName = name.parse().map_err(|e| wrong(&format!("{e}")))?;
            highest = highest.max(cost(hash).ok_or_else(|| {
                wrong("the hash is not bcrypt with a cost of 4 to 14; make it with `htpasswd -B`")
            })?);
            if hashes.insert(name, hash.to_owned()).is_some() {
                return Err(wrong("the name is there twice"));
            }
        }
        Ok(Self { hashes, dummy: format!("$2b${highest:02}${DUMMY}") })
    }

    /// Whether there is nobody in it.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether `name` is in it.
    pub fn contains(&self, name: &PrincipalName) -> bool {
        self.hashes.contains_key(name)
    }

    /// Whether `password` is that of `name`. Costly, and as costly when there is no such user.
    pub fn verify(&self, name: Option<&PrincipalName>, password: &str) -> bool {
        if self.is_empty() {
            return false;
        }
        let hash = name.and_then(|name| self.hashes.get(name));
        let right = bcrypt::verify(password, hash.unwrap_or(&self.dummy)).unwrap_or(false);
        right && hash.is_some()
    }
}

impl fmt::Debug for Htpasswd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Htpasswd({} users)", self.hashes.len())
    }
}

/// Cost of a bcrypt hash in one of the forms that htpasswd and its relatives write.
fn cost(hash: &str) -> Option<u32> {
    let rest = ["$2y$", "$2a$", "$2b$"].iter().find_map(|prefix| hash.strip_prefix(prefix))?;
    let (cost, rest) = rest.split_once('$')?;
    let digits = |c: u8| c.is_ascii_alphanumeric() || c == b'.' || c == b'/';
    let cost = cost.parse().ok().filter(|cost| (4..=MAX_COST).contains(cost))?;
    (rest.len() == 53 && rest.bytes().all(digits)).then_some(cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_passwords() {
        let hash = bcrypt::hash("secret", 4).unwrap().replacen("$2b$", "$2y$", 1);
        let file = Htpasswd::parse(&format!("# staff\n\nalice:{hash}\n")).unwrap();
        let name = |text: &str| text.parse::<PrincipalName>().unwrap();
        assert!(file.contains(&name("alice")) && !file.contains(&name("bob")));
        assert!(file.verify(Some(&name("alice")), "secret"));
        assert!(!file.verify(Some(&name("alice")), "Secret"));
        assert!(!file.verify(Some(&name("bob")), "secret") && !file.verify(None, "secret"));
        assert!(
            bcrypt::verify("secret", &file.dummy).is_ok_and(|right| !right),
            "the dummy is hashed against"
        );
        assert!(!format!("{file:?}").contains(&hash));
    }

    #[test]
    fn what_is_not_bcrypt_is_refused_with_its_line() {
        for (text, line) in [
            ("alice", 1),
            ("\nalice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", 2),
            ("alice:$apr1$a$b", 1),
            ("Alice:$2y$05$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 1),
            ("alice:$2y$31$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 1),
        ] {
            let error = Htpasswd::parse(text).unwrap_err();
            assert!(
                matches!(error, HtpasswdError::Line { line: found, .. } if found == line),
                "{text}: {error}"
            );
            assert!(!error.to_string().contains("$2y$"));
        }
        assert!(Htpasswd::parse("").unwrap().is_empty());
    }
}
