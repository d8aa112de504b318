//! What is evidence and nothing else. Everything else is a subject of policies: programs that run images look at bytes,
//! and not at the types that a manifest gives them.
//!
//! A manifest is evidence when all of this is so:
//!
//! - it is an image manifest, and every layer has a type of evidence ([`is_evidence_type`]);
//! - its config describes nothing that runs;
//! - each layer is whole what its type says ([`is_evidence_content`]);
//! - nothing that a runtime unpacks (a tar, a compressed stream, a file system) could begin where a layer begins.

use bytes::Bytes;
use rreg_oci::{Descriptor, Manifest, ManifestKind, media_type};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::content::{Content, ManifestContent, ReadError};
use crate::evidence::is_evidence_type;
use crate::gather::{self, names};
use crate::limits::Limits;
use crate::notation;

/// Longest document that is read to see that it is one, in bytes.
const MAX_DOCUMENT: u64 = 64 << 20;
/// Longest config that evidence may have, in bytes. Those of real evidence have some hundred.
const MAX_CONFIG: u64 = 64 << 10;

/// Length of a tar header, and where its checksum lies (POSIX.1-1988, "ustar").
const TAR_HEADER: usize = 512;
const TAR_CHECKSUM: std::ops::Range<usize> = 148..156;

/// How what runtimes unpack or mount begins: where, and with what.
const BEGINNINGS: &[(usize, &[u8])] = &[
    (0, b"\x1f\x8b"),
    (0, b"\x28\xb5\x2f\xfd"),
    (0, b"BZh"),
    (0, b"\xfd7zXZ\0"),
    (0, b"\x04\x22\x4d\x18"),
    (0, b"PK"),
    (0, b"hsqs"),
    (0, b"sqsh"),
    // EROFS, ext4.
    (1024, b"\xe2\xe1\xf5\xe0"),
    (1080, b"\x53\xef"),
];

