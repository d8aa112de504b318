//! Lists of a stranger's length.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Document, MAX_PACKAGES, malformed};

/// Entries not yet read, at most [`MAX_PACKAGES`]: `[0,0,0,…]` takes eight times the memory of its text.
#[derive(Default)]
pub(super) struct Entries<'a>(pub(super) Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct List<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for List<'a> {
            type Value = Entries<'a>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Entries::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = list.next_element()? {
                    if entries.len() == MAX_PACKAGES {
                        return Err(A::Error::custom(format!("a list of more than {MAX_PACKAGES} entries")));
                    }
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        from.deserialize_any(List(PhantomData))
    }
}

impl Entries<'_> {
    /// Each entry as `T`; what is none becomes a finding.
    pub(super) fn read<'a, T: serde::Deserialize<'a>>(
        &'a self,
        document: &mut Document,
        what: &str,
    ) -> Vec<T> {
        let mut read = Vec::new();
        for (at, entry) in self.0.iter().enumerate() {
            match serde_json::from_str(entry.get()) {
                Ok(entry) => read.push(entry),
                Err(e) => document.complain(malformed(format!("{what} {at}: {e}"))),
            }
        }
        read
    }
}
