//! What was attested, and by whom.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rreg_oci::Digest;

use super::Inquiry;
use super::reason::{Finding, few};
use crate::decision::Outturn;
use crate::evidence::Found;
use crate::facts::EvidenceFact;
use crate::rules::cel::CelError;
use crate::rules::{AttestationRule, Expression, Signers, Which};
use crate::statement::Statement;

/// How far one attestation came.
pub(super) enum Came {
    /// It is what is asked for.
    Through,
    /// It might be, had it been checked.
    Unsure(String),
    /// It does not say what is asked for.
    Not(String),
    /// It is not among those that are asked.
    Aside(String),
}

/// An attestation of the type that is asked for; without a statement where nobody can read what it says.
struct Meant<'f> {
    fact: &'f EvidenceFact,
    statement: Option<&'f Statement>,
    /// What is known of its age.
    age: Age,
    /// When what it says was found, as it says itself.
    stated_at: Option<DateTime<Utc>>,
}

/// Where predicates say when what they say was found: scans (cosign's and in-toto's), VEX, provenance (SLSA 1 and 0.2),
/// summaries of verifications, CycloneDX and SPDX. Of several the first that is there.
const TIMES: [&str; 9] = [
    "/metadata/scanFinishedOn",
    "/last_updated",
    "/timestamp",
    "/runDetails/metadata/finishedOn",
    "/metadata/buildFinishedOn",
    "/timeVerified",
    "/timeCreated",
    "/metadata/timestamp",
    "/creationInfo/created",
];

/// The time that a predicate says, which is signed with it.
fn stated_at(statement: &Statement) -> Option<DateTime<Utc>> {
    let text = TIMES.iter().find_map(|place| statement.predicate.pointer(place)?.as_str())?;
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.with_timezone(&Utc))
}

/// When a statement came: of all that say the same of the same subject what is known of the oldest. Whoever attaches one
/// again, or has it stamped again, makes it no newer, and needs no key for that.
#[derive(Clone, Default)]
struct Age {
    /// Its place among those that were found in each way. Registries list what came last first.
    places: BTreeMap<Found, usize>,
    /// When it was signed at the latest, as far as that is proved under the policy's roots of all that are valid.
    signed_at: Option<DateTime<Utc>>,
    /// Whether one of them is valid: its time is in [`Self::signed_at`] then, or none is.
    is_signed: bool,
}

impl Age {
    fn of(fact: &EvidenceFact, place: usize, signed_at: Option<DateTime<Utc>>, is_signed: bool) -> Self {
        Self { places: fact.found.iter().map(|way| (*way, place)).collect(), signed_at, is_signed }
    }

    /// The age of what says the same.
    fn join(&mut self, other: &Self) {
        for (way, place) in &other.places {
            let known = self.places.entry(*way).or_insert(*place);
            *known = (*known).max(*place);
        }
        if self.is_signed && other.is_signed {
            // One that is valid without a time may have been there before all the others.
            self.signed_at = self.signed_at.min(other.signed_at);
        } else if other.is_signed {
            (self.signed_at, self.is_signed) = (other.signed_at, true);
        }
    }
}

impl Meant<'_> {
    /// Whether this is known to have come after the other one. Of one without a proved time only the lists say anything,
    /// all of those that have both, and nothing says that it came after one that has a time: both may be the latest then.
    ///
    /// A copy of which the older ones were deleted can be stamped again; what it says of its own time cannot be changed
    /// without its signer, so that nothing makes it newer than what says a later one.
    fn is_newer(&self, than: &Self) -> bool {
        if self.stated_at.zip(than.stated_at).is_some_and(|(this, other)| this < other) {
            return false;
        }
        match (self.age.signed_at, than.age.signed_at) {
            (Some(this), Some(other)) if this != other => this > other,
            (None, Some(_)) => false,
            _ => {
                let places = self.age.places.iter();
                let mut both = places.filter_map(|(way, place)| Some((*place, *than.age.places.get(way)?)));
                self.fact.subject == than.fact.subject
                    && both.clone().next().is_some()
                    && both.all(|(this, other)| this < other)
            }
        }
    }
}

