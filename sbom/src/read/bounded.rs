//! Lists of a stranger's length.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::licensed::Others;
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

/// Something with a name and licences.
pub(super) trait Licensed {
    fn licensed(self) -> (String, Vec<String>);
}

/// Licences of files, of a list as long as the image has files: of these only the licences are kept.
pub(super) struct Files<T> {
    licenses: Others,
    /// Why some could not be read, and how many.
    unread: Option<(String, usize)>,
    of: PhantomData<T>,
}

impl<T> Default for Files<T> {
    fn default() -> Self {
        Self { licenses: Others::default(), unread: None, of: PhantomData }
    }
}

impl<T> Files<T> {
    /// Each licence with the names of the first files that have it.
    pub(super) fn give(self, document: &mut Document) -> BTreeMap<String, Vec<String>> {
        if let Some((why, many)) = self.unread {
            document.complain(malformed(format!("{many} files: {why}")));
        }
        self.licenses.give(document)
    }
}

impl<'de, T: for<'a> Deserialize<'a> + Licensed> Deserialize<'de> for Files<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct List<T>(PhantomData<T>);
        impl<'de, T: for<'a> Deserialize<'a> + Licensed> Visitor<'de> for List<T> {
            type Value = Files<T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a list of files")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Files::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut files = Files::default();
                while let Some(raw) = list.next_element::<&RawValue>()? {
                    match serde_json::from_str::<T>(raw.get()).map(T::licensed) {
                        Ok((name, licenses)) => files.licenses.add(&name, licenses),
                        Err(e) => files.unread.get_or_insert_with(|| (e.to_string(), 0)).1 += 1,
                    }
                }
                Ok(files)
            }
        }
        from.deserialize_any(List(PhantomData))
    }
}
