//! Reports as their readers read them.

use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::Value;

use super::{Desk, has};
use crate::harness::image::Image;
use crate::harness::{Backend, Registry};

/// How many elements of each name an XML document has, if it is one.
fn elements(text: &str) -> std::collections::BTreeMap<String, usize> {
    let mut reader = Reader::from_str(text);
    let (mut open, mut counts) = (Vec::new(), std::collections::BTreeMap::new());
    loop {
        let begun = match reader.read_event().unwrap_or_else(|e| panic!("{e}: {text}")) {
            Event::Start(element) => {
                open.push(element.name().as_ref().to_vec());
                element
            }
            Event::Empty(element) => element,
            Event::End(element) => {
                assert_eq!(open.pop().as_deref(), Some(element.name().as_ref()), "{text}");
                continue;
            }
            Event::Eof => {
                assert!(open.is_empty(), "{text}");
                return counts;
            }
            _ => continue,
        };
        for attribute in begun.attributes() {
            attribute.unwrap();
        }
        *counts.entry(String::from_utf8(begun.name().as_ref().to_vec()).unwrap()).or_insert(0) += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_form_can_be_read() {
    let desk = Desk::new();
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &[]).await else { return };
    desk.prod();
    let repository = "team/app";
    registry.api().push(repository, &Image::index("bad"), Some("bad")).await;
    registry.api().push(repository, &Image::layered("good", 1), Some("good")).await;
    let name = |tag: &str| format!("{}/{repository}:{tag}", registry.address());
    let (good, bad, gone) = (name("good"), name("bad"), name("gone"));
    desk.rreg(&["sign", &good, "--key", "policies/keys/team.key"]).done();
    let gate =
        |more: &[&str]| desk.rreg(&[&["gate", &good, &bad, &gone, "--policy", "policies"], more].concat());

    let json = gate(&["--format", "json"]).json(1);
    let all = json.as_array().unwrap();
    let status: Vec<&Value> = all.iter().map(|image| &image["status"]).collect();
    assert_eq!(status, ["allowed", "denied", "unchecked"]);
    assert_eq!(all[1]["decision"]["outcome"], "deny");
    assert!(all[2]["error"].is_string() && all[2]["decision"].is_null());

    let sarif = gate(&["--format", "sarif"]).json(1);
    assert_eq!(sarif["version"], "2.1.0");
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let rules: Vec<&Value> = results.iter().map(|result| &result["ruleId"]).collect();
    assert_eq!(rules, ["prod/require[0].signature", "rreg/unchecked"]);
    let file = &results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
    assert_eq!(file, "policies/prod.yaml", "relative to where it was asked, as code scanning wants it");

    let counts = elements(&gate(&["--format", "junit"]).exit(1));
    let count = |name: &str| counts.get(name).copied().unwrap_or_default();
    assert_eq!((count("testsuite"), count("testcase")), (3, 3));
    assert_eq!((count("failure"), count("error"), count("skipped")), (1, 1, 0));

    // Into a file, with a table for whoever watches.
    let table = gate(&["--format", "junit", "--report", "gate.xml"]).exit(1);
    has(&table, &["3 images: 1 allowed, 1 denied, 1 unchecked"]);
    assert_eq!(elements(&std::fs::read_to_string(desk.path("gate.xml")).unwrap()), counts);
    assert_eq!(gate(&["--format", "sarif", "--report", "gate.sarif", "--quiet"]).exit(1), "");
    let written: Value = serde_json::from_slice(&std::fs::read(desk.path("gate.sarif")).unwrap()).unwrap();
    assert_eq!(written["runs"][0]["tool"]["driver"]["name"], "rreg");
    assert_eq!(gate(&["--report", "no/such/directory"]).output.status.code(), Some(2));
    // Colours are for terminals, and never for files.
    gate(&["--color", "always", "--report", "gate.txt"]).exit(1);
    let text = std::fs::read_to_string(desk.path("gate.txt")).unwrap();
    assert!(!text.contains('\u{1b}') && text.contains("denied"), "{text}");
}
