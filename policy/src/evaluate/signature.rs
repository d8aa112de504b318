//! Who signed.

use std::collections::{BTreeMap, BTreeSet};

use rreg_oci::Digest;

use super::Inquiry;
use super::reason::{Finding, few};
use crate::evidence::EvidenceKind;
use crate::facts::EvidenceFact;
use crate::rules::{Matcher, Need, Signers, TrustReference};
use crate::signer::Signer;
use crate::verdict::{Verdict, Verification};

/// Who signed, as far as two signatures by one signer are to count as one: claims of a certificate differ from one run
/// of a workflow to the next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Who(&'static str, String, String);

impl Who {
    fn of(signer: &Signer) -> Self {
        match signer {
            Signer::Key { key } => Self("key", key.to_string(), String::new()),
            Signer::Keyless { issuer, identity, .. } => Self("keyless", issuer.clone(), identity.clone()),
            Signer::Certificate { subject, root, .. } => {
                Self("certificate", subject.clone(), root.to_string())
            }
            Signer::Notation { subject, root, .. } => Self("notation", subject.clone(), root.to_string()),
        }
    }
}

/// What some evidence says to one matcher.
#[derive(Debug, Default)]
pub(super) struct Matched {
    /// Who of those that are meant signed, with the evidence.
    pub(super) by: BTreeMap<Who, Digest>,
    /// Whether something might yet be found to match.
    pub(super) uncertain: bool,
}

/// Whether evidence of this kind can be judged under trust of that kind at all.
fn fits(reference: &TrustReference, kind: EvidenceKind) -> bool {
    let notation = matches!(reference, TrustReference::Notation { .. } | TrustReference::NotationPolicy(_));
    match kind {
        EvidenceKind::Notation => notation,
        EvidenceKind::Bundle | EvidenceKind::CosignSignature | EvidenceKind::CosignAttestation => !notation,
        EvidenceKind::Statement | EvidenceKind::Sbom => false,
    }
}

impl Inquiry<'_> {
    /// Evidence about this image, or an index that has it.
    pub(super) fn evidence(&self) -> impl Iterator<Item = &EvidenceFact> {
        self.facts.evidence.iter().filter(|fact| self.facts.image.is_covered_by(&fact.subject))
    }

    /// The trust roots of a matcher that say anything about images of this repository.
    fn roots_of(&self, matcher: &Matcher) -> Vec<Digest> {
        let about = self.policy.trust_roots_about(&self.facts.image).map(crate::TrustRoot::id);
        about.filter(|root| matcher.trust.contains(root)).collect()
    }

    /// What evidence says to a matcher.
    pub(super) fn matched<'f>(
        &self,
        matcher: &Matcher,
        evidence: impl Iterator<Item = &'f EvidenceFact>,
    ) -> Matched {
        let mut matched = Matched::default();
        let evidence: Vec<&EvidenceFact> =
            evidence.filter(|fact| fits(&matcher.reference, fact.kind)).collect();
        let roots = self.roots_of(matcher);
        let asked = evidence.iter().flat_map(|fact| roots.iter().map(move |root| (*fact, root)));
        for (fact, root) in asked {
            match fact.under(root) {
                // Nobody has asked this trust root yet.
                None => matched.uncertain = true,
                Some(found) if found.may_change() || !self.horizon.is_current(found) => {
                    matched.uncertain = true;
                }
                Some(found) => {
                    if let Some(signer) = found.valid_signer().filter(|signer| matcher.matches(signer)) {
                        matched.by.entry(Who::of(signer)).or_insert_with(|| fact.id);
                    }
                }
            }
        }
        matched
    }

    pub(super) fn signature(&self, signers: &Signers) -> Finding {
        let signatures = || self.evidence().filter(|fact| fact.is_signature());
        let matched: Vec<Matched> =
            signers.of.iter().map(|matcher| self.matched(matcher, signatures())).collect();
        let expected = format!("signed by {signers}");
        if holds(signers, &matched) {
            let by = matched.iter().flat_map(|matched| matched.by.values().copied());
            let names = signers.of.iter().zip(&matched).filter(|(_, m)| !m.by.is_empty());
            let names = few(names.map(|(matcher, _)| matcher.to_string()));
            return Finding::pass(expected, format!("signed by {names}")).with_evidence(by);
        }
        let found = self.describe(signatures(), signers, "not signed");
        let fix = fix(signers, &matched);
        let uncertain = matched.iter().any(|matched| matched.uncertain) || !self.facts.incomplete.is_empty();
        // What lies past a limit is not there: no error, which others could make by attaching more.
        let finding = match uncertain && self.past_limit().is_none() && !signers.of.is_empty() {
            true => Finding::error(expected, found, fix),
            false => Finding::fail(expected, found, fix),
        };
        finding.with_evidence(signatures().map(|fact| fact.id))
    }

    /// What is there instead.
    pub(super) fn describe<'f>(
        &self,
        evidence: impl Iterator<Item = &'f EvidenceFact>,
        signers: &Signers,
        nothing: &str,
    ) -> String {
        let mut parts: Vec<String> = evidence.map(|fact| self.describe_one(fact, signers)).collect();
        if parts.is_empty() {
            parts.push(nothing.into());
        }
        if !signers.undefined.is_empty() {
            parts.push(format!("the policy does not define {}", signers.undefined.join(", ")));
        }
        let image = &self.facts.image;
        let silent = signers.of.iter().filter(|matcher| self.roots_of(matcher).is_empty());
        parts.extend(silent.map(|matcher| {
            let repository = match image.registry.as_str() {
                "" => image.repository.clone(),
                registry => format!("{registry}/{}", image.repository),
            };
            format!("the {} has no statement whose registryScopes name {repository}", matcher.reference)
        }));
        let mut found = few(parts);
        if let Some(why) = self.facts.incomplete.first() {
            found.push_str(&format!("; not everything could be looked at: {why}"));
        }
        if let Some(limit) = self.past_limit() {
            found.push_str(&format!("; {limit}"));
        }
        found
    }

    fn describe_one(&self, fact: &EvidenceFact, signers: &Signers) -> String {
        let roots: BTreeSet<String> =
            self.policy.trust_roots_about(&self.facts.image).map(|root| root.id().to_string()).collect();
        let known: Vec<&Verification> = fact
            .verifications
            .iter()
            .filter(|(root, _)| roots.contains(*root))
            .map(|(_, found)| found)
            .collect();
        if let Some(signer) =
            known.iter().find_map(|found| found.valid_signer().filter(|_| self.horizon.is_current(found)))
        {
            return format!("signed by {signer}");
        }
        if known.iter().any(|found| found.verdict == Verdict::Valid) {
            return "a signature that is to be verified anew, since what was known of it has ended".into();
        }
        let fitting = signers.of.iter().any(|matcher| fits(&matcher.reference, fact.kind));
        let Some(worst) = known.iter().max_by_key(|found| found.verdict) else {
            return match fitting {
                true => "a signature that has not been verified yet".into(),
                false => "a signature of another kind than the policy asks for".into(),
            };
        };
        let why =
            worst.failure().map(|check| format!(": {}: {}", check.name, check.detail)).unwrap_or_default();
        let by = worst.signer.as_ref().map(|signer| format!(" by {signer}")).unwrap_or_default();
        match worst.verdict {
            // Somebody else's, which says nothing against whoever is asked for.
            Verdict::Invalid if worst.failure().is_some_and(|check| check.name == "key") => {
                format!("a signature by somebody else{why}")
            }
            Verdict::Invalid => format!("a signature{by} that is invalid{why}"),
            Verdict::Error => format!("a signature{by} that could not be checked{why}"),
            _ => format!("a signature{by} that nobody trusted here can vouch for{why}"),
        }
    }
}

