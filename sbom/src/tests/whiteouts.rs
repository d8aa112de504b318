//! Layers over layers: what is left must be what a file system would show.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{build, purls, scan};

fn manifest(name: &str) -> Vec<u8> {
    format!("{{\"name\":\"{name}\",\"version\":\"1.0.0\"}}").into_bytes()
}

#[test]
fn whiteouts_hide_lower_layers_only() {
    let (a, b) = (manifest("a"), manifest("b"));
    let bottom = build::tar(&[("x/package.json", &a), ("y/package.json", &b)]);
    let removed = build::tar(&[("./x/.wh.package.json", b"")]);
    assert_eq!(purls(&scan(&[bottom.clone(), removed])), ["pkg:npm/b@1.0.0"]);
    let opaque = build::tar(&[("y/package.json", &a), ("y/.wh..wh..opq", b"")]);
    let sbom = scan(&[bottom.clone(), opaque]);
    assert_eq!(purls(&sbom), ["pkg:npm/a@1.0.0"]);
    assert_eq!(sbom.packages[0].locations.len(), 2);
    let replaced = build::tar(&[("x", b"a file where a directory was")]);
    assert_eq!(purls(&scan(&[bottom.clone(), replaced])), ["pkg:npm/b@1.0.0"]);
    assert_eq!(purls(&scan(&[bottom, build::tar(&[(".wh..wh..opq", b"")])])), [""; 0]);
}

#[test]
fn a_package_keeps_the_layer_that_brought_it() {
    let status = |more: &str| {
        let one = "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n\n";
        format!("{one}{more}").into_bytes()
    };
    let upper = status("Package: b\nStatus: install ok installed\nVersion: 2\n");
    let layers = [status(""), upper].map(|status| build::tar(&[("var/lib/dpkg/status", &status)]));
    let sbom = scan(&layers);
    let layer = |at: usize| sbom.packages[at].locations[0].layer.clone().unwrap();
    assert!(layer(0).ends_with('0') && layer(1).ends_with('1'), "{sbom:?}");
}

/// One step of a layer.
#[derive(Clone, Debug)]
enum Step {
    File(String),
    Whiteout(String),
    Opaque(String),
    Plain(String),
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let directory = prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4);
    let directory = directory.prop_map(|parts| parts.join("/"));
    let step = (directory, 0..6_u8).prop_map(|(directory, kind)| match kind {
        0 => Step::Whiteout(directory),
        1 => Step::Opaque(directory),
        2 => Step::Plain(directory),
        _ => Step::File(format!("{directory}/package.json")),
    });
    prop::collection::vec(prop::collection::vec(step, 0..8), 1..5)
}

/// The file system after all layers: whiteouts first, then what the layer has, in its order.
fn model(layers: &[Vec<Step>]) -> BTreeMap<String, usize> {
    let mut files: BTreeMap<String, usize> = BTreeMap::new();
    for (at, layer) in layers.iter().enumerate() {
        for step in layer {
            match step {
                Step::Whiteout(path) => {
                    files.retain(|file, _| file != path && !file.starts_with(&format!("{path}/")));
                }
                Step::Opaque(path) => files.retain(|file, _| !file.starts_with(&format!("{path}/"))),
                Step::File(_) | Step::Plain(_) => {}
            }
        }
        for step in layer {
            match step {
                Step::File(path) => {
                    files.insert(path.clone(), at);
                }
                Step::Plain(path) => {
                    files.retain(|file, _| file != path && !file.starts_with(&format!("{path}/")));
                }
                Step::Whiteout(_) | Step::Opaque(_) => {}
            }
        }
    }
    files
}

proptest! {
    #[test]
    fn what_is_left_is_what_a_file_system_shows(layers in steps()) {
        let archives: Vec<Vec<u8>> = layers.iter().enumerate().map(|(at, layer)| {
            let files: Vec<(String, Vec<u8>)> = layer.iter().map(|step| match step {
                Step::File(path) => (path.clone(), manifest(&format!("{}-{at}", path.replace('/', "-")))),
                Step::Plain(path) => (path.clone(), b"plain".to_vec()),
                Step::Opaque(path) => (format!("{path}/.wh..wh..opq"), Vec::new()),
                Step::Whiteout(path) => {
                    let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
                    (format!("{parent}/.wh.{name}"), Vec::new())
                }
            }).collect();
            let files: Vec<(&str, &[u8])> = files.iter().map(|(p, c)| (p.as_str(), c.as_slice())).collect();
            build::tar(&files)
        }).collect();
        let sbom = scan(&archives);
        let expected = model(&layers);
        let mut expected: Vec<String> = expected.iter()
            .map(|(path, at)| format!("pkg:npm/{}-{at}@1.0.0", path.replace('/', "-"))).collect();
        expected.sort();
        prop_assert_eq!(purls(&sbom), expected);
    }
}
