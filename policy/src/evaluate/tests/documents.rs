//! SBOMs and vulnerabilities: what passes, what fails, what cannot be decided.

use super::rules::table;
use super::*;
use Outturn::{Error, Fail, Pass};

/// An SBOM that was attached: its licence, and who signed it.
fn attached(all: &[(&str, &str)]) -> Value {
    let one = |(license, by): &(&str, &str)| {
        let sbom =
            json!({"format": "cyclonedx", "packages": 1, "quality": 9.0, "licenses": {*license: ["a"]}});
        let mut one = json!({"predicateType": "https://cyclonedx.org/bom", "sbom": sbom});
        if !by.is_empty() {
            one["signedBy"] = json!({"key": by});
        }
        one
    };
    json!({"attestations": all.iter().map(one).collect::<Vec<_>>()})
}

#[test]
fn sboms_by_those_who_are_meant() {
    let with = |facts: Value, name: &str| {
        let mut facts = facts;
        facts[name] = json!(["too many"]);
        facts
    };
    let anybody = "sbom: {denyLicenses: ['AGPL-*']}";
    let by = "sbom: {denyLicenses: ['AGPL-*'], signedBy: {key: a.pub}}";
    let maybe = "sbom: {present: false, denyLicenses: ['AGPL-*'], signedBy: {key: a.pub}}";
    let (good, bad) = (("MIT", "a.pub"), ("AGPL-3.0-only", "a.pub"));
    table(&[
        // Whoever attached it, and however good others look: each is held against the image.
        (anybody, attached(&[("AGPL-3.0-only", ""), ("MIT", "")]), Fail, "AGPL-3.0-only in a"),
        (anybody, attached(&[bad, ("MIT", "")]), Fail, "AGPL-3.0-only in a"),
        (anybody, attached(&[good, ("MIT", "")]), Pass, "cyclonedx with 1 packages"),
        // What was not looked at may say otherwise.
        (anybody, with(attached(&[("MIT", "")]), "over"), Fail, "too many"),
        (anybody, with(attached(&[("MIT", "")]), "unread"), Fail, "too many"),
        (anybody, with(attached(&[("MIT", "")]), "incomplete"), Error, "too many"),
        ("sbom: {present: true}", with(attached(&[("MIT", "")]), "over"), Pass, "cyclonedx"),
        // Of those by others nothing is looked at.
        (by, attached(&[good]), Pass, "cyclonedx with 1 packages"),
        (by, attached(&[good, ("AGPL-3.0-only", ""), ("AGPL-3.0-only", "b.pub")]), Pass, "cyclonedx"),
        (by, attached(&[bad, ("MIT", ""), ("MIT", "b.pub")]), Fail, "AGPL-3.0-only in a"),
        (by, attached(&[good, bad]), Fail, "AGPL-3.0-only in a"),
        (by, attached(&[bad, good]), Fail, "AGPL-3.0-only in a"),
        (by, attached(&[("MIT", "")]), Fail, "an SBOM that nobody signed"),
        (by, attached(&[("MIT", "b.pub")]), Fail, "an SBOM that is invalid"),
        (by, json!({}), Fail, "no SBOM"),
        (by, json!({"incomplete": ["the store is away"]}), Error, "the store is away"),
        (by, with(attached(&[("MIT", "b.pub")]), "over"), Fail, "too many"),
        (by, with(attached(&[good]), "over"), Pass, "cyclonedx"),
        (by, with(attached(&[good]), "unread"), Fail, "too many"),
        (maybe, json!({}), Pass, "no SBOM"),
        (maybe, attached(&[bad]), Fail, "AGPL"),
        ("sbom: {signedBy: ci}", attached(&[good]), Fail, "does not define ci"),
    ]);
}

