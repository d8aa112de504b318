//! What is inside, and what is known to be wrong with it.

use std::cmp::Ordering;

use super::Inquiry;
use super::licenses::is_acceptable;
use super::reason::{Finding, few};
use crate::decision::Outturn;
use crate::facts::{Fact, FindingFact, SbomFacts};
use crate::rules::words::age_text;
use crate::rules::{FailRule, Pattern, SbomRule, Severity, VulnsRule};

pub(super) const WHOSE: &str =
    "delete what is attached and not needed, or say with signedBy whose SBOM is to be judged";

impl Inquiry<'_> {
    pub(super) fn sbom(&self, rule: &SbomRule) -> Finding {
        if let Some(signers) = &rule.signed_by {
            return super::sbom::by(self, rule, signers);
        }
        let expected = expected_sbom(rule);
        let fix =
            "attach an SBOM, as `rreg attest --type cyclonedx` or `docker buildx build --sbom=true` does";
        match &self.facts.sbom {
            Fact::Known(sbom) => {
                let finding = judge_sbom(rule, sbom, expected).with_evidence(sbom.evidence);
                if asks_content(rule) { self.whole(finding) } else { finding }
            }
            Fact::NotGathered(why) => Finding::error(expected, format!("the SBOM is not known: {why}"), fix),
            Fact::Absent if !rule.present && !asks_content(rule) => Finding::pass(expected, "no SBOM"),
            Fact::Absent => match (self.past_limit().or(self.unread_sbom()), self.facts.incomplete.first()) {
                (Some(why), _) => Finding::fail(expected, format!("no SBOM that can be read; {why}"), fix),
                (None, Some(why)) => {
                    let found = format!("no SBOM; not everything could be looked at: {why}");
                    Finding::error(expected, found, fix)
                }
                (None, None) if !rule.present => Finding::pass(expected, "no SBOM"),
                (None, None) => Finding::fail(expected, "no SBOM", fix),
            },
        }
    }

    /// What the documents that were read say is not enough to pass where there are others: each is held against the
    /// image, so that a document that looks better, or many of them, take nothing away.
    fn whole(&self, finding: Finding) -> Finding {
        if finding.result != Outturn::Pass {
            return finding;
        }
        let (expected, evidence) = (finding.expected, finding.evidence);
        let found = |why: &str| format!("{}; not every document was looked at: {why}", finding.found);
        let fix = WHOSE;
        match (self.past_limit().or(self.unread_sbom()), self.facts.incomplete.first()) {
            (Some(why), _) => Finding::fail(expected, found(why), fix),
            (None, Some(why)) => Finding::error(expected, found(why), fix),
            (None, None) => Finding::pass(expected, finding.found),
        }
        .with_evidence(evidence)
    }

    /// The first SBOM that could not be read in whole, whoever attached it.
    pub(super) fn unread_sbom(&self) -> Option<&str> {
        self.facts.unread_sboms.first().map(|unread| unread.why.as_str())
    }

    pub(super) fn vulns(&self, rule: &VulnsRule) -> Finding {
        let expected = expected_vulns(rule);
        let none = Vec::new();
        let findings = match &self.facts.findings {
            Fact::Known(findings) => findings,
            Fact::Absent => &none,
            Fact::NotGathered(why) => {
                return Finding::error(expected, format!("vulns cannot be asked: {why}"), "");
            }
        };
        if let Some(age) = rule.max_age {
            let Some(at) = self.facts.findings_at else {
                return Finding::error(
                    expected,
                    "vulns.maxAge cannot be asked: nobody says when they were matched",
                    "",
                );
            };
            if !self.horizon.is_before(at.checked_add_signed(age)) {
                let found =
                    format!("vulnerabilities were last matched at {}", at.format("%Y-%m-%d %H:%M UTC"));
                return Finding::error(expected, found, "have them matched anew");
            }
        }
        let mut exempted = Vec::new();
        let mut broken: Vec<&FindingFact> = Vec::new();
        for finding in findings.iter().filter(|finding| self.breaks(rule, finding)) {
            let about = |exemption: &&_| {
                crate::rules::Exemption::is_about_finding(exemption, &finding.id, &finding.purl)
            };
            match self.policy.exempt.iter().filter(about).find(|exemption| self.horizon.holds(exemption)) {
                Some(used) => exempted.push(used.to_string()),
                None => broken.push(finding),
            }
        }
        exempted.sort();
        exempted.dedup();
        broken.sort_by_key(|finding| std::cmp::Reverse((finding.kev, Severity::of(&finding.severity))));
        let fixes = broken
            .iter()
            .filter_map(|finding| Some(format!("{} to {}", finding.purl, finding.fixed.as_ref()?)));
        let fix = match few(fixes) {
            fixes if fixes.is_empty() => "wait for a version that mends it, or add an exemption".into(),
            fixes => format!("update {fixes}"),
        };
        let mut finding = match broken.is_empty() {
            true => Finding::pass(expected, format!("{} vulnerabilities, none of these", findings.len())),
            false => Finding::fail(expected, few(broken.iter().map(|finding| describe(finding))), fix),
        };
        finding.exempted = exempted;
        finding
    }

    /// Whether one of the descriptions fits. All are asked, so that each notes when it begins to fit.
    fn breaks(&self, rule: &VulnsRule, finding: &FindingFact) -> bool {
        rule.fail.iter().filter(|fail| self.fits(fail, finding)).count() > 0
    }

    fn fits(&self, rule: &FailRule, finding: &FindingFact) -> bool {
        let severity = rule.severity.is_none_or(|range| range.contains(Severity::of(&finding.severity)));
        let fixed = rule.fixed.is_none_or(|fixed| finding.fixed.is_some() == fixed);
        let exploited = rule.kev.is_none_or(|kev| finding.kev == kev);
        let waited = || match (rule.grace, finding.published) {
            (Some(grace), Some(published)) => !self.horizon.is_before(published.checked_add_signed(grace)),
            _ => true,
        };
        severity && fixed && exploited && waited()
    }
}

