//! What makes the config of a manifest that of an image. Its media type is its author's word: podman does not look at it
//! where the manifest is Docker's, nor containerd anywhere.

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::names::fold;

/// The member that runtimes need of a config: which layers make the root file system (image-spec, "Image
/// Configuration").
const ROOTFS: &str = "rootfs";

/// Whether a config names a root file system, so that containerd takes what has it for an image. What is no JSON object
/// names none.
///
/// # Errors
/// What begins as an object and cannot be read as one: other readers may get further.
pub fn names_rootfs(config: &[u8]) -> Result<bool, serde_json::Error> {
    let begins = config.iter().find(|byte| !b" \t\r\n".contains(byte));
    if begins != Some(&b'{') {
        return Ok(false);
    }
    let mut reader = serde_json::Deserializer::from_slice(config);
    let found = reader.deserialize_map(Members)?;
    reader.end()?;
    Ok(found)
}

/// Looks at the names of an object and passes over what they hold.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = bool;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some(name) = entries.next_key::<String>()? {
            found |= fold(&name) == ROOTFS;
            entries.next_value::<IgnoredAny>()?;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_what_names_a_root_file_system() {
        for (config, found) in [
            (r#"{"rootfs": {"type": "layers", "diff_ids": []}}"#, Some(true)),
            (" \n{\"a\": [{}], \"RootFS\": null}", Some(true)),
            (r#"{"root\u0066s": 1}"#, Some(true)),
            ("{\"rootf\u{17f}\": 1}", Some(true)),
            ("{}", Some(false)),
            (r#"{"name": "chart", "config": {"rootfs": {}}}"#, Some(false)),
            (r#"["rootfs"]"#, Some(false)),
            (r#""rootfs""#, Some(false)),
            ("rootfs", Some(false)),
            ("", Some(false)),
            (r#"{"rootfs": {}"#, None),
            (r#"{"rootfs": {}} more"#, None),
            (r#"{"a": "\ud800", "rootfs": {}}"#, Some(true)),
            (r#"{"rootfs": {}, "a": }"#, None),
        ] {
            assert_eq!(names_rootfs(config.as_bytes()).ok(), found, "{config}");
        }
        assert!(names_rootfs(b"{\"a\": \"\xff\", \"rootfs\": {}}").unwrap_or(true), "Go reads it");
    }
}