fn fix(signers: &Signers, matched: &[Matched]) -> String {
    let missing = signers.of.iter().zip(matched).filter(|(_, matched)| matched.by.is_empty());
    let fixes: Vec<String> = missing.map(|(matcher, _)| matcher.fix()).collect();
    match (fixes.first(), signers.need) {
        (None, _) if signers.of.is_empty() => "define the signer under `signers:` in the policy".into(),
        (None, _) => "have it signed by another one of them".into(),
        (Some(_), Need::All) => few(fixes),
        (Some(first), _) => first.clone(),
    }
}

fn holds(signers: &Signers, matched: &[Matched]) -> bool {
    match signers.need {
        Need::Any => matched.iter().any(|matched| !matched.by.is_empty()),
        Need::All => {
            signers.undefined.is_empty()
                && !matched.is_empty()
                && matched.iter().all(|matched| !matched.by.is_empty())
        }
        Need::AtLeast(least) => different(matched) >= least,
    }
}

/// How many matchers can be given a signer of their own: a greatest matching between matchers and signers, found by
/// augmenting paths. One signer that several matchers mean counts once, and so does one matcher that several meet.
pub(super) fn different(matched: &[Matched]) -> usize {
    let mut given: BTreeMap<&Who, usize> = BTreeMap::new();
    let mut count = 0;
    for index in 0..matched.len() {
        let mut tried = BTreeSet::new();
        if give(index, matched, &mut given, &mut tried) {
            count += 1;
        }
    }
    count
}

fn give<'m>(
    index: usize,
    matched: &'m [Matched],
    given: &mut BTreeMap<&'m Who, usize>,
    tried: &mut BTreeSet<&'m Who>,
) -> bool {
    let Some(own) = matched.get(index) else { return false };
    for who in own.by.keys() {
        if !tried.insert(who) {
            continue;
        }
        let free = match given.get(who).copied() {
            None => true,
            Some(holder) => give(holder, matched, given, tried),
        };
        if free {
            given.insert(who, index);
            return true;
        }
    }
    false
}