fn describe(finding: &FindingFact) -> String {
    let exploited = if finding.kev { ", exploited" } else { "" };
    let fixed = finding.fixed.as_ref().map(|version| format!(", mended in {version}")).unwrap_or_default();
    format!("{} ({}{exploited}{fixed}) in {}", finding.id, finding.severity, finding.purl)
}

fn expected_vulns(rule: &VulnsRule) -> String {
    let one = |fail: &FailRule| {
        let severity = fail.severity.map(|range| match range.from == range.to {
            true => format!("{:?}", range.from).to_lowercase(),
            false => format!("{:?} or worse", range.from).to_lowercase(),
        });
        let fixed = fail.fixed.map(|fixed| if fixed { "mended" } else { "not mended" }.to_owned());
        let kev = fail.kev.map(|kev| if kev { "exploited" } else { "not exploited" }.to_owned());
        let grace = fail.grace.map(|grace| format!("known for {}", age_text(grace)));
        [severity, fixed, kev, grace].into_iter().flatten().collect::<Vec<_>>().join(" and ")
    };
    let mut parts: Vec<String> = rule.fail.iter().map(one).collect();
    if parts.is_empty() {
        parts.push("unknown age".into());
    }
    let age =
        rule.max_age.map(|age| format!(", matched less than {} ago", age_text(age))).unwrap_or_default();
    match rule.fail.is_empty() {
        true => format!("vulnerabilities{age}"),
        false => format!("no vulnerability that is {}{age}", parts.join(", or ")),
    }
}

/// Whether more is asked than that there is one in a format.
pub(super) fn asks_content(rule: &SbomRule) -> bool {
    let licenses = rule.require_licenses || !rule.deny_licenses.is_empty() || !rule.allow_licenses.is_empty();
    rule.min_quality.is_some() || licenses
}

