//! Names in JSON that readers disagree about.
//!
//! Go's `encoding/json` takes a name in any case for its own and lets the last of several win. A config with
//! `"User": "1000"` and `"user": "0"` is one user here and another one there, so that neither is what may be judged:
//! where a known name occurs in another case, or twice, the whole is refused.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What an object is known to hold.
#[derive(Debug)]
pub struct Names {
    /// The names of its members.
    pub known: &'static [&'static str],
    /// Those that lead to an object, or to a list of them, and what that holds.
    pub below: &'static [(&'static str, &'static Names)],
}

impl Names {
    /// Reads `json` through without keeping it. `readers` are those who would read it otherwise, in a word.
    ///
    /// # Errors
    /// Says which name is ambiguous, or that it is no JSON.
    pub fn check(&'static self, json: &[u8], readers: &'static str) -> Result<(), String> {
        let mut reader = serde_json::Deserializer::from_slice(json);
        let walk = Walk { names: self, readers };
        let walked = walk.deserialize(&mut reader).and_then(|()| reader.end());
        walked.map_err(|error| error.to_string())
    }
}

/// As Go folds names: by letters that have a case in common, so that `\u{17f}` is an `s` and `\u{212a}` a `k`.
pub(crate) fn fold(name: &str) -> String {
    name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// Whether somebody may take `name` for `known`.
fn may_be(name: &str, known: &str) -> bool {
    name.eq_ignore_ascii_case(known) || !name.is_ascii() && fold(name) == fold(known)
}

#[derive(Clone, Copy)]
struct Walk {
    names: &'static Names,
    readers: &'static str,
}

impl<'de> DeserializeSeed<'de> for Walk {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

/// Only objects have names; a value of another kind is for others to judge.
impl<'de> Visitor<'de> for Walk {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut seen: Vec<&str> = Vec::new();
        while let Some(name) = entries.next_key_seed(Member(self))? {
            let Some(known) = name else {
                entries.next_value::<IgnoredAny>()?;
                continue;
            };
            if seen.contains(&known) {
                return Err(A::Error::custom(format!("the name {known:?} occurs twice")));
            }
            seen.push(known);
            match self.names.below.iter().find(|(name, _)| *name == known) {
                Some((_, below)) => entries.next_value_seed(Self { names: below, ..self })?,
                None => drop(entries.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// A member's name: which known one it is, `None` for any other.
struct Member(Walk);

impl<'de> DeserializeSeed<'de> for Member {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Member {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        let Walk { names, readers } = self.0;
        let known = names.known.iter().copied().find(|known| may_be(name, known));
        match known.filter(|known| *known != name) {
            None => Ok(known),
            Some(known) => {
                Err(E::custom(format!("the name {name:?} is not {known:?}, but {readers} take it for that")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Names;

    static OUTER: Names = Names { known: &["kind", "list"], below: &[("list", &INNER)] };
    static INNER: Names = Names { known: &["name", "list"], below: &[("list", &INNER)] };

    #[test]
    fn names_in_another_case_or_twice_are_refused() {
        for (json, said) in [
            (r#"{"kind": {"Kind": 1, "kind": 2}, "other": 1, "Other": 2}"#, None),
            (r#"{"list": [{"name": 1, "kind": 2, "Kind": 3}, {"name": 2}, 7, null]}"#, None),
            (r#"{"List": []}"#, Some("\"List\" is not \"list\", but readers")),
            (r#"{"\u212aind": 1}"#, Some("is not \"kind\"")),
            (r#"{"kin\u0064": 1, "kind": 2}"#, Some("\"kind\" occurs twice")),
            (r#"{"list": {"list": [[{"list": {"NAME": 1}}]]}}"#, Some("\"NAME\"")),
            (r#"{"kind": 1} 2"#, Some("trailing")),
        ] {
            let told = OUTER.check(json.as_bytes(), "readers");
            match said {
                None => assert_eq!(told, Ok(()), "{json}"),
                Some(said) => {
                    assert!(told.as_ref().is_err_and(|told| told.contains(said)), "{json}: {told:?}")
                }
            }
        }
    }
}
