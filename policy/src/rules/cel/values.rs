//! What expressions see of the facts. The names are those of `rreg policy explain`'s JSON.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cel::Value as Cel;
use cel::objects::{Key, Map};
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use serde_json::{Value, json};

use super::run::Scope;
use crate::facts::{ConfigFacts, EvidenceFact, Fact, ImageFacts};
use crate::signer::Signer;
use crate::verdict::Verification;

/// The value of a variable.
pub(super) fn variable(name: &str, scope: &Scope<'_>) -> Cel {
    match name {
        "image" => image(&scope.facts.image),
        "signatures" => from_json(&signatures(scope)),
        "attestations" => from_json(&attestations(scope)),
        "predicate" => scope.predicate.map_or(Cel::Null, from_json),
        "sbom" => from_json(&sbom(scope)),
        "now" => time(hour(scope.now)),
        _ => Cel::Null,
    }
}

/// What it takes to make a value of what strangers wrote, counted as [`super::budget::Budget::pay_for`] does. Paid
/// before it is made.
pub(super) fn cost(name: &str, scope: &Scope<'_>) -> u64 {
    let all = |values: &mut dyn Iterator<Item = &Value>| values.map(size).fold(0, u64::saturating_add);
    match name {
        "attestations" => {
            let statements = relevant(scope).filter(|fact| !fact.is_signature());
            all(&mut statements.filter_map(|fact| Some(&fact.statement.as_ref()?.predicate)))
        }
        "predicate" => all(&mut scope.predicate.into_iter()),
        "image" => image_size(&scope.facts.image),
        _ => 0,
    }
}

fn text(text: &str) -> u64 {
    1 + text.len() as u64 / 16
}

/// Of the parts of an image that may be many.
fn image_size(image: &ImageFacts) -> u64 {
    let texts = |list: &[String]| list.iter().map(|one| text(one)).fold(0, u64::saturating_add);
    let named = |map: &BTreeMap<String, String>| {
        let each = map.iter().map(|(name, value)| text(name).saturating_add(text(value)));
        each.fold(0, u64::saturating_add)
    };
    let config = |config: &ConfigFacts| {
        // Labels are there by themselves too.
        let labels = named(&config.labels).saturating_mul(2);
        let lists = [&config.command, &config.ports, &config.environment];
        lists.iter().map(|list| texts(list)).fold(labels, u64::saturating_add)
    };
    let configs = image.configs.iter().map(config).fold(0, u64::saturating_add);
    let digests = image.layers.len() + image.elsewhere.len() + image.parents.len();
    let lists = [texts(&image.tags), texts(&image.platforms), named(&image.annotations), 5 * digests as u64];
    lists.into_iter().fold(configs, u64::saturating_add)
}

/// One for each part, and its bytes. JSON was nested no deeper than its reader allows.
fn size(value: &Value) -> u64 {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
        Value::String(value) => text(value),
        Value::Array(list) => list.iter().map(size).fold(1, u64::saturating_add),
        Value::Object(fields) => {
            let each = fields.iter().map(|(name, value)| text(name).saturating_add(size(value)));
            each.fold(1, u64::saturating_add)
        }
    }
}

/// The full hour that `now` is: what is decided with it holds until the next one, and need not be decided again before.
pub(crate) fn hour(now: DateTime<Utc>) -> DateTime<Utc> {
    now.duration_trunc(TimeDelta::hours(1)).unwrap_or(now)
}

fn time(moment: DateTime<Utc>) -> Cel {
    Cel::Timestamp(moment.fixed_offset())
}

/// Labels that every config has with the same value: what is true of an index is true of each of its images.
pub(crate) fn common_labels(image: &ImageFacts) -> BTreeMap<String, String> {
    let mut configs = image.configs.iter();
    let mut labels = configs.next().map(|config| config.labels.clone()).unwrap_or_default();
    for config in configs {
        labels.retain(|name, value| config.labels.get(name) == Some(value));
    }
    labels
}

