//! Ways in which a list comes out short, or empty, without anybody noticing.

use super::build::Node::{File, Hard, Soft};
use super::license_files::{AGPL, licenses};
use super::{build, kinds, purls, scan, scan_file, scan_within};
use crate::{FindingKind, Limits};

const STATUS: &[u8] = b"Package: bash\nStatus: install ok installed\nVersion: 5\n\n";
const OS: &[u8] = b"ID=debian\n";

#[test]
fn links_in_every_order_of_layers() {
    let path = "var/lib/dpkg/status";
    let one = |nodes: &[(&str, build::Node<'_>)]| build::tar_of(nodes);
    let bash: &[&str] = &["pkg:deb/bash@5"];
    type Case<'a> = (&'a str, Vec<Vec<u8>>, &'a [&'a str]);
    let cases: [Case<'_>; 8] = [
        ("hard before its target", vec![one(&[(path, Hard("s/x")), ("s/x", File(STATUS))])], bash),
        (
            "a chain of hard ones, backwards",
            vec![one(&[
                ("lib/apk/db/installed", File(b"")),
                (path, Hard("var/lib/dpkg/status.d/b")),
                ("var/lib/dpkg/status.d/b", Hard("s/x")),
                ("s/x", File(STATUS)),
            ])],
            bash,
        ),
        (
            "hard, its target replaced above",
            vec![one(&[("s/x", File(STATUS)), (path, Hard("s/x"))]), one(&[("s/x", File(b"gone"))])],
            bash,
        ),
        (
            "hard, its target removed above",
            vec![one(&[("s/x", File(STATUS)), (path, Hard("s/x"))]), one(&[("s/.wh.x", File(b""))])],
            bash,
        ),
        (
            "soft, its target replaced above",
            vec![one(&[("s/x", File(b"old")), (path, Soft("/s/x"))]), one(&[("s/x", File(STATUS))])],
            bash,
        ),
        (
            "soft below, directory opaque above",
            vec![
                one(&[("s/x", File(STATUS)), (path, Soft("/s/x"))]),
                one(&[("s/.wh..wh..opq", File(b"")), ("s/x", File(STATUS))]),
            ],
            bash,
        ),
        (
            "the link itself removed",
            vec![
                one(&[("s/x", File(STATUS)), (path, Hard("s/x"))]),
                one(&[("var/lib/dpkg/.wh.status", File(b""))]),
            ],
            &[],
        ),
        (
            "replaced by a file after it",
            vec![one(&[
                (path, Hard("s/x")),
                (path, File(STATUS)),
                ("s/x", File(b"Package: z\nVersion: 1\n")),
            ])],
            bash,
        ),
    ];
    for (case, layers, expected) in cases {
        let sbom = scan(&layers);
        assert_eq!(purls(&sbom), expected, "{case}: {:?}", sbom.findings);
        assert!(!kinds(&sbom).contains(&FindingKind::LinkBroken), "{case}: {:?}", sbom.findings);
    }
    let gone = build::tar_of(&[("s/.wh.x", File(b"")), (path, Hard("s/x"))]);
    let sbom = scan(&[build::tar(&[("s/x", STATUS)]), gone]);
    assert_eq!((purls(&sbom), kinds(&sbom)), (vec![], vec![FindingKind::LinkBroken]));
}

#[test]
fn no_package_of_the_distribution_in_any_way() {
    let told = FindingKind::NoPackages;
    let npm: &[u8] = b"{\"name\":\"a\",\"version\":\"1\"}";
    let apk: &[u8] = b"P:a\nV:1\n\n";
    let status = "var/lib/dpkg/status";
    let removed =
        |name| vec![build::tar(&[("etc/os-release", OS), (status, STATUS)]), build::tar(&[(name, b"")])];
    let one = |files: &[(&str, &[u8])]| vec![build::tar(files)];
    let cases = [
        ("lists only", one(&[("etc/os-release", OS), ("var/lib/dpkg/status.d/a.md5sums", b"")])),
        ("an empty status", one(&[("etc/os-release", OS), (status, b"")])),
        (
            "nothing installed",
            one(&[("etc/os-release", OS), (status, b"Package: a\nStatus: purge ok not-installed\n\n")]),
        ),
        ("removed", removed("var/lib/dpkg/.wh.status")),
        ("its directory removed", removed("var/lib/.wh.dpkg")),
        ("its directory opaque", removed("var/lib/dpkg/.wh..wh..opq")),
        (
            "everything opaque but the name",
            vec![
                build::tar(&[(status, STATUS)]),
                build::tar(&[(".wh..wh..opq", b""), ("etc/os-release", OS)]),
            ],
        ),
        ("no ID", one(&[("etc/os-release", b"NAME=Ours\nVERSION_ID=1\n"), ("package.json", npm)])),
        ("an empty ID", one(&[("usr/lib/os-release", b"ID=\"\"\n")])),
        ("another tool's packages", one(&[("etc/os-release", OS), ("lib/apk/db/installed", apk)])),
        ("a derivative's", one(&[("etc/os-release", b"ID=x\nID_LIKE=\"rhel fedora\"\n"), (status, STATUS)])),
        ("an empty apk", one(&[("etc/os-release", b"ID=alpine\n"), ("usr/lib/apk/db/installed", b"")])),
    ];
    for (case, layers) in cases {
        let sbom = scan(&layers);
        assert!(kinds(&sbom).contains(&told), "{case}: {:?} {:?}", purls(&sbom), sbom.findings);
    }
    for os in [&b""[..], b"\n# nothing\n", b"\0\0\0\0"] {
        let sbom = scan_file("etc/os-release", os);
        assert_eq!(kinds(&sbom), [FindingKind::Malformed], "{os:?}");
    }
    let own = one(&[("etc/os-release", b"ID=x\nID_LIKE=debian\n"), (status, STATUS)]);
    assert_eq!(scan(&own).findings, []);
}

