//! Whole images made on the spot.

mod build;
mod damaged;
mod formats;
mod hostile;
mod java;
mod kept;
mod license_files;
mod licenses;
mod links;
mod logs;
mod output;
mod programs;
mod read;
mod reports;
mod said;
mod silent;
mod whiteouts;

use crate::{FindingKind, Limits, Sbom, Scanner, Subject};

/// Scans layers, bottom first.
fn scan(layers: &[Vec<u8>]) -> Sbom {
    scan_within(layers, Limits::default())
}

fn scan_within(layers: &[Vec<u8>], limits: Limits) -> Sbom {
    let mut scanner = Scanner::new(limits);
    for (at, layer) in layers.iter().enumerate() {
        scanner.layer(Some(format!("sha256:{at:064}")), layer.as_slice()).unwrap();
    }
    scanner.finish(Subject { digest: Some("sha256:00".into()), ..Subject::default() })
}

/// One file in one layer.
fn scan_file(path: &str, content: &[u8]) -> Sbom {
    scan(&[build::tar(&[(path, content)])])
}

fn purls(sbom: &Sbom) -> Vec<&str> {
    sbom.packages.iter().map(|package| package.purl.as_str()).collect()
}

fn kinds(sbom: &Sbom) -> Vec<FindingKind> {
    sbom.findings.iter().map(|finding| finding.kind).collect()
}