fn image(image: &ImageFacts) -> Cel {
    let mut value = serde_json::to_value(image).unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        // Each of them is asked about by itself.
        fields.remove("images");
        let users: Vec<&str> = image.configs.iter().map(|config| config.user.as_str()).collect();
        fields.insert("labels".into(), json!(common_labels(image)));
        fields.insert("users".into(), json!(users));
        // What is said of it is anybody's word, so it is more than any limit.
        if !image.elsewhere.is_empty() {
            fields.insert("size".into(), json!(i64::MAX));
        }
        for name in ["artifactType", "baseName", "baseDigest", "pinned"] {
            fields.entry(name).or_insert(Value::Null);
        }
    }
    let created = image.configs.iter().map(|config| config.created).collect::<Option<Vec<_>>>();
    let oldest = created.and_then(|all| all.into_iter().min());
    let mut value = from_json(&value);
    if let Cel::Map(map) = &mut value {
        let mut fields = map.map.as_ref().clone();
        fields.insert(Key::String(Arc::new("created".into())), oldest.map_or(Cel::Null, time));
        map.map = Arc::new(fields);
    }
    value
}

/// Verifications under the policy's own trust roots: nobody else's word counts.
fn verifications<'a>(scope: &'a Scope<'_>, fact: &'a EvidenceFact) -> impl Iterator<Item = &'a Verification> {
    let trusted =
        scope.policy.trust_roots_about(&scope.facts.image).filter_map(|root| fact.under(&root.id()));
    trusted.filter(|verification| verification.holds_until.is_none_or(|end| scope.now < end))
}

fn signer(of: &Signer, verification: &Verification, fact: &EvidenceFact) -> Value {
    let mut value = serde_json::to_value(of).unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        fields.insert("evidence".into(), json!(fact.id));
        fields.insert("signedAt".into(), json!(verification.signed_at));
        for name in ["issuer", "identity", "subject"] {
            fields.entry(name).or_insert_with(|| "".into());
        }
        fields.entry("claims").or_insert_with(|| json!({}));
    }
    value
}

/// Valid signers of a piece of evidence.
fn signers(scope: &Scope<'_>, fact: &EvidenceFact) -> Vec<Value> {
    let valid = verifications(scope, fact).filter_map(|v| v.valid_signer().map(|signer| (signer, v)));
    valid.map(|(of, verification)| signer(of, verification, fact)).collect()
}

fn relevant<'a>(scope: &'a Scope<'_>) -> impl Iterator<Item = &'a EvidenceFact> {
    scope.facts.evidence.iter().filter(|fact| scope.facts.image.is_covered_by(&fact.subject))
}

fn signatures(scope: &Scope<'_>) -> Value {
    relevant(scope).filter(|fact| fact.is_signature()).flat_map(|fact| signers(scope, fact)).collect()
}

fn attestations(scope: &Scope<'_>) -> Value {
    let with_statement = relevant(scope).filter(|fact| !fact.is_signature());
    let attestation = |fact: &EvidenceFact| {
        let statement = fact.statement.as_ref()?;
        let signers = signers(scope, fact);
        Some(json!({
            "predicateType": statement.predicate_type,
            "predicate": statement.predicate,
            "signed": !signers.is_empty(),
            "signers": signers,
            "evidence": fact.id,
        }))
    };
    with_statement.filter_map(attestation).collect()
}

fn sbom(scope: &Scope<'_>) -> Value {
    match &scope.facts.sbom {
        Fact::Known(sbom) => serde_json::to_value(sbom).unwrap_or_default(),
        Fact::Absent | Fact::NotGathered(_) => Value::Null,
    }
}

/// JSON as CEL: whole numbers become `int`, so that they can be compared and added as they are written.
pub(super) fn from_json(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(flag) => Cel::Bool(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => Cel::Int(whole),
            (None, Some(whole)) => Cel::UInt(whole),
            _ => Cel::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Cel::String(Arc::new(text.clone())),
        Value::Array(list) => Cel::List(Arc::new(list.iter().map(from_json).collect())),
        Value::Object(fields) => {
            let fields: HashMap<Key, Cel> = fields
                .iter()
                .map(|(name, value)| (Key::String(Arc::new(name.clone())), from_json(value)))
                .collect();
            Cel::Map(Map { map: Arc::new(fields) })
        }
    }
}