#[test]
fn rpm_headers_on_their_own_page() {
    let header = build::rpm_header("bash", "5.2", 10);
    let mut file = vec![0; 8192];
    file[12..16].copy_from_slice(&0x0006_1561_u32.to_le_bytes());
    file[20..24].copy_from_slice(&4096_u32.to_le_bytes());
    file[4096 + 25] = 13;
    file[4096 + 20] = 4;
    // The counter's key and value, then a package's.
    let items: [&[u8]; 4] =
        [&[1, 0, 0, 0, 0], &[1, 9, 0, 0, 0], &[1, 1, 0, 0, 0], &[&[1], &header[..]].concat()];
    let mut end = 4096;
    for (at, item) in items.iter().enumerate() {
        end -= item.len();
        file[4096 + end..4096 + end + item.len()].copy_from_slice(item);
        file[4096 + 26 + at * 2..4096 + 28 + at * 2].copy_from_slice(&(end as u16).to_le_bytes());
    }
    let sbom = scan_file("var/lib/rpm/Packages", &file);
    assert_eq!(purls(&sbom), ["pkg:rpm/bash@5.2-1.fc40?arch=x86_64"], "{:?}", sbom.findings);
    // A kind of item that rpm does not write.
    file[4096 + end] = 2;
    assert!(kinds(&scan_file("var/lib/rpm/Packages", &file)).contains(&FindingKind::Malformed));
}

#[test]
fn owned_paths_past_the_limit_are_told() {
    let limits = Limits { owned: 1, ..Limits::default() };
    let headers = [build::rpm_header("a", "1", 10), build::rpm_header("b", "1", 10)];
    let apk: &[u8] = b"P:a\nV:1\nF:usr\nR:a\nR:b\n\n";
    let cases: [(&str, Vec<u8>); 3] = [
        ("var/lib/rpm/Packages.db", build::ndb(&headers)),
        ("var/lib/rpm/rpmdb.sqlite", build::sqlite(&headers)),
        ("lib/apk/db/installed", apk.to_vec()),
    ];
    for (path, content) in cases {
        let sbom = scan_within(&[build::tar(&[(path, &content)])], limits);
        assert!(kinds(&sbom).contains(&FindingKind::TooMany), "{path}: {:?}", sbom.findings);
        assert!(!sbom.packages.is_empty(), "{path}");
    }
}

/// A journal with the pages of `old` that were changed.
fn journal(old: &[u8], nonce: u32) -> Vec<u8> {
    let pages: Vec<&[u8]> = old.chunks(512).collect();
    let count = pages.len() as u32;
    let mut file = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7".to_vec();
    file.extend([count, nonce, count, 512, 512].map(u32::to_be_bytes).concat());
    file.resize(512, 0);
    for (number, page) in (1_u32..).zip(pages) {
        let sum = nonce + u32::from(page[312]) + u32::from(page[112]);
        file.extend([&number.to_be_bytes()[..], page, &sum.to_be_bytes()].concat());
    }
    file
}

