//! rpm databases whose last changes are in a write-ahead log.

use super::build::Node::{File, Hard, Soft};
use super::{build, kinds, purls, scan};
use crate::FindingKind;

const PATH: &str = "var/lib/rpm/rpmdb.sqlite";
const LOG: &str = "var/lib/rpm/rpmdb.sqlite-wal";
const OLD: &str = "pkg:rpm/bash@5.2-1.fc40?arch=x86_64";
const NEW: &str = "pkg:rpm/kernel@6.1-1.fc40?arch=x86_64";

fn databases() -> (Vec<u8>, Vec<u8>) {
    let headers = [build::rpm_header("bash", "5.2", 10), build::rpm_header("kernel", "6.1", 3000)];
    (build::sqlite(&headers[..1]), build::sqlite(&headers))
}

#[test]
fn what_the_log_has_committed_is_in_the_list() {
    let (old, new) = databases();
    let log = build::wal_of(false, &new);
    let big = build::wal_of(true, &new);
    let one = |nodes: &[(&str, build::Node<'_>)]| vec![build::tar_of(nodes)];
    let cases = [
        ("beside it", one(&[(PATH, File(&old)), (LOG, File(&log))])),
        ("before it", one(&[(LOG, File(&log)), (PATH, File(&old))])),
        ("other sums", one(&[(PATH, File(&old)), (LOG, File(&big))])),
        ("in a higher layer", vec![build::tar(&[(PATH, &old)]), build::tar(&[(LOG, &log)])]),
        ("of an empty file", one(&[(PATH, File(b"")), (LOG, File(&log))])),
        ("of a file of one page", one(&[(PATH, File(&build::sqlite_schema())), (LOG, File(&log))])),
        ("of no file", one(&[(LOG, File(&log))])),
        (
            "hard links",
            one(&[("o/a", File(&old)), ("o/b", File(&log)), (PATH, Hard("o/a")), (LOG, Hard("o/b"))]),
        ),
        (
            "soft links",
            one(&[("o/a", File(&old)), ("o/b", File(&log)), (PATH, Soft("/o/a")), (LOG, Soft("/o/b"))]),
        ),
        (
            "a directory elsewhere",
            one(&[
                ("var/lib/rpm", Soft("/data")),
                ("data/rpmdb.sqlite", File(&old)),
                ("data/rpmdb.sqlite-wal", File(&log)),
            ]),
        ),
    ];
    for (case, layers) in cases {
        let sbom = scan(&layers);
        assert_eq!(purls(&sbom), [OLD, NEW], "{case}: {:?}", sbom.findings);
        assert!(!kinds(&sbom).contains(&FindingKind::Malformed), "{case}: {:?}", sbom.findings);
    }
    // Each package is of the layer that brought it.
    let sbom = scan(&[build::tar(&[(PATH, &old)]), build::tar(&[(LOG, &log)])]);
    let layer = |at: usize| sbom.packages[at].locations[0].layer.clone().unwrap();
    assert!(layer(0).ends_with('0') && layer(1).ends_with('1'), "{sbom:?}");
}

#[test]
fn what_sqlite_ignores_is_ignored() {
    let (old, new) = databases();
    let mut other_salt = build::wal_of(false, &new);
    other_salt[32 + 8] ^= 1;
    let mut wrong_sum = build::wal_of(false, &new);
    wrong_sum[32 + 24 + 100] ^= 1;
    let uncommitted: Vec<(u32, u32, &[u8])> =
        (1..).zip(new.chunks(512)).map(|(at, page)| (at, 0, page)).collect();
    let cut = build::wal_of(false, &new);
    let cases = [
        ("empty", Vec::new()),
        ("no log", b"text".to_vec()),
        ("another salt", other_salt),
        ("a wrong sum", wrong_sum),
        ("no commit", build::wal(false, &uncommitted)),
        ("cut off before its commit", cut[..cut.len() - 1].to_vec()),
    ];
    for (case, log) in cases {
        let sbom = scan(&[build::tar(&[(PATH, &old), (LOG, &log)])]);
        assert_eq!(purls(&sbom), [OLD], "{case}");
        assert_eq!(kinds(&sbom), [FindingKind::Unsupported], "{case}: only that there is no os-release");
    }
}

#[test]
fn logs_that_promise_too_much() {
    let (old, new) = databases();
    let huge = build::wal(false, &[(1, u32::MAX, &new[..512])]);
    let more = build::wal(false, &[(1, 5000, &new[..512])]);
    for (case, log, expected) in
        [("huge", huge, FindingKind::FileTooLarge), ("more", more, FindingKind::Truncated)]
    {
        let sbom = scan(&[build::tar(&[(PATH, &old), (LOG, &log)])]);
        assert_eq!(purls(&sbom), [OLD], "{case}");
        assert!(kinds(&sbom).contains(&expected), "{case}: {:?}", sbom.findings);
    }
}
