//! Small values.

use super::super::words::*;

#[test]
fn ages() {
    for (text, seconds) in [("1s", 1), ("2m", 120), ("24h", 86_400), ("7d", 604_800), ("2w", 1_209_600)] {
        assert_eq!(age(text).unwrap().num_seconds(), seconds);
    }
    for text in
        ["", "h", "24", "0h", "-1h", "1.5h", "24 h", "1y", "9999999999999999999h", "200000d", "1é", "+1h"]
    {
        assert!(age(text).is_err(), "{text}");
    }
    for text in ["1s", "2m", "24h", "7d"] {
        let shown = age_text(age(text).unwrap());
        assert_eq!(age(&shown).unwrap(), age(text).unwrap());
    }
}

#[test]
fn a_date_means_the_end_of_its_day() {
    assert_eq!(moment("2026-12-31").unwrap().to_rfc3339(), "2027-01-01T00:00:00+00:00");
    assert_eq!(moment("2026-12-31T12:00:00+02:00").unwrap().to_rfc3339(), "2026-12-31T10:00:00+00:00");
    for text in ["", "2026-13-01", "31.12.2026", "2026-12-31T12:00", "tomorrow"] {
        assert!(moment(text).is_err(), "{text}");
    }
}

#[test]
fn severities() {
    let range = |text: &str| SeverityRange::parse(text).unwrap();
    assert!(range(">=high").contains(Severity::Critical) && range(">=high").contains(Severity::High));
    assert!(!range(">=high").contains(Severity::Medium) && !range(">=high").contains(Severity::Unknown));
    assert!(!range(">high").contains(Severity::High) && range(">high").contains(Severity::Critical));
    assert!(range("low").contains(Severity::Low) && !range("low").contains(Severity::High));
    assert!(range(">=unknown").contains(Severity::Unknown));
    assert!(SeverityRange::parse(">critical").is_err() && SeverityRange::parse(">=").is_err());
    assert_eq!(Severity::of("HIGH"), Severity::High);
    assert_eq!(Severity::of("nonsense"), Severity::Unknown);
}

#[test]
fn predicates() {
    for (name, actual, meant) in [
        ("spdx", "https://spdx.dev/Document", true),
        ("spdx", "https://spdx.dev/Document/v2.3", true),
        ("spdx", "https://spdx.dev/Documents", false),
        ("slsaprovenance", "https://slsa.dev/provenance/v1", true),
        ("slsaprovenance", "https://slsa.dev/provenance/v0.2", true),
        ("slsaprovenance1", "https://slsa.dev/provenance/v1", true),
        ("slsaprovenance1", "https://slsa.dev/provenance/v0.2", false),
        ("slsaprovenance02", "https://slsa.dev/provenance/v0.2", true),
        ("openvex", "https://openvex.dev/ns/v0.2.0", true),
        ("https://slsa.dev/provenance/v1", "https://slsa.dev/provenance/v1", true),
        ("https://slsa.dev/provenance/v1", "https://slsa.dev/provenance/v1/x", false),
        ("https://slsa.dev/provenance/v1", "https://slsa.dev/provenance/v0.2", false),
    ] {
        assert_eq!(is_predicate(name, actual), meant, "{name} {actual}");
    }
}

#[test]
fn distinguished_names() {
    let wanted = distinguished_name("C=US, S=WA,O=acme").unwrap();
    for (subject, has) in [
        ("CN=x,O=acme,L=Seattle,ST=WA,C=US", true),
        ("CN=x,O=acme,C=US", false),
        ("CN=x,O=acme corp,ST=WA,C=US", false),
        (r"CN=x\,O=acme,ST=WA,C=US", false),
        (r"CN=O=acme\,ST=WA\,C=US", false),
        ("nonsense", false),
        ("", false),
    ] {
        assert_eq!(has_attributes(subject, &wanted), has, "{subject}");
    }
    assert!(!has_attributes("C=US", &[]));
    for bad in ["acme", "C=", "=US", "C=US,", r"C=US\"] {
        assert!(distinguished_name(bad).is_none(), "{bad}");
    }
}

#[test]
fn patterns_that_would_be_cut_short_are_refused() {
    assert!(Pattern::new("").is_err() && Pattern::new(&"a".repeat(256)).is_err());
    assert!(Pattern::new("AGPL-3.0*").unwrap().matches_any_case("agpl-3.0-only"));
}
