//! A gate's report as JUnit XML: a suite for each image, a case for each rule of each policy about it. CI servers
//! (GitLab, Jenkins, Azure) read `testsuites` with `testsuite`, `testcase` and one of `failure`, `error`, `skipped`.
//!
//! A rule that does not hold is a failure, one that could not be decided an error. Where the policy only warns or
//! audits, or lets errors pass, it is skipped, with its reason.

use std::fmt::Write as _;

use rreg_policy::{Outcome, Outturn, PolicyResult, Reason};

use super::report::{Found, Judged, Report, Unchecked};

/// Counts as the attributes say them.
#[derive(Clone, Copy, Default)]
struct Counts {
    tests: usize,
    failures: usize,
    errors: usize,
    skipped: usize,
}

impl Counts {
    fn attributes(self) -> String {
        let Self { tests, failures, errors, skipped } = self;
        format!(r#"tests="{tests}" failures="{failures}" errors="{errors}" skipped="{skipped}""#)
    }

    fn add(&mut self, other: Self) {
        self.tests += other.tests;
        self.failures += other.failures;
        self.errors += other.errors;
        self.skipped += other.skipped;
    }
}

pub(super) fn write(report: &Report) -> String {
    let mut all = Counts::default();
    let mut suites = String::new();
    for judged in &report.images {
        let (counts, cases) = match &judged.result {
            Ok(found) => cases(found),
            Err(unchecked) => unchecked_case(unchecked),
        };
        all.add(counts);
        suites.push_str(&suite(judged, counts, &cases));
    }
    let attributes = all.attributes();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"rreg gate\" {attributes}>\n{suites}</testsuites>\n"
    )
}

fn suite(judged: &Judged, counts: Counts, cases: &str) -> String {
    let time = judged.result.as_ref().ok().map(|found| found.decision.decided_at);
    let time = time.map(|time| format!(r#" timestamp="{}""#, time.format("%Y-%m-%dT%H:%M:%S")));
    let name = escape(&judged.pinned());
    let attributes = counts.attributes();
    let time = time.unwrap_or_default();
    let properties = judged.result.as_ref().map(properties).unwrap_or_default();
    format!("  <testsuite name=\"{name}\" {attributes}{time}>\n{properties}{cases}  </testsuite>\n")
}

fn properties(found: &Found) -> String {
    let mut text = String::from("    <properties>\n");
    let all = [
        ("digest", found.digest.to_string()),
        ("platforms", found.platforms.join(" ")),
        ("at", found.decision.at.word().to_owned()),
    ];
    for (name, value) in all {
        // Writing to a String cannot fail.
        let _ = writeln!(text, r#"      <property name="{name}" value="{}"/>"#, escape(&value));
    }
    text + "    </properties>\n"
}

fn unchecked_case(unchecked: &Unchecked) -> (Counts, String) {
    let detail = [Some(unchecked.why.as_str()), unchecked.hint.as_deref()];
    let detail: Vec<&str> = detail.into_iter().flatten().collect();
    let inner = element("error", "unchecked", &unchecked.why, &detail.join("\n"));
    (
        Counts { tests: 1, errors: 1, ..Counts::default() },
        case("rreg gate", "the image could be checked", &inner),
    )
}

fn cases(found: &Found) -> (Counts, String) {
    if found.decision.policies.is_empty() {
        let why = format!("no policy is about it at {}", found.decision.at.word());
        let inner = format!("      <skipped message=\"{}\"/>\n", escape(&why));
        let counts = Counts { tests: 1, skipped: 1, ..Counts::default() };
        return (counts, case("rreg gate", "policies", &inner));
    }
    let mut counts = Counts::default();
    let mut text = String::new();
    for policy in &found.decision.policies {
        for reason in &policy.reasons {
            let inner = outcome(policy, reason, &mut counts);
            text.push_str(&case(&policy.policy, &reason.rule, &inner));
        }
    }
    (counts, text)
}

fn outcome(policy: &PolicyResult, reason: &Reason, counts: &mut Counts) -> String {
    counts.tests += 1;
    let message = format!("expected {}; found {}", reason.expected, reason.found);
    let mut detail = format!("expected: {}\nfound: {}\n", reason.expected, reason.found);
    detail.extend(reason.evidence.iter().map(|digest| format!("evidence: {digest}\n")));
    detail.extend(reason.exempted.iter().map(|exempted| format!("exempted: {exempted}\n")));
    if !reason.fix.is_empty() {
        detail.push_str(&format!("fix: {}\n", reason.fix));
    }
    match (reason.result, policy.outcome) {
        (Outturn::Pass, _) => String::new(),
        (Outturn::Fail, Outcome::Deny) => {
            counts.failures += 1;
            element("failure", "denied", &message, &detail)
        }
        (Outturn::Error, Outcome::Deny) => {
            counts.errors += 1;
            element("error", "undecided", &message, &detail)
        }
        (_, Outcome::Warn | Outcome::Allow) => {
            counts.skipped += 1;
            let word = if policy.outcome == Outcome::Warn { "warning" } else { "let through" };
            let message = escape(&format!("{word}: {message}"));
            // `skipped` has no text in the schemas of some readers.
            format!(
                "      <skipped message=\"{message}\"/>\n      <system-out>{}</system-out>\n",
                escape(&detail)
            )
        }
    }
}

fn case(class: &str, name: &str, inner: &str) -> String {
    let (class, name) = (escape(class), escape(name));
    if inner.is_empty() {
        return format!("    <testcase classname=\"{class}\" name=\"{name}\"/>\n");
    }
    format!("    <testcase classname=\"{class}\" name=\"{name}\">\n{inner}    </testcase>\n")
}

fn element(name: &str, kind: &str, message: &str, detail: &str) -> String {
    let (message, detail) = (escape(message), escape(detail));
    format!("      <{name} type=\"{kind}\" message=\"{message}\">{detail}</{name}>\n")
}

/// Text for an element or a quoted attribute. Characters that XML 1.0 cannot have at all (section 2.2) are replaced;
/// a line break in an attribute would be read as a space (section 3.3.3).
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push_str("&#9;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn nothing_a_stranger_writes_ends_an_element() {
        let text = "]]></failure>&\"'\u{0}\u{1b}\u{ffff}\r\n\t\u{85}é";
        assert_eq!(
            escape(text),
            "]]&gt;&lt;/failure&gt;&amp;&quot;&apos;\u{fffd}\u{fffd}\u{fffd}\u{fffd}&#10;&#9;\u{fffd}é"
        );
    }
}