#[test]
fn a_change_that_was_broken_off_is_put_back() {
    let headers = [build::rpm_header("bash", "5.2", 10), build::rpm_header("kernel", "6.1", 3000)];
    let old = build::sqlite(&headers);
    let database = "var/lib/rpm/rpmdb.sqlite";
    let log = "var/lib/rpm/rpmdb.sqlite-journal";
    let mut half = old.clone();
    half[512..1024].fill(0);
    half.resize(old.len() + 1024, 7);
    let all = purls(&scan_file(database, &old)).join(" ");
    assert_ne!(purls(&scan_file(database, &half)).join(" "), all);
    let hot = journal(&old, 5);
    for layers in [
        vec![build::tar(&[(database, &half), (log, &hot)])],
        vec![build::tar(&[(log, &hot)]), build::tar(&[(database, &half)])],
    ] {
        let sbom = scan(&layers);
        assert_eq!(purls(&sbom).join(" "), all, "{:?}", sbom.findings);
    }
    // What a finished change leaves behind says nothing.
    let mut done = hot.clone();
    done[..28].fill(0);
    for done in [&done[..], b""] {
        assert_eq!(purls(&scan(&[build::tar(&[(database, &old), (log, done)])])).join(" "), all);
    }
    // Of several databases, or cut off: told.
    let several = [&hot[..], b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"].concat();
    for broken in [&several[..], &hot[..20]] {
        let sbom = scan(&[build::tar(&[(database, &half), (log, broken)])]);
        assert!(!sbom.findings.is_empty());
    }
}

#[test]
fn project_files_that_break_off_are_told() {
    let whole =
        "<project><version>1</version><licenses><license><name>AGPLv3</name></license></licenses></project>";
    for (text, told) in
        [(whole, false), (&whole[..60], true), ("text", true), ("", true), ("<project><a></b>", true)]
    {
        let jar = build::zip(&[("META-INF/maven/g.h/a/pom.xml", text.as_bytes())]);
        let sbom = scan_file("a-1.jar", &jar);
        assert_eq!(kinds(&sbom).contains(&FindingKind::Malformed), told, "{text:?}: {:?}", sbom.findings);
    }
    let long = format!(
        "<project><version>1</version><licenses><license><name>{AGPL} {}</name></license></licenses></project>",
        "x ".repeat(600)
    );
    let jar = build::zip(&[("META-INF/maven/g.h/a/pom.xml", long.as_bytes())]);
    assert_eq!(licenses(&scan_file("a-1.jar", &jar)), ["AGPL-3.0-only"]);
}

fn build_info(version: &[u8], modules: &[u8]) -> Vec<u8> {
    let mut info = b"\xff Go buildinf:\x08\x02".to_vec();
    info.resize(32, 0);
    for text in [version, modules] {
        let (low, high) = (text.len() as u8 & 0x7f, (text.len() >> 7) as u8);
        info.extend(if high > 0 { vec![low | 0x80, high] } else { vec![low] });
        info.extend(text);
    }
    info
}

#[test]
fn build_information_that_cannot_be_read_is_told() {
    let mark = [7_u8; 16];
    let text = |lines: &str| [&mark[..], lines.as_bytes(), &mark].concat();
    let good = text(
        "path\tx\nmod\tx.y/a\t(devel)\ndep\tx.y/b\tv1.0.0\n=>\tx.y/c\tv1.2.0\ndep\tx.y/d\tv1.1.0\n=>\t./d\t(devel)\n",
    );
    let cases: [(&str, Vec<u8>, &[&str], bool); 7] = [
        (
            "good",
            build_info(b"go1.22", &good),
            &[
                "pkg:golang/stdlib@1.22",
                "pkg:golang/x.y/a",
                "pkg:golang/x.y/c@v1.2.0",
                "pkg:golang/x.y/d@v1.1.0",
            ],
            false,
        ),
        (
            "an own version",
            build_info(b"unknown", &good),
            &["pkg:golang/x.y/a", "pkg:golang/x.y/c@v1.2.0", "pkg:golang/x.y/d@v1.1.0"],
            true,
        ),
        (
            "no version",
            build_info(b"", &good),
            &["pkg:golang/x.y/a", "pkg:golang/x.y/c@v1.2.0", "pkg:golang/x.y/d@v1.1.0"],
            true,
        ),
        ("garbled modules", build_info(b"go1.22", &text("\u{1}\u{2}xyz")), &["pkg:golang/stdlib@1.22"], true),
        ("garbled version", build_info(b"\xff\xfe\x01", &good), &[], true),
        ("cut off", build_info(b"go1.22", &good)[..40].to_vec(), &[], true),
        ("a text of some program", b"\xff Go buildinf:%s is not here, you see, at all".to_vec(), &[], false),
    ];
    for (case, info, expected, told) in cases {
        let file = build::elf(&[&info]);
        // Section headers follow: what is cut off goes on with what is no string.
        let sbom = scan_file("bin/a", &file);
        assert_eq!(purls(&sbom), expected, "{case}");
        assert_eq!(kinds(&sbom).contains(&FindingKind::Malformed), told, "{case}: {:?}", sbom.findings);
    }
    let mut packed = build::elf(&[b"x"]);
    packed[48..52].copy_from_slice(b"UPX!");
    assert_eq!(kinds(&scan_file("bin/a", &packed)), [FindingKind::Unsupported]);
}
