//! Names in JSON that readers disagree about.
//!
//! Container runtimes read manifests and configs with Go's `encoding/json`, which takes a name in any case for its own
//! and lets the last of several win. A config with `"User": "1000"` and `"user": "0"` is one user here and another one
//! there, so that neither is what may be judged: where a known name occurs in another case, or twice, the whole is
//! refused.

use std::collections::HashSet;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What an object is known to hold.
pub(crate) struct Names {
    known: &'static [&'static str],
    /// The known names that lead to an object, or to a list of them.
    below: &'static [(&'static str, &'static Names)],
}

/// An image's config (image-spec, "Image Configuration").
pub(crate) static CONFIG: Names = Names {
    known: &["created", "os", "architecture", "variant", "config", "rootfs", "history"],
    below: &[("config", &RUN), ("rootfs", &ROOTFS)],
};

static RUN: Names = Names {
    known: &[
        "User",
        "ExposedPorts",
        "Env",
        "Entrypoint",
        "Cmd",
        "Volumes",
        "WorkingDir",
        "Labels",
        "StopSignal",
        "Healthcheck",
        "ArgsEscaped",
        "Shell",
        "OnBuild",
    ],
    below: &[],
};

static ROOTFS: Names = Names { known: &["type", "diff_ids"], below: &[] };

/// An image manifest or an index (image-spec, "Image Manifest", "Image Index").
pub(super) static MANIFEST: Names = Names {
    known: &[
        "schemaVersion",
        "mediaType",
        "artifactType",
        "config",
        "layers",
        "manifests",
        "subject",
        "annotations",
    ],
    below: &[
        ("config", &DESCRIPTOR),
        ("layers", &DESCRIPTOR),
        ("manifests", &DESCRIPTOR),
        ("subject", &DESCRIPTOR),
    ],
};

static DESCRIPTOR: Names = Names {
    known: &["mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform"],
    below: &[("platform", &PLATFORM)],
};

static PLATFORM: Names =
    Names { known: &["os", "architecture", "variant", "os.version", "os.features"], below: &[] };

/// Reads `json` through without keeping it.
///
/// # Errors
/// Says which name is ambiguous, or that it is no JSON.
pub(crate) fn check(json: &[u8], names: &'static Names) -> Result<(), String> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let walked = Walk(names).deserialize(&mut reader).and_then(|()| reader.end());
    walked.map_err(|error| error.to_string())
}

/// As Go folds names: by letters that have a case in common, so that `\u{17f}` is an `s` and `\u{212a}` a `k`.
fn fold(name: &str) -> String {
    name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

#[derive(Clone, Copy)]
struct Walk(&'static Names);

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
        let Self(names) = self;
        let mut seen = HashSet::new();
        while let Some(name) = entries.next_key::<String>()? {
            let folded = fold(&name);
            if let Some(known) = names.known.iter().find(|known| fold(known) == folded) {
                if **known != name {
                    return Err(A::Error::custom(format!(
                        "the name {name:?} is not {known:?}, but runtimes take it for that"
                    )));
                }
                if !seen.insert(*known) {
                    return Err(A::Error::custom(format!("the name {known:?} occurs twice")));
                }
            }
            match names.below.iter().find(|(known, _)| *known == name) {
                Some((_, below)) => entries.next_value_seed(Self(below))?,
                None => drop(entries.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}