pub(super) fn expected_sbom(rule: &SbomRule) -> String {
    let list = |patterns: &[Pattern]| patterns.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut parts = Vec::new();
    parts.extend(rule.format.as_ref().map(|format| format!("in the format {format}")));
    parts.extend(rule.min_quality.map(|least| format!("of a quality of at least {least}")));
    if !rule.deny_licenses.is_empty() {
        parts.push(format!("without the licences {}", list(&rule.deny_licenses)));
    }
    if !rule.allow_licenses.is_empty() {
        parts.push(format!("with no other licences than {}", list(&rule.allow_licenses)));
    }
    if rule.require_licenses {
        parts.push("with a known licence of each package".to_owned());
    }
    parts.extend(rule.signed_by.as_ref().map(|signers| format!("signed by {signers}")));
    match parts.is_empty() {
        true => "an SBOM".into(),
        false => format!("an SBOM {}", parts.join(", ")),
    }
}

pub(super) fn judge_sbom(rule: &SbomRule, sbom: &SbomFacts, expected: String) -> Finding {
    let mut wrong = Vec::new();
    let mut fixes = Vec::new();
    if let Some(format) = rule
        .format
        .as_ref()
        .filter(|format| !sbom.format.split(", ").any(|has| format.eq_ignore_ascii_case(has)))
    {
        wrong.push(format!("the format {}", sbom.format));
        fixes.push(format!("write it in the format {format}"));
    }
    // Not a plain "less than": a score that is no number is not good enough.
    let good =
        |least: f64| matches!(sbom.quality.partial_cmp(&least), Some(Ordering::Equal | Ordering::Greater));
    if let Some(least) = rule.min_quality.filter(|least| !good(*least)) {
        wrong.push(format!(
            "a quality of {} of {least}, missing {}",
            sbom.quality,
            few(sbom.missing.clone())
        ));
        fixes.push("add to it what is missing".to_owned());
    }
    let licenses = sbom.licenses.iter().filter(|(expression, _)| is_wrong(rule, expression));
    let packages =
        licenses.map(|(expression, packages)| format!("{expression} in {}", few(packages.clone())));
    let licenses: Vec<String> = packages.collect();
    if !licenses.is_empty() {
        wrong.push(few(licenses));
        fixes.push("replace these packages".into());
    }
    let unknown = sbom.licenses.iter().filter(|(expression, _)| says_nothing(expression));
    let unknown: Vec<String> = unknown.flat_map(|(_, packages)| packages.clone()).collect();
    if rule.require_licenses && !unknown.is_empty() {
        wrong.push(format!("no known licence of {}", few(unknown)));
        fixes.push("have the packages or the SBOM say their licences".into());
    }
    let found = match wrong.is_empty() {
        true => format!("{} with {} packages, quality {}", sbom.format, sbom.packages, sbom.quality),
        false => wrong.join("; "),
    };
    Finding::of(wrong.is_empty(), expected, found, fixes.join("; "))
}

/// Whether a rule forbids a licence, as the document has it or in SPDX's words: rules are written in these.
fn is_wrong(rule: &SbomRule, expression: &str) -> bool {
    let normal = rreg_sbom::license::normal(expression);
    let denied = |license: &str| !rule.deny_licenses.iter().any(|pattern| is_named(pattern, license));
    let allowed = |license: &str| rule.allow_licenses.iter().any(|pattern| is_named(pattern, license));
    let is_denied = |expression: &str| !is_acceptable(expression, &denied);
    if !rule.deny_licenses.is_empty() && (is_denied(expression) || is_denied(&normal)) {
        return true;
    }
    !rule.allow_licenses.is_empty()
        && !is_acceptable(expression, &allowed)
        && !is_acceptable(&normal, &allowed)
}

/// Whether a rule names a licence; one without wildcards may do so in words that SPDX has given up (`GPL-2.0`).
fn is_named(pattern: &Pattern, license: &str) -> bool {
    let text = pattern.to_string();
    pattern.matches_any_case(license)
        || !text.contains(['*', '?', '[']) && rreg_sbom::license::normal(&text).eq_ignore_ascii_case(license)
}

/// Whether a document only says that it does not know.
fn says_nothing(expression: &str) -> bool {
    let nothing = [crate::quality::NO_LICENSE, "NONE", "UNKNOWN", ""];
    nothing.iter().any(|nothing| expression.trim().eq_ignore_ascii_case(nothing))
}
