//! What SBOMs that somebody signed say. Those of others, and those that nobody signed, are not looked at.

use super::Inquiry;
use super::attestation::Came;
use super::documents::{asks_content, expected_sbom, judge_sbom};
use super::reason::{Finding, few};
use crate::decision::Outturn;
use crate::facts::{EvidenceFact, SbomFacts};
use crate::rules::{SbomRule, Signers};

/// The answer to a rule with `signedBy`. Of several by those who are meant each is held against the image.
pub(super) fn by(inquiry: &Inquiry<'_>, rule: &SbomRule, signers: &Signers) -> Finding {
    let expected = expected_sbom(rule);
    let (mut meant, mut unsure, mut not) = (Vec::new(), Vec::new(), Vec::new());
    for (fact, sbom) in signed(inquiry) {
        match inquiry.judge_signers(signers, fact) {
            None => meant.push((fact, sbom)),
            Some(Came::Unsure(why)) => unsure.push(of_sbom(&why)),
            Some(Came::Aside(why) | Came::Not(why)) => not.push(of_sbom(&why)),
            Some(Came::Through) => {}
        }
    }
    // One of theirs that nobody can read may say anything.
    let mut unread = None;
    for (fact, why) in unread_by(inquiry) {
        match inquiry.judge_signers(signers, fact) {
            None => unread = Some((fact, why)),
            Some(Came::Unsure(why)) => unsure.push(of_sbom(&why)),
            Some(_) => {}
        }
    }
    if let Some((fact, why)) = unread.filter(|_| asks_content(rule) || meant.is_empty() && rule.present) {
        let found = format!("an SBOM of theirs that cannot be read: {why}");
        return Finding::fail(expected, found, "attest one that can be read, and delete this")
            .with_evidence([fact.id]);
    }
    if meant.is_empty() {
        return none(inquiry, rule, signers, (expected, unsure, not));
    }
    let evidence: Vec<_> = meant.iter().map(|(fact, _)| fact.id).collect();
    let judged: Vec<Finding> =
        meant.iter().map(|(_, sbom)| judge_sbom(rule, sbom, expected.clone())).collect();
    let worst = judged.into_iter().max_by_key(|finding| finding.result);
    let worst = worst.unwrap_or_else(|| Finding::fail(expected.as_str(), "no SBOM", ""));
    // Of those that were read the newest by them must be one: what lies past a limit may be newer else.
    let mut past = meant.iter().map(|(fact, _)| inquiry.may_be_older(fact));
    let finding = match past.clone().all(|past| past.is_some()).then(|| past.next().flatten()).flatten() {
        Some(why) if worst.result == Outturn::Pass => {
            let found = format!("{}; not every document was looked at: {why}", worst.found);
            Finding::fail(expected, found, super::FEWER)
        }
        // One by them that could not be had may be held against the image.
        None if worst.result == Outturn::Pass => match unsure.first().or(inquiry.facts.incomplete.first()) {
            Some(why) => {
                let found = format!("{}; not everything could be looked at: {why}", worst.found);
                Finding::error(expected, found, "")
            }
            None => worst,
        },
        _ => worst,
    };
    finding.with_evidence(evidence)
}

/// The answer where there is none by anybody who is meant.
fn none(
    inquiry: &Inquiry<'_>,
    rule: &SbomRule,
    signers: &Signers,
    (expected, mut unsure, not): (String, Vec<String>, Vec<String>),
) -> Finding {
    let fix = match signers.of.is_empty() {
        true => "define the signer under `signers:` in the policy",
        false => "attest the SBOM with `cosign attest` or `rreg attest --type cyclonedx` as that signer",
    };
    let error = !unsure.is_empty();
    unsure.extend(not);
    if unsure.is_empty() {
        let unsigned = matches!(inquiry.facts.sbom, crate::Fact::Known(_));
        unsure.push(if unsigned { "an SBOM that nobody signed" } else { "no SBOM" }.to_owned());
    }
    if let Some(why) = inquiry.past_limit() {
        unsure.push(why.to_owned());
        return Finding::fail(expected, few(unsure), fix);
    }
    if let Some(why) = inquiry.facts.incomplete.first() {
        unsure.push(format!("not everything could be looked at: {why}"));
        return Finding::error(expected, few(unsure), fix);
    }
    match (error, rule.present) {
        (true, _) => Finding::error(expected, few(unsure), fix),
        (false, true) => Finding::fail(expected, few(unsure), fix),
        (false, false) => Finding::pass(expected, few(unsure)),
    }
}

/// The SBOMs in signed evidence about this image, or an index that has it.
fn signed<'i>(inquiry: &'i Inquiry<'_>) -> impl Iterator<Item = (&'i EvidenceFact, &'i SbomFacts)> {
    inquiry.facts.signed_sboms.iter().filter_map(|sbom| {
        let id = sbom.evidence?;
        Some((inquiry.evidence().find(|fact| fact.id == id)?, sbom))
    })
}

/// The SBOMs in evidence about this image that could not be read in whole, and why not.
fn unread_by<'i>(inquiry: &'i Inquiry<'_>) -> impl Iterator<Item = (&'i EvidenceFact, &'i str)> {
    inquiry.facts.unread_sboms.iter().filter_map(|unread| {
        Some((inquiry.evidence().find(|fact| fact.id == unread.evidence)?, unread.why.as_str()))
    })
}

fn of_sbom(said: &str) -> String {
    said.replacen("an attestation", "an SBOM", 1)
}
