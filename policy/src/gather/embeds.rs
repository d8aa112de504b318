//! Content that a manifest has in itself.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Whether a descriptor in `body` may have what it names in itself (`data`, image-spec "Content Descriptors"). Clients in Go
/// take the field in any case, and of one that is there twice parts of both, so that one anywhere is enough; what cannot be
/// read may have it.
pub fn embeds(body: &[u8]) -> bool {
    serde_json::from_slice(body).map_or(true, |Embeds(found)| found)
}

struct Embeds(bool);

impl<'de> Deserialize<'de> for Embeds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Look).map(Self)
    }
}

struct Look;

impl<'de> Visitor<'de> for Look {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some(key) = map.next_key::<String>()? {
            if key.eq_ignore_ascii_case("data") {
                found = true;
                map.next_value::<IgnoredAny>()?;
            } else {
                found |= map.next_value::<Embeds>()?.0;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some(Embeds(one)) = seq.next_element()? {
            found |= one;
        }
        Ok(found)
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_in_a_descriptor_is_seen_however_it_is_written() {
        for body in [
            r#"{"manifests":[{"size":2,"data":"e30="}]}"#,
            r#"{"manifests":[{"DATA":"e30="}]}"#,
            r#"{"manifests":[{"d\u0061ta":"e30="}]}"#,
            r#"{"manifests":[{"data":"e30="}],"manifests":[{}]}"#,
            r#"{"Manifests":[{"data":null}]}"#,
            "{",
        ] {
            assert!(embeds(body.as_bytes()), "{body}");
        }
        let list = r#"{"schemaVersion":2,"manifests":[{"size":2,"digest":"data","annotations":{"a":"data"}}],"x":[1,-1,1.5,null,true]}"#;
        assert!(!embeds(list.as_bytes()));
    }
}
