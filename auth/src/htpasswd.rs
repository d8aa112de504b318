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
    /// Cost of the costliest hash.
    highest: u32,
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
        Ok(Self { hashes, highest })
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
        let right = hash.is_some_and(|hash| bcrypt::verify(password, hash).unwrap_or(false));
        for cost in self.rest(hash) {
            let _ = bcrypt::verify(password, &dummy(cost));
        }
        right
    }

    /// Costs of the hashes that are checked in vain, so that together with `hash` (of nobody: alone) they are as much
    /// work as one of the highest cost in the file. The work of a cost is 2^cost: c, then c, c+1, … up to below the
    /// highest.
    fn rest(&self, hash: Option<&String>) -> std::ops::Range<u32> {
        match hash.and_then(|hash| cost(hash)) {
            Some(cost) => cost..self.highest,
            None => self.highest..self.highest + 1,
        }
    }
}

impl fmt::Debug for Htpasswd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Htpasswd({} users)", self.hashes.len())
    }
}

/// A hash of this cost that is nobody's.
fn dummy(cost: u32) -> String {
    format!("$2b${cost:02}${DUMMY}")
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
            bcrypt::verify("secret", &dummy(file.highest)).is_ok_and(|right| !right),
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

    /// By the work: whose hash is cheap must not be told from who is not there.
    #[test]
    fn everybody_is_as_much_work() {
        let hash = |cost: u32| format!("$2y${cost:02}${}", "a".repeat(53));
        let text = format!("a:{}\nb:{}\nc:{}\n", hash(4), hash(9), hash(12));
        let file = Htpasswd::parse(&text).unwrap();
        let work = |name: &str| {
            let hash = file.hashes.get(&name.parse::<PrincipalName>().unwrap());
            let own = hash.and_then(|hash| cost(hash)).map_or(0, |cost| 1u32 << cost);
            own + file.rest(hash).map(|cost| 1u32 << cost).sum::<u32>()
        };
        assert_eq!(["a", "b", "c", "nobody"].map(work), [1 << 12; 4]);
    }
}