/// Keeps those that may be the latest, and says so where what was set aside is older by its proved time or its place alone:
/// whoever may delete can have an older one stamped and attached anew.
fn only_latest(asked: &mut Vec<(&Meant<'_>, Option<Came>)>) -> &'static str {
    let counted: Vec<&Meant<'_>> = asked.iter().map(|(one, _)| *one).collect();
    asked.retain(|(one, _)| !counted.iter().any(|other| other.is_newer(one)));
    let is_untold = counted.iter().any(|one| one.stated_at.is_none());
    match asked.len() < counted.len() && is_untold {
        true => {
            "; older ones are set aside by when they came or were stamped, since not all say a time themselves"
        }
        false => "",
    }
}

impl Inquiry<'_> {
    pub(super) fn attestation(&self, rule: &AttestationRule) -> Finding {
        let expected = expected(rule);
        let meant = self.of_type(&rule.predicate);
        let (mut unsure, mut not, mut aside, mut through) = (vec![], vec![], vec![], vec![]);
        // One that is signed by nobody who is meant, or is about something else, is not among those that are asked.
        let mut asked = Vec::new();
        for one in &meant {
            match self.judge_origin(rule, one) {
                Some(Came::Aside(why)) => aside.push(why),
                came => asked.push((one, came)),
            }
        }
        let said = if rule.which == Which::Latest { only_latest(&mut asked) } else { "" };
        for (one, came) in asked {
            match came.unwrap_or_else(|| self.judge_content(rule, one)) {
                Came::Through => through.push(one.fact),
                Came::Unsure(why) => unsure.push(why),
                Came::Not(why) => not.push(why),
                Came::Aside(why) => aside.push(why),
            }
            if rule.which == Which::Any && !through.is_empty() {
                break;
            }
        }
        let contradicted = !unsure.is_empty() || !not.is_empty();
        not.extend(aside);
        if let Some(first) = through.first()
            && (rule.which == Which::Any || !contradicted)
        {
            let evidence = through.iter().map(|fact| fact.id);
            let past = match rule.which {
                Which::Any => None,
                Which::Latest => self.may_be_older(first),
                Which::Every => self.past_limit(),
            };
            return match past {
                None => Finding::pass(expected, format!("attested in {}{said}", first.manifest)),
                Some(why) => {
                    let found = format!("attested in {}, and there may be others: {why}", first.manifest);
                    Finding::fail(expected, found, super::FEWER)
                }
            }
            .with_evidence(evidence);
        }
        let fix = match &rule.signed_by {
            Some(signers) if signers.of.is_empty() => {
                "define the signer under `signers:` in the policy".into()
            }
            Some(_) => {
                format!("attest {} with `cosign attest` or `rreg attest` as that signer", rule.predicate)
            }
            None => format!("attach {}, as `docker buildx build --attest` does", rule.predicate),
        };
        let evidence = meant.iter().map(|one| one.fact.id);
        let error = !unsure.is_empty();
        unsure.extend(not);
        let past = self.past_limit();
        if let Some(why) = self.facts.incomplete.first().filter(|_| past.is_none()) {
            unsure.push(format!("not everything could be looked at: {why}"));
            return Finding::error(expected, few(unsure), fix).with_evidence(evidence);
        }
        if unsure.is_empty() {
            unsure.push("no such attestation".into());
        }
        unsure.extend(past.map(str::to_owned));
        match error && past.is_none() {
            true => Finding::error(expected, few(unsure), fix).with_evidence(evidence),
            false => Finding::fail(expected, few(unsure), fix).with_evidence(evidence),
        }
    }

    /// What is known of the age of one piece by itself.
    fn age_of(&self, fact: &EvidenceFact, place: usize) -> Age {
        let roots = self.policy.trust_roots_about(&self.facts.image);
        let found: Vec<_> = roots.filter_map(|root| fact.under(&root.id())).collect();
        let signed_at = found.iter().filter_map(|found| found.signed_at).max();
        let is_signed = signed_at.is_some() || found.iter().any(|found| found.valid_signer().is_some());
        Age::of(fact, place, signed_at, is_signed)
    }

    /// Attestations with this predicate type, and those of which nobody can read the type.
    fn of_type(&self, predicate: &str) -> Vec<Meant<'_>> {
        let attestations = self.evidence().filter(|fact| !fact.is_signature()).enumerate();
        let mut meant: Vec<Meant<'_>> = attestations
            .map(|(place, fact)| Meant {
                fact,
                statement: fact.statement.as_deref(),
                age: self.age_of(fact, place),
                stated_at: fact.statement.as_deref().and_then(stated_at),
            })
            .filter(|one| match one.statement {
                Some(said) => crate::rules::words::is_predicate(predicate, &said.predicate_type),
                None => one.fact.unread.is_some(),
            })
            .collect();
        let named = |one: &Meant<'_>| {
            let text = serde_json::to_vec(one.statement?).ok()?;
            Some((Digest::sha256(&text), one.fact.subject))
        };
        let names: Vec<_> = meant.iter().map(named).collect();
        let mut ages = BTreeMap::<_, Age>::new();
        for (one, name) in meant.iter().zip(&names).filter_map(|(one, name)| Some((one, (*name)?))) {
            ages.entry(name).and_modify(|age| age.join(&one.age)).or_insert_with(|| one.age.clone());
        }
        for (one, name) in meant.iter_mut().zip(&names) {
            if let Some(age) = name.and_then(|name| ages.get(&name)) {
                one.age = age.clone();
            }
        }
        meant
    }

    /// Whether one that nobody can read is proved to be by somebody who is meant; with no signers, by anybody whom the
    /// policy trusts.
    pub(super) fn is_unread_by(&self, fact: &EvidenceFact, signers: Option<&Signers>) -> bool {
        let roots = self.policy.trust_roots_about(&self.facts.image).map(crate::TrustRoot::id);
        let mut by = roots.filter_map(|root| Some((root, fact.under(&root)?.signer.as_ref()?)));
        fact.unread.is_some()
            && by.any(|(root, signer)| match signers {
                None => true,
                Some(signers) => {
                    signers.of.iter().any(|meant| meant.trust.contains(&root) && meant.matches(signer))
                }
            })
    }

    /// How far it comes by who signed it and what it is about; `None`: what it says decides.
    fn judge_origin(&self, rule: &AttestationRule, one: &Meant<'_>) -> Option<Came> {
        let Meant { fact, .. } = one;
        let Some(statement) = one.statement else {
            let why = fact.unread.as_deref().unwrap_or("it says nothing");
            // It may be of this type, and say anything.
            let by_them = rule.signed_by.as_ref().is_some_and(|of| self.is_unread_by(fact, Some(of)));
            return Some(match by_them {
                true => {
                    let manifest = fact.manifest;
                    Came::Not(format!("an attestation of theirs in {manifest} that cannot be read: {why}"))
                }
                false => Came::Aside(format!("an attestation that cannot be read: {why}")),
            });
        };
        // Verification checks what a signed one is about; of one that nobody signed only it itself says so.
        if !statement.subjects.iter().any(|subject| self.facts.image.is_covered_by(subject)) {
            return Some(Came::Aside("an attestation about something else".into()));
        }
        self.judge_signers(rule.signed_by.as_ref()?, fact)
    }

    fn judge_content(&self, rule: &AttestationRule, one: &Meant<'_>) -> Came {
        match (&rule.cel, one.statement) {
            (Some(expression), Some(statement)) => self.judge_predicate(expression, statement),
            _ => Came::Through,
        }
    }

    /// The limit past which there may be something newer than this: older referrers are left out before newer ones, which
    /// says nothing of what was found in another way.
    pub(super) fn may_be_older(&self, fact: &EvidenceFact) -> Option<&str> {
        let over = self.facts.over.first().filter(|_| !fact.found.contains(&Found::Referrer));
        self.facts.unread.first().or(over).map(String::as_str)
    }

    /// `None` where one of those that are meant signed it.
    pub(super) fn judge_signers(&self, signers: &Signers, fact: &EvidenceFact) -> Option<Came> {
        if !fact.is_signed() {
            return Some(Came::Aside("an attestation that nobody signed".into()));
        }
        let matched: Vec<_> =
            signers.of.iter().map(|matcher| self.matched(matcher, std::iter::once(fact))).collect();
        if matched.iter().any(|matched| !matched.by.is_empty()) {
            return None;
        }
        let found =
            self.describe(std::iter::once(fact), signers, "").replacen("a signature", "an attestation", 1);
        match matched.iter().any(|matched| matched.uncertain) {
            true => Some(Came::Unsure(found)),
            false => Some(Came::Aside(found)),
        }
    }

    fn judge_predicate(&self, expression: &Expression, statement: &Statement) -> Came {
        self.note_times(expression);
        if let Some(missing) = self.missing(expression, "") {
            return match missing.result {
                Outturn::Fail => Came::Not(missing.found),
                Outturn::Pass | Outturn::Error => Came::Unsure(missing.found),
            };
        }
        match expression.run_share(&self.scope(Some(&statement.predicate)), self.shares) {
            Ok(true) => Came::Through,
            Ok(false) => Came::Not("an attestation for which the expression is false".into()),
            Err(error @ CelError::TooMuchWork) => Came::Not(format!("an attestation for which {error}")),
            Err(error) if self.is_makers_choice(expression) => {
                Came::Not(format!("an attestation for which {error}"))
            }
            Err(error) => Came::Unsure(format!("an attestation for which {error}")),
        }
    }
}

fn expected(rule: &AttestationRule) -> String {
    let by = match &rule.signed_by {
        Some(signers) => format!("signed by {signers}"),
        None => "signed or not".into(),
    };
    let saying = rule.cel.as_ref().map(|cel| format!(", for which {cel} is true")).unwrap_or_default();
    let which = match rule.which {
        Which::Latest => "an attestation",
        Which::Every => "every attestation",
        Which::Any => "any attestation",
    };
    format!("{which} {}, {by}{saying}", rule.predicate)
}