#[test]
fn an_sbom_that_nobody_can_read_lifts_nothing() {
    let unread =
        json!({"unreadSboms": [{"evidence": format!("sha256:{}", "a".repeat(64)), "why": "it is XML"}]});
    let beside = json!({"unreadSboms": unread["unreadSboms"],
        "sbom": {"format": "cyclonedx", "packages": 1, "quality": 10.0, "licenses": {"MIT": ["a"]}}});
    table(&[
        ("sbom: {present: true}", unread.clone(), Fail, "it is XML"),
        ("sbom: {present: true}", beside.clone(), Pass, ""),
        ("sbom: {present: false, denyLicenses: [AGPL-3.0]}", unread.clone(), Fail, "it is XML"),
        ("sbom: {denyLicenses: [AGPL-3.0]}", unread.clone(), Fail, "it is XML"),
        ("sbom: {denyLicenses: [AGPL-3.0]}", beside.clone(), Fail, "it is XML"),
        ("cel: sbom.packages > 0", beside, Fail, "it is XML"),
        // A limit counts as well where there need be none, and so does what could not be had.
        ("sbom: {present: false, minQuality: 7}", json!({"unread": ["more than 8 MiB"]}), Fail, "8 MiB"),
        ("sbom: {present: false, minQuality: 7}", json!({"incomplete": ["gone"]}), Error, "gone"),
        ("sbom: {present: false}", unread, Pass, "no SBOM"),
    ]);
}

#[test]
fn sboms() {
    let sbom = |licenses: Value| json!({"sbom": {"format": "spdx", "packages": 2, "quality": 6.5, "missing": ["purl: 1 of 2 packages"], "licenses": licenses}});
    let deny = "sbom: {denyLicenses: ['AGPL-3.0*', 'GPL-*']}";
    let allow = "sbom: {allowLicenses: [MIT, 'BSD-*']}";
    let require = "sbom: {requireLicenses: true}";
    let old = "sbom: {denyLicenses: ['GPL-2.0', AGPL-3.0+]}";
    let new = "sbom: {denyLicenses: [GPL-2.0-only, AGPL-3.0-or-later]}";
    let old_allowed = "sbom: {allowLicenses: ['GPL-2.0+']}";
    table(&[
        // Rules and documents may have words that SPDX has given up.
        (old, sbom(json!({"GPL-2.0-only": ["a"]})), Fail, "GPL-2.0-only in a"),
        (old, sbom(json!({"MIT AND AGPL-3.0-or-later": ["a"]})), Fail, "in a"),
        (old, sbom(json!({"MIT OR GPL-2.0": ["a"], "GPL-2.0-or-later": ["b"]})), Pass, ""),
        (new, sbom(json!({"GPL-2.0": ["a"]})), Fail, "GPL-2.0 in a"),
        (new, sbom(json!({"AGPL-3.0+": ["a"]})), Fail, "AGPL-3.0+ in a"),
        (new, sbom(json!({"GPL-2.0-with-classpath-exception": ["a"]})), Fail, "in a"),
        (new, sbom(json!({"(MIT OR GPL-2.0) AND (AGPL-3.0+ WITH x OR ISC)": ["a"]})), Pass, ""),
        (old_allowed, sbom(json!({"GPL-2.0-or-later": ["a"]})), Pass, ""),
        (old_allowed, sbom(json!({"GPL-3.0-or-later": ["a"]})), Fail, "in a"),
        ("sbom: {present: true}", sbom(json!({})), Pass, "spdx with 2 packages"),
        ("sbom: {present: true}", json!({}), Fail, "no SBOM"),
        ("sbom: {present: true}", json!({"sbom": {"notGathered": "later"}}), Error, "later"),
        ("sbom: {present: true}", json!({"incomplete": ["x"]}), Error, "x"),
        ("sbom: {present: false, minQuality: 7}", json!({}), Pass, "no SBOM"),
        ("sbom: {minQuality: 6.5}", sbom(json!({})), Pass, ""),
        (
            "sbom: {minQuality: 7}",
            sbom(json!({})),
            Fail,
            "a quality of 6.5 of 7, missing purl: 1 of 2 packages",
        ),
        ("sbom: {format: cyclonedx}", sbom(json!({})), Fail, "the format spdx"),
        (deny, sbom(json!({"MIT": ["a"]})), Pass, ""),
        (deny, sbom(json!({"AGPL-3.0-only": ["a"]})), Fail, "AGPL-3.0-only in a"),
        (deny, sbom(json!({"agpl-3.0-only": ["a"]})), Fail, ""),
        (deny, sbom(json!({"MIT OR AGPL-3.0-only": ["a"]})), Pass, ""),
        (deny, sbom(json!({"MIT AND AGPL-3.0-only": ["a"]})), Fail, ""),
        (deny, sbom(json!({"(MIT OR X) AND (GPL-2.0-only WITH Classpath-exception-2.0)": ["a"]})), Fail, ""),
        (deny, sbom(json!({"MIT, AGPL-3.0-only": ["a"]})), Fail, ""),
        (deny, sbom(json!({"((((": ["a"]})), Pass, ""),
        (allow, sbom(json!({"MIT": ["a"], "Apache-2.0 OR BSD-3-Clause": ["b"]})), Pass, ""),
        (allow, sbom(json!({"Apache-2.0": ["a"]})), Fail, "Apache-2.0 in a"),
        (allow, sbom(json!({"NOASSERTION": ["a"]})), Fail, "NOASSERTION"),
        // As people write them.
        (deny, sbom(json!({"AGPLv3+": ["a"]})), Fail, "AGPLv3+ in a"),
        (deny, sbom(json!({"GNU Affero General Public License v3 or later (AGPLv3+)": ["a"]})), Fail, ""),
        (deny, sbom(json!({"https://www.gnu.org/licenses/agpl-3.0.txt": ["a"]})), Fail, ""),
        (deny, sbom(json!({"MIT or GPL-2+": ["a"]})), Pass, ""),
        (deny, sbom(json!({"The MIT License": ["a"]})), Pass, ""),
        (allow, sbom(json!({"The MIT License": ["a"], "New BSD License": ["b"]})), Pass, ""),
        ("sbom: {denyLicenses: ['AGPLv3*']}", sbom(json!({"AGPLv3+": ["a"]})), Fail, ""),
        // A package that says none.
        (deny, sbom(json!({"NOASSERTION": ["a"]})), Pass, ""),
        (require, sbom(json!({"MIT": ["b"], "NOASSERTION": ["a"]})), Fail, "no known licence of a"),
        (require, sbom(json!({"NONE": ["a"]})), Fail, "no known licence of a"),
        (require, sbom(json!({"MIT": ["a"], "Our terms": ["b"]})), Pass, ""),
        (require, json!({}), Fail, "no SBOM"),
        (
            require,
            json!({"sbom": {"format": "spdx", "packages": 1, "quality": 6.5, "licenses": {"MIT": ["a"]}}, "unread": ["it is XML"]}),
            Fail,
            "it is XML",
        ),
        ("sbom: {requireLicenses: false, present: true}", sbom(json!({"NOASSERTION": ["a"]})), Pass, ""),
    ]);
}