/// Whether a manifest of `content` is evidence. The types in it are its author's word.
///
/// # Errors
/// [`ReadError`] when what it names cannot be read, so that nobody knows.
pub async fn is_evidence(
    content: &dyn Content,
    manifest: &ManifestContent,
    limits: &Limits,
) -> Result<bool, ReadError> {
    // One that readers may understand differently is none.
    let Ok(manifest) = gather::parse(manifest) else { return Ok(false) };
    if !may_be_evidence(&manifest, limits) {
        return Ok(false);
    }
    if let Some(config) = &manifest.config {
        if config.size > MAX_CONFIG {
            return Ok(false);
        }
        let Some(bytes) = whole(content, config).await? else { return Ok(false) };
        if !runs_nothing(&bytes) {
            return Ok(false);
        }
    }
    for layer in &manifest.layers {
        let Some(bytes) = whole(content, layer).await? else { return Ok(false) };
        if !is_evidence_content(&layer.media_type, &bytes) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Bytes of the largest piece that [`is_evidence`] reads of a manifest, one after the other.
pub fn evidence_size(manifest: &ManifestContent, limits: &Limits) -> u64 {
    let parsed = gather::parse(manifest).ok().filter(|manifest| may_be_evidence(manifest, limits));
    parsed.and_then(|manifest| manifest.layers.iter().map(|layer| layer.size).max()).unwrap_or_default()
}

/// Whether a manifest says that all in it is evidence.
fn may_be_evidence(manifest: &Manifest, limits: &Limits) -> bool {
    let layers = &manifest.layers;
    let may_be = |layer: &Descriptor| is_evidence_type(&layer.media_type) && layer.size <= MAX_DOCUMENT;
    manifest.kind == ManifestKind::Image
        && (1..=limits.max_layers).contains(&layers.len())
        && layers.iter().all(may_be)
}

/// What a manifest names; `None` where it is longer than the manifest says, which no evidence is.
async fn whole(content: &dyn Content, named: &Descriptor) -> Result<Option<Bytes>, ReadError> {
    let limit = usize::try_from(named.size).unwrap_or(usize::MAX);
    match content.blob(&named.digest, limit).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_too_long => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a config describes nothing that runs, whatever its type: a runtime may not look at that. Cosign's signatures
/// and BuildKit's attestations have a config of an image's type, for no operating system and with nothing to start.
fn runs_nothing(config: &[u8]) -> bool {
    // Other programs take names in any case, so that none may be there in any.
    let member = |object: &Map<String, Value>, wanted: &str| {
        let found: Vec<Value> = object
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value.clone())
            .collect();
        found
    };
    let is_nothing = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty() || text == "unknown",
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    // Of a name that is there twice, readers take one or the other.
    if names::check(config, &names::CONFIG).is_err() {
        return false;
    }
    let Ok(Value::Object(config)) = serde_json::from_slice::<Value>(config) else { return false };
    let platform = ["os", "architecture"].iter().flat_map(|name| member(&config, name));
    let run = ["config", "container_config"].iter().flat_map(|name| member(&config, name));
    platform.into_iter().all(|value| is_nothing(&value))
        && run.into_iter().all(|value| match &value {
            Value::Object(run) => ["Entrypoint", "Cmd"]
                .iter()
                .flat_map(|name| member(run, name))
                .all(|value| is_nothing(&value)),
            other => is_nothing(other),
        })
}

/// Whether `content` is whole what its media type says, one of [`is_evidence_type`]: a JSON object, a Notation envelope
/// with all its parts, or a text of tags and values; and nothing that a runtime would unpack.
fn is_evidence_content(media: &str, content: &[u8]) -> bool {
    if !is_evidence_type(media) || begins_a_layer(content) {
        return false;
    }
    match media_type::essence(media) {
        essence @ ("application/cose" | "application/jose+json") => notation::is_envelope(essence, content),
        "text/spdx+json" if content.starts_with(b"SPDXVersion:") => {
            std::str::from_utf8(content).is_ok_and(|text| !text.contains('\0'))
        }
        _ => is_json_object(content),
    }
}

/// Made into values, a document takes many times its bytes, and this only asks whether it is one.
fn is_json_object(content: &[u8]) -> bool {
    let begins = content.trim_ascii_start().starts_with(b"{");
    begins && std::str::from_utf8(content).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// Whether a tar, a compressed stream or a file system could begin where this begins. A tar needs no magic: whatever has
/// a good checksum where a header has it is taken for one, a text as well.
fn begins_a_layer(content: &[u8]) -> bool {
    let begins =
        |(place, magic): &(usize, &[u8])| content.get(*place..).is_some_and(|rest| rest.starts_with(magic));
    // The frames of zstd that are skipped (RFC 8878, section 3.1.2).
    let skippable = matches!(content, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
    skippable || BEGINNINGS.iter().any(begins) || begins_a_tar(content)
}

fn begins_a_tar(content: &[u8]) -> bool {
    let Some(header) = content.get(..TAR_HEADER) else { return false };
    let Some(field) = header.get(TAR_CHECKSUM) else { return false };
    // Readers pass over what is before the digits, and over what follows them. GNU tar takes a binary number too.
    let digit = |byte: &&u8| matches!(**byte, b'0'..=b'7');
    let digits = field.iter().skip_while(|byte| !digit(byte)).take_while(digit);
    let octal = digits.fold(0, |sum, byte| (sum << 3) | i64::from(*byte - b'0'));
    let binary = field.iter().skip(1).fold(0, |sum, byte| (sum << 8) | i64::from(*byte));
    // Of old, bytes were counted as signed ones by some. The checksum itself counts as spaces.
    let counted = |value: fn(u8) -> i64| -> i64 {
        let bytes = header.iter().enumerate();
        bytes.map(|(place, byte)| if TAR_CHECKSUM.contains(&place) { 32 } else { value(*byte) }).sum()
    };
    let sums = [counted(i64::from), counted(|byte| i64::from(i8::from_ne_bytes([byte])))];
    sums.contains(&octal) || sums.contains(&binary)
}

#[cfg(test)]
mod tests;
