//! A gate's report for people. What strangers wrote cannot steer the terminal.

use rreg_policy::{Decision, Mode, Outcome, Outturn, PolicyResult, Reason};

use super::report::{Found, Judged, Report, Status, Unchecked};
use crate::text::{BAD, GOOD, HINT, NAME, paint, plain};

/// How much is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// What did not pass.
    Problems,
    /// Passing rules too.
    All,
}

pub(crate) fn write(report: &Report, detail: Detail) -> String {
    let mut text: String = report.images.iter().map(|judged| image(judged, report, detail)).collect();
    if report.images.len() > 1 {
        text.push_str(&totals(report));
    }
    text
}

fn totals(report: &Report) -> String {
    let all = [Status::Allowed, Status::Warned, Status::Denied, Status::Unchecked];
    let counted = all.map(|status| (report.count(status), status.word()));
    let parts: Vec<String> =
        counted.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    format!("{} images: {}\n", report.images.len(), parts.join(", "))
}

fn image(judged: &Judged, report: &Report, detail: Detail) -> String {
    let status = judged.status();
    let style = match status {
        Status::Allowed => GOOD,
        Status::Warned => HINT,
        Status::Denied | Status::Unchecked => BAD,
    };
    let head = paint(style, format_args!("{:<9}", status.word()));
    let mut text = format!("{head} {} at {}\n", plain(&judged.image), report.at.word());
    match &judged.result {
        Ok(found) => text.push_str(&looked_at(found, detail)),
        Err(unchecked) => text.push_str(&not_looked_at(unchecked)),
    }
    text
}

fn not_looked_at(unchecked: &Unchecked) -> String {
    let hint = unchecked.hint.iter().map(|hint| line(2, "hint", hint));
    std::iter::once(format!("  {}\n", plain(&unchecked.why))).chain(hint).collect()
}

fn looked_at(found: &Found, detail: Detail) -> String {
    let platforms: Vec<String> = found.platforms.iter().map(|platform| plain(platform)).collect();
    let mut text = format!("  {} {}", paint(NAME, found.digest), platforms.join(" "));
    text.truncate(text.trim_end().len());
    text.push('\n');
    text.push_str(&decision(&found.decision, detail));
    let missing = found.incomplete.iter();
    text.extend(missing.map(|why| format!("  not looked at: {}\n", plain(why))));
    text
}

/// The policies of a decision with their reasons.
pub(crate) fn decision(decision: &Decision, detail: Detail) -> String {
    if decision.policies.is_empty() {
        return format!("  no policy is about it at {}\n", decision.at.word());
    }
    decision.policies.iter().map(|result| policy(result, detail)).collect()
}

fn policy(result: &PolicyResult, detail: Detail) -> String {
    let (style, word) = outturn(result.result);
    let mode = match result.mode {
        Mode::Audit => "audit",
        Mode::Warn => "warn",
        Mode::Enforce => "enforce",
    };
    let consequence = match (result.result, result.outcome) {
        (Outturn::Pass, Outcome::Allow) => "",
        (_, Outcome::Allow) => ", let through",
        (_, Outcome::Warn) => ", warned of",
        (_, Outcome::Deny) => ", refused",
    };
    let name = plain(&result.policy);
    let mut text =
        format!("  {} policy {name} ({mode}{consequence})\n", paint(style, format_args!("{word:<5}")));
    if let Some(time) = result.last_good {
        let time = time.format("%Y-%m-%dT%H:%M:%SZ");
        text.push_str(&line(4, "facts", &format!("could not be had; the decision of {time} stands")));
    }
    let shown = |reason: &&Reason| detail == Detail::All || reason.result != Outturn::Pass;
    text.extend(result.reasons.iter().filter(shown).map(reason));
    text
}

fn reason(reason: &Reason) -> String {
    let (style, word) = outturn(reason.result);
    let mut text = format!("    {} {}\n", paint(style, format_args!("{word:<5}")), plain(&reason.rule));
    text.push_str(&line(10, "expected", &reason.expected));
    text.push_str(&line(10, "found", &reason.found));
    let evidence: Vec<String> = reason.evidence.iter().map(ToString::to_string).collect();
    text.push_str(&line(10, "evidence", &evidence.join(" ")));
    text.extend(reason.exempted.iter().map(|exempted| line(10, "exempted", exempted)));
    text.push_str(&line(10, "fix", &reason.fix));
    text
}

fn outturn(outturn: Outturn) -> (anstyle::Style, &'static str) {
    match outturn {
        Outturn::Pass => (GOOD, "pass"),
        Outturn::Error => (HINT, "error"),
        Outturn::Fail => (BAD, "fail"),
    }
}

/// A labelled line; nothing where there is nothing to say. A text of several lines goes on under itself.
fn line(indent: usize, label: &str, text: &str) -> String {
    let mut lines = text.lines().map(plain);
    let Some(first) = lines.next() else { return String::new() };
    let mut all = format!("{:indent$}{label:<9} {first}\n", "");
    all.extend(lines.map(|next| format!("{:width$}{next}\n", "", width = indent + 10)));
    all
}