#[test]
fn vulnerabilities() {
    let one = |severity: &str, more: Value| {
        let mut finding = json!({"id": "CVE-1", "purl": "pkg:deb/debian/a@1", "severity": severity});
        for (name, value) in more.as_object().unwrap() {
            finding[name] = value.clone();
        }
        json!({"findings": [finding], "findingsAt": "2026-06-01T00:00:00Z"})
    };
    let high = "vulns: {fail: [{severity: '>=high'}]}";
    let fixed = "vulns: {fail: [{severity: '>=high', fixed: true, graceDays: 14}]}";
    let old = "2026-05-18T12:00:00Z";
    let young = "2026-05-18T12:00:01Z";
    table(&[
        (high, one("high", json!({})), Fail, "CVE-1 (high) in pkg:deb/debian/a@1"),
        (high, one("medium", json!({})), Pass, "1 vulnerabilities, none of these"),
        (high, json!({"findings": "absent"}), Pass, "0 vulnerabilities"),
        (high, json!({}), Error, "vulns cannot be asked: vulnerabilities are not gathered"),
        (fixed, one("high", json!({"fixed": "2", "published": old})), Fail, "mended in 2"),
        (fixed, one("high", json!({"fixed": "2", "published": young})), Pass, ""),
        (fixed, one("high", json!({"fixed": "2"})), Fail, ""),
        (fixed, one("high", json!({"published": old})), Pass, ""),
        ("vulns: {fail: [{kev: true}]}", one("low", json!({"kev": true})), Fail, "exploited"),
        ("vulns: {fail: [{kev: true}]}", one("critical", json!({})), Pass, ""),
        ("vulns: {maxAge: 13h}", one("critical", json!({})), Pass, ""),
        ("vulns: {maxAge: 12h}", one("critical", json!({})), Error, "last matched at 2026-06-01 00:00 UTC"),
        ("vulns: {maxAge: 12h}", json!({"findings": []}), Error, "nobody says when"),
    ]);
    let reason = ask(fixed, one("high", json!({"fixed": "2", "published": old})));
    assert_eq!(reason.fix, "update pkg:deb/debian/a@1 to 2");
}
