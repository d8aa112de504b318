//! The published JSON Schema, made from the tables that a policy is checked with.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::shape::{Shape, Table};
use super::tables::POLICY;

/// JSON Schema (2020-12) of one policy document. Editors use it; what it cannot say (that an expression compiles, that
/// a signer is defined, that a date exists) [`crate::Policy::parse`] says.
pub fn policy_schema() -> Value {
    let mut defined = BTreeMap::new();
    let mut schema = object(&POLICY, &mut defined);
    if let Value::Object(fields) = &mut schema {
        fields.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
        fields.insert("$id".into(), "urn:rreg:policy:v1".into());
        fields.insert("title".into(), "rreg policy".into());
        let defined: serde_json::Map<String, Value> =
            defined.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
        fields.insert("$defs".into(), Value::Object(defined));
    }
    schema
}

type Defined = BTreeMap<&'static str, Value>;

fn object(table: &'static Table, defined: &mut Defined) -> Value {
    let mut properties = serde_json::Map::new();
    for field in table.fields {
        let mut schema = shape(&field.shape, defined);
        if let Value::Object(fields) = &mut schema {
            fields.insert("description".into(), field.about.into());
        }
        properties.insert(field.name.into(), schema);
    }
    let required: Vec<&str> = table.fields.iter().filter(|f| f.required).map(|f| f.name).collect();
    let mut schema = json!({
        "type": "object",
        "description": table.about,
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    let groups: Vec<Value> = table.one_of.iter().map(|group| exactly_one(group)).collect();
    if let Value::Object(fields) = &mut schema {
        if !groups.is_empty() {
            fields.insert("allOf".into(), Value::Array(groups));
        }
        if table.min_fields > 0 {
            fields.insert("minProperties".into(), table.min_fields.into());
        }
    }
    schema
}

fn exactly_one(group: &[&str]) -> Value {
    let each: Vec<Value> = group.iter().map(|name| json!({"required": [name]})).collect();
    json!({"oneOf": each})
}

fn shape(of: &'static Shape, defined: &mut Defined) -> Value {
    match of {
        Shape::Text(form) => match form.pattern {
            Some(pattern) => json!({"type": "string", "pattern": pattern}),
            None => json!({"type": "string"}),
        },
        Shape::Any => json!({}),
        Shape::Flag => json!({"type": "boolean"}),
        Shape::False => json!({"const": false}),
        Shape::Whole { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
        Shape::Number { min, max } => json!({"type": "number", "minimum": min, "maximum": max}),
        Shape::Choice(choices) => json!({"enum": choices}),
        Shape::List(each) => json!({"type": "array", "minItems": 1, "items": shape(each, defined)}),
        Shape::OneOrMany(each) => {
            let one = shape(each, defined);
            json!({"anyOf": [one.clone(), {"type": "array", "minItems": 1, "items": one}]})
        }
        Shape::Named(each) => json!({"type": "object", "additionalProperties": shape(each, defined)}),
        Shape::Either(one, other) => json!({"anyOf": [shape(one, defined), shape(other, defined)]}),
        Shape::Object(table) => {
            if !defined.contains_key(table.name) {
                // Put first, so that a table that leads to itself ends.
                defined.insert(table.name, Value::Null);
                let schema = object(table, defined);
                defined.insert(table.name, schema);
            }
            json!({"$ref": format!("#/$defs/{}", table.name)})
        }
    }
}
