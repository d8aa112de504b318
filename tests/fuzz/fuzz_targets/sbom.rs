//! A layer and a document: neither ends in a panic, in much memory, or in two answers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rreg_sbom::{Limits, Scanner, Subject, cyclonedx, spdx};

fuzz_target!(|data: &[u8]| {
    let Some((form, rest)) = data.split_first() else { return };
    // The file's name decides who reads it.
    let paths = [
        "var/lib/dpkg/status", "lib/apk/db/installed", "var/lib/rpm/rpmdb.sqlite", "var/lib/rpm/Packages",
        "var/lib/rpm/Packages.db", "a/package.json", "x.dist-info/METADATA", "a.jar", "bin/a", "etc/os-release",
    ];
    let limits = Limits { file_bytes: 1 << 20, archive_bytes: 4 << 20, total_bytes: 16 << 20, ..Limits::default() };
    let scan = || {
        let mut scanner = Scanner::new(limits);
        match paths.get(usize::from(*form)) {
            Some(path) => {
                scanner.tree();
                scanner.file(path, rest.len() as u64, rest).unwrap();
            }
            None => scanner.layer(None, rest).unwrap(),
        }
        scanner.finish(Subject::default())
    };
    let sbom = scan();
    assert_eq!(sbom, scan());
    assert!(cyclonedx(&sbom).is_ok() && spdx(&sbom).is_ok());
    for media_type in ["application/spdx+json", "application/vnd.in-toto+json"] {
        let _ = rreg_sbom::read::attached(media_type, rest.to_vec(), &["sha256:aa".to_owned()]);
    }
});
