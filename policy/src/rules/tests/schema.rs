//! The schema and the parser say the same.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::{Value, json};

use super::super::shape::{Shape, Table};
use super::super::tables::POLICY;
use super::*;

/// Every keyword that the schema uses, and nothing else: one that is not known here fails the test.
fn agrees(schema: &Value, root: &Value, value: &Value) -> bool {
    let Value::Object(keywords) = schema else { panic!("{schema} is no schema") };
    keywords.iter().all(|(keyword, wanted)| match keyword.as_str() {
        "$schema" | "$id" | "$defs" | "title" | "description" => true,
        "$ref" => {
            agrees(root.pointer(wanted.as_str().unwrap().trim_start_matches('#')).unwrap(), root, value)
        }
        "type" => match wanted.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "number" => value.is_number(),
            "integer" => value.is_i64() || value.is_u64(),
            other => panic!("{other}"),
        },
        "pattern" => {
            value.as_str().is_none_or(|text| Regex::new(wanted.as_str().unwrap()).unwrap().is_match(text))
        }
        "const" => value == wanted,
        "enum" => wanted.as_array().unwrap().contains(value),
        "minimum" => value.as_f64().is_none_or(|n| n >= wanted.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|n| n <= wanted.as_f64().unwrap()),
        "minItems" => value.as_array().is_none_or(|list| list.len() as u64 >= wanted.as_u64().unwrap()),
        "minProperties" => value.as_object().is_none_or(|map| map.len() as u64 >= wanted.as_u64().unwrap()),
        "items" => value.as_array().is_none_or(|list| list.iter().all(|each| agrees(wanted, root, each))),
        "anyOf" => wanted.as_array().unwrap().iter().any(|one| agrees(one, root, value)),
        "allOf" => wanted.as_array().unwrap().iter().all(|one| agrees(one, root, value)),
        "oneOf" => wanted.as_array().unwrap().iter().filter(|one| agrees(one, root, value)).count() == 1,
        "required" => value.as_object().is_none_or(|map| {
            wanted.as_array().unwrap().iter().all(|n| map.contains_key(n.as_str().unwrap()))
        }),
        "properties" => value.as_object().is_none_or(|map| {
            map.iter().all(|(name, each)| wanted.get(name).is_none_or(|schema| agrees(schema, root, each)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|map| {
            let known = schema.get("properties").and_then(Value::as_object);
            let others = map.iter().filter(|(name, _)| known.is_none_or(|known| !known.contains_key(*name)));
            others.into_iter().all(|(_, each)| wanted != &json!(false) && agrees(wanted, root, each))
        }),
        other => panic!("the keyword {other} is not known"),
    })
}

fn by_schema(text: &str) -> bool {
    let schema = policy_schema();
    let nodes = super::super::node::documents(text).unwrap();
    nodes.iter().all(|node| agrees(&schema, &schema, &node.json()))
}

#[test]
fn good_and_bad_documents_are_told_apart_alike() {
    let rule = |rule: &str| text(rule, "");
    let with = |others: &str| text("sbom: {present: true}", others);
    let good = [
        EXAMPLE.to_owned(),
        rule("sbom: {allowLicenses: MIT, format: spdx}"),
        rule("sbom: {signedBy: {key: a.pub}}"),
        rule("sbom: {signedBy: [ci, {key: a.pub}], minQuality: 7}"),
        rule("signature: {atLeast: 2, of: [{key: a.pub}, {key: b.pub}]}"),
        rule("signature: {any: [{certificate: {roots: r.pem, name: a}}]}"),
        rule("image: {labels: {a: 'b*'}, denyPorts: 22, maxSizeMiB: 100, platforms: [linux/*]}"),
        rule("attestation: {predicate: spdx, signed: false}"),
        with("onError: lastGood(7d)\nat: pull\nsigners: {ci: [{key: a.pub}]}"),
        with("exempt: [{rule: [sbom], until: 2026-12-31T00:00:00Z, by: a, why: b}]"),
    ];
    let bad = [
        "name: a".to_owned(),
        rule("sbom: {presnt: true}"),
        rule("sbom: {minQuality: 10.5}"),
        rule("sbom: {format: rtf}"),
        rule("sbom: {}"),
        rule("signature: {}"),
        rule("signature: {any: []}"),
        rule("signature: {any: [{key: a.pub}], all: [{key: a.pub}]}"),
        rule("signature: {any: [{key: a.pub, notation: {store: a}}]}"),
        rule("signature: {any: [{keyless: {issuer: a, identity: b, identityRegex: c}}]}"),
        rule("attestation: {predicate: spdx}"),
        rule("attestation: {predicate: spdx, signed: true}"),
        rule("vulns: {maxAge: 24}"),
        rule("vulns: {maxAge: 24y}"),
        rule("vulns: {fail: [{}]}"),
        rule("image: {maxAgeDays: -1}"),
        rule("image: {denyPorts: [0]}"),
        with("mode: block"),
        with("at: [everywhere]"),
        with("onError: lastGood"),
        with("match: {repos: ['a b']}"),
        with("exempt: [{id: a, by: b, why: c}]"),
        with("exempt: [{until: 2026-12-31, by: b, why: c}]"),
    ];
    for text in good {
        assert!(Policy::parse(&text, &Names).is_ok() && by_schema(&text), "{text}");
    }
    for text in bad {
        assert!(Policy::parse(&text, &Names).is_err(), "{text}");
        assert!(!by_schema(&text), "{text}");
    }
}

fn tables(table: &'static Table, seen: &mut Vec<&'static Table>) {
    if seen.iter().any(|known| std::ptr::eq(*known, table)) {
        return;
    }
    seen.push(table);
    for field in table.fields {
        inner(&field.shape, seen);
    }
}

fn inner(shape: &'static Shape, seen: &mut Vec<&'static Table>) {
    match shape {
        Shape::Object(table) => tables(table, seen),
        Shape::List(each) | Shape::OneOrMany(each) | Shape::Named(each) => inner(each, seen),
        Shape::Either(one, other) => [one, other].into_iter().for_each(|shape| inner(shape, seen)),
        _ => {}
    }
}

#[test]
fn every_field_is_in_the_schema_and_the_reverse() {
    let schema = policy_schema();
    let mut seen = Vec::new();
    tables(&POLICY, &mut seen);
    let mut names: BTreeSet<&str> = schema["$defs"].as_object().unwrap().keys().map(String::as_str).collect();
    names.insert("policy");
    assert_eq!(seen.iter().map(|table| table.name).collect::<BTreeSet<_>>(), names);
    for table in seen {
        let object = if table.name == "policy" { &schema } else { &schema["$defs"][table.name] };
        let properties = object["properties"].as_object().unwrap();
        let fields: BTreeSet<&str> = table.fields.iter().map(|field| field.name).collect();
        assert_eq!(properties.keys().map(String::as_str).collect::<BTreeSet<_>>(), fields);
        assert!(table.fields.iter().all(|field| !field.about.is_empty()), "{}", table.name);
        assert_eq!(object["additionalProperties"], json!(false));
    }
}

/// What the tables allow, the reader uses: a field that nothing reads would be a rule that nobody enforces.
#[test]
fn every_field_is_read() {
    let source = [include_str!("../read.rs"), include_str!("../read_rules.rs")].concat();
    let mut seen = Vec::new();
    tables(&POLICY, &mut seen);
    for table in seen {
        for field in
            table.fields.iter().filter(|field| !["apiVersion", "kind", "signed"].contains(&field.name))
        {
            assert!(source.contains(&format!("\"{}\"", field.name)), "{}.{}", table.name, field.name);
        }
    }
}
