//! What was attested, and by whom.

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

impl Inquiry<'_> {
    pub(super) fn attestation(&self, rule: &AttestationRule) -> Finding {
        let expected = expected(rule);
        let mut meant: Vec<(&EvidenceFact, &Statement)> = self.of_type(&rule.predicate).collect();
        // The newest first: by when each was proved to be signed, else in the order in which registries list them.
        meant.sort_by_key(|(fact, _)| std::cmp::Reverse(self.signed_at(fact)));
        let (mut unsure, mut not, mut through) = (Vec::new(), Vec::new(), Vec::new());
        for (fact, statement) in &meant {
            let came = self.judge(rule, fact, statement);
            // One that is signed by nobody who is meant, or is about something else, is not among those that are asked.
            let counts = !matches!(came, Came::Aside(_));
            match came {
                Came::Through => through.push(*fact),
                Came::Unsure(why) => unsure.push(why),
                Came::Not(why) | Came::Aside(why) => not.push((counts, why)),
            }
            if counts && rule.which == Which::Latest || !through.is_empty() && rule.which == Which::Any {
                break;
            }
        }
        let contradicted = !unsure.is_empty() || not.iter().any(|(counts, _)| *counts);
        if let Some(first) = through.first()
            && (rule.which != Which::Every || !contradicted)
        {
            let evidence = through.iter().map(|fact| fact.id);
            let past = match rule.which {
                Which::Any => None,
                Which::Latest => self.may_be_older(first),
                Which::Every => self.past_limit(),
            };
            return match past {
                None => Finding::pass(expected, format!("attested in {}", first.manifest)),
                Some(why) => {
                    let found = format!("attested in {}, and there may be others: {why}", first.manifest);
                    Finding::fail(expected, found, super::FEWER)
                }
            }
            .with_evidence(evidence);
        }
        let not = not.into_iter().map(|(_, why)| why);
        let fix = match &rule.signed_by {
            Some(signers) if signers.of.is_empty() => {
                "define the signer under `signers:` in the policy".into()
            }
            Some(_) => {
                format!("attest {} with `cosign attest` or `rreg attest` as that signer", rule.predicate)
            }
            None => format!("attach {}, as `docker buildx build --attest` does", rule.predicate),
        };
        let evidence = meant.iter().map(|(fact, _)| fact.id);
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

    /// When it was signed at the latest, as far as that is proved under the policy's roots.
    fn signed_at(&self, fact: &EvidenceFact) -> Option<chrono::DateTime<chrono::Utc>> {
        let roots = self.policy.trust_roots_about(&self.facts.image);
        roots.filter_map(|root| fact.under(&root.id())?.signed_at).max()
    }

    /// Attestations with this predicate type.
    fn of_type(&self, predicate: &str) -> impl Iterator<Item = (&EvidenceFact, &Statement)> {
        let attestations = self.evidence().filter(|fact| !fact.is_signature());
        let with_statement = attestations.filter_map(|fact| Some((fact, fact.statement.as_ref()?)));
        with_statement.filter(move |(_, statement)| {
            crate::rules::words::is_predicate(predicate, &statement.predicate_type)
        })
    }

    fn judge(&self, rule: &AttestationRule, fact: &EvidenceFact, statement: &Statement) -> Came {
        // Verification checks what a signed one is about; of one that nobody signed only it itself says so.
        if !statement.subjects.iter().any(|subject| self.facts.image.is_covered_by(subject)) {
            return Came::Aside("an attestation about something else".into());
        }
        if let Some(signers) = &rule.signed_by
            && let Some(came) = self.judge_signers(signers, fact)
        {
            return came;
        }
        match &rule.cel {
            Some(expression) => self.judge_predicate(expression, statement),
            None => Came::Through,
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
        match expression.run(&self.scope(Some(&statement.predicate))) {
            Ok(true) => Came::Through,
            Ok(false) => Came::Not("an attestation for which the expression is false".into()),
            Err(error @ CelError::TooMuchWork) => Came::Not(format!("an attestation for which {error}")),
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
