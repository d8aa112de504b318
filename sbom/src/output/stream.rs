//! Documents written piece by piece: as a value in memory, one is many times as long as its text.

use std::io::Write;

use serde_json::{Map, Value};

use super::OutputError;

/// Entries of a list, in groups.
pub(super) type Groups<'a> = Box<dyn Iterator<Item = Result<Vec<Value>, OutputError>> + 'a>;

/// A document without its long lists, and these: under which names they are, and what comes behind those of its entries
/// that are there.
pub(super) struct Document<'a> {
    pub(super) frame: Map<String, Value>,
    pub(super) lists: Vec<(&'static str, Groups<'a>)>,
}

impl Document<'_> {
    /// In the order of names, as a whole value has them.
    pub(super) fn write(mut self, out: &mut dyn Write) -> Result<(), OutputError> {
        for (at, (name, value)) in self.frame.into_iter().enumerate() {
            out.write_all(if at == 0 { b"{" } else { b"," })?;
            serde_json::to_writer(&mut *out, &name)?;
            out.write_all(b":")?;
            let list = self.lists.iter_mut().find(|(list, _)| *list == name);
            match (list, value) {
                (Some((_, groups)), Value::Array(first)) => {
                    let mut began = false;
                    for group in std::iter::once(Ok(first)).chain(groups) {
                        for entry in group? {
                            out.write_all(if began { b"," } else { b"[" })?;
                            serde_json::to_writer(&mut *out, &entry)?;
                            began = true;
                        }
                    }
                    out.write_all(if began { b"]" } else { b"[]" })?;
                }
                (_, value) => serde_json::to_writer(&mut *out, &value)?,
            }
        }
        out.write_all(b"}")?;
        Ok(())
    }

    pub(super) fn value(mut self) -> Result<Value, OutputError> {
        for (name, groups) in &mut self.lists {
            if let Some(Value::Array(list)) = self.frame.get_mut(*name) {
                for group in groups {
                    list.extend(group?);
                }
            }
        }
        Ok(Value::Object(self.frame))
    }
}
