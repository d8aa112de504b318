//! Requests in the words of people, for errors.

use rreg_oci::{Operation, Reference};

/// What a request does, so that the registry, repository or image can follow.
pub(crate) fn doing(operation: &Operation) -> &'static str {
    match operation {
        Operation::Ping => "asking",
        Operation::Catalog { .. } => "listing the repositories of",
        Operation::TagList { .. } => "listing the tags of",
        Operation::Referrers { .. } => "listing what refers to",
        Operation::ManifestGet { .. } => "reading",
        Operation::ManifestHead { .. } => "looking up",
        Operation::ManifestPut { .. } => "pushing",
        Operation::ManifestDelete { .. } => "removing",
        Operation::BlobGet { .. } => "reading the blob",
        Operation::BlobHead { .. } => "looking up the blob",
        Operation::BlobDelete { .. } => "removing the blob",
        Operation::UploadStart { .. }
        | Operation::UploadChunk { .. }
        | Operation::UploadCommit { .. }
        | Operation::UploadStatus { .. }
        | Operation::UploadCancel { .. } => "pushing a blob to",
        Operation::TagRuleList => "listing the tag rules of",
        Operation::TagRulePut { .. } => "setting a tag rule of",
        Operation::TagRuleDelete { .. } => "removing a tag rule of",
        Operation::PolicyList => "listing the policies of",
        Operation::PolicyGet { .. } => "reading a policy of",
        Operation::PolicyPut { .. } => "setting a policy of",
        Operation::PolicyDelete { .. } => "removing a policy of",
        Operation::PolicySchema => "reading the schema of policies of",
        Operation::WhatIf => "asking what a policy would change at",
        Operation::TrustList => "listing the trust material of",
        Operation::TrustPut { .. } => "setting trust material of",
        Operation::TrustDelete { .. } => "removing trust material of",
        Operation::DecisionGet { .. } => "reading the decision about",
    }
}

/// What in its repository a request is about, as it follows the repository's name.
pub(crate) fn part(operation: &Operation) -> Option<String> {
    match operation {
        Operation::ManifestPut { reference: Reference::Digest(digest), tags, .. } => {
            Some(tags.first().map_or_else(|| format!("@{digest}"), |tag| format!(":{tag}")))
        }
        Operation::ManifestGet { reference, .. }
        | Operation::ManifestHead { reference, .. }
        | Operation::ManifestPut { reference, .. }
        | Operation::ManifestDelete { reference, .. }
        | Operation::DecisionGet { reference, .. } => Some(match reference {
            Reference::Tag(tag) => format!(":{tag}"),
            Reference::Digest(digest) => format!("@{digest}"),
        }),
        Operation::BlobGet { digest, .. }
        | Operation::BlobHead { digest, .. }
        | Operation::BlobDelete { digest, .. }
        | Operation::Referrers { subject: digest, .. } => Some(format!("@{digest}")),
        _ => None,
    }
}

/// A detail of a registry's error for people: a text as it is, the plain fields of an object, nothing else.
pub(crate) fn detail(text: &str) -> Option<String> {
    let text = text.trim();
    if text.is_empty() || text == "null" {
        return None;
    }
    if !text.starts_with(['{', '[']) {
        return Some(text.to_owned());
    }
    // One that was cut off is no JSON any more.
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
    let shown = fields.iter().filter_map(|(name, value)| {
        Some(match value {
            serde_json::Value::String(text) if !text.is_empty() => format!("{name} {text}"),
            serde_json::Value::Number(number) => format!("{name} {number}"),
            _ => return None,
        })
    });
    Some(shown.collect::<Vec<_>>().join(", ")).filter(|shown| !shown.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_words() {
        for (text, shown) in [
            ("a reason", Some("a reason")),
            (r#"{"rule":"releases","outcome":"deny","deep":{"x":1}}"#, Some("outcome deny, rule releases")),
            (r#"{"name":"x","list":[1"#, None),
            (r#"[{"Type":"repository"}]"#, None),
            ("{}", None),
            ("", None),
        ] {
            let found = detail(text);
            let mut parts: Vec<&str> = found.iter().flat_map(|found| found.split(", ")).collect();
            parts.sort_unstable();
            assert_eq!(found.as_ref().map(|_| parts.join(", ")).as_deref(), shown, "{text}");
        }
    }
}
