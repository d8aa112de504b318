//! A decision with its reasons: what every place that enforces shows.

use chrono::{DateTime, Utc};
use rreg_oci::Digest;
use serde::{Deserialize, Serialize};

/// Bytes of one text of a reason.
pub(crate) const MAX_TEXT: usize = 1 << 10;
/// Bytes of [`Decision::message`]: clients put it into one line of an error.
const MAX_MESSAGE: usize = 4 << 10;

/// Bytes of what is expected and found in a line of [`Decision::warnings`], and of the fix, which is never left out.
const MAX_SAID: usize = 400;

/// A text that does nothing but be read ([`rreg_oci::visible`]), of no more than `most` bytes.
pub(crate) fn plain(text: &str, most: usize) -> String {
    const CUT: char = '…';
    let mut plain = String::with_capacity(text.len().min(most));
    for c in rreg_oci::visible(text) {
        if plain.len() + c.len_utf8() > most {
            // Room for the mark that something is missing.
            while plain.len() + CUT.len_utf8() > most && plain.pop().is_some() {}
            plain.push(CUT);
            break;
        }
        plain.push(c);
    }
    plain
}

/// A text with digests left out, also those in tags that are named after one: for whoever may hear verdicts and nothing
/// about what is stored.
pub fn without_digests(text: &str) -> String {
    const NAMES: [&str; 4] = ["sha256:", "sha512:", "sha256-", "sha512-"];
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, name)) = NAMES.iter().filter_map(|name| Some((rest.find(name)?, name))).min() {
        let (before, after) = rest.split_at(at + name.len());
        let hex = after.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(after.len());
        out.push_str(before);
        rest = after;
        if hex > 0 {
            out.push('…');
            rest = after.get(hex..).unwrap_or_default();
        }
    }
    out.push_str(rest);
    out
}

/// Where a decision is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Point {
    /// A manifest is stored. Only rules on the image itself are asked: signatures come after.
    Push,
    /// A tag is made or moved.
    Promote,
    /// A manifest is read.
    Pull,
    /// A cluster wants to run it.
    Admit,
    /// A node wants to run it.
    Run,
}

impl Point {
    /// Its name in policies.
    pub fn word(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Promote => "promote",
            Self::Pull => "pull",
            Self::Admit => "admit",
            Self::Run => "run",
        }
    }
}

/// What a policy's failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It is written down.
    Audit,
    /// The user is told.
    Warn,
    /// The request is refused.
    Enforce,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Go on.
    Allow,
    /// Go on and say why it would be refused.
    Warn,
    /// Refuse.
    Deny,
}

impl Outcome {
    /// Its name in answers.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Warn => "warn",
            Self::Deny => "deny",
        }
    }
}

/// How a rule or a policy came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outturn {
    /// It holds.
    Pass,
    /// It could not be decided.
    Error,
    /// It does not hold.
    Fail,
}

/// Why a rule came out as it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// Place and name of the rule, such as `require[0].signature`.
    pub rule: String,
    /// How it came out.
    pub result: Outturn,
    /// What the rule asks for.
    pub expected: String,
    /// What is there.
    pub found: String,
    /// The evidence looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Digest>,
    /// What would make it pass. Empty where it passed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fix: String,
    /// Exemptions that were used, as `id until by why`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exempted: Vec<String>,
}

/// How one policy came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyResult {
    /// Its name.
    pub policy: String,
    /// Digest of its text and trust material.
    pub revision: Digest,
    /// What its failure means.
    pub mode: Mode,
    /// How its rules came out together.
    pub result: Outturn,
    /// What that means after mode and `onError`.
    pub outcome: Outcome,
    /// A reason for each rule.
    pub reasons: Vec<Reason>,
    /// That the last good decision was taken since facts could not be had, and when that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_good: Option<DateTime<Utc>>,
}

/// What is to be done with a digest at a point, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Repository that it holds in.
    pub repository: String,
    /// The digest judged.
    pub digest: Digest,
    /// Where.
    pub at: Point,
    /// The hardest outcome among the policies; `Allow` where none matches.
    pub outcome: Outcome,
    /// The policies that match.
    pub policies: Vec<PolicyResult>,
    /// When it was made.
    pub decided_at: DateTime<Utc>,
    /// When time alone may change it: a certificate, an exemption or an age ends then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds_until: Option<DateTime<Utc>>,
}

impl Decision {
    /// The policies that refuse, or that warn.
    pub fn with_outcome(&self, outcome: Outcome) -> impl Iterator<Item = &PolicyResult> {
        self.policies.iter().filter(move |policy| policy.outcome == outcome)
    }

    /// The same with texts that tell no digests. What it is about stands in [`Self::digest`] as before.
    #[must_use]
    pub fn without_digests(mut self) -> Self {
        let reasons = self.policies.iter_mut().flat_map(|policy| &mut policy.reasons);
        for text in reasons.flat_map(|reason| [&mut reason.expected, &mut reason.found, &mut reason.fix]) {
            *text = without_digests(text);
        }
        self
    }

    /// What a person is warned of: a line for each reason of the policies that warn, which ends with what to do.
    pub fn warnings(&self) -> Vec<String> {
        let warning = self.with_outcome(Outcome::Warn);
        let reasons = warning.flat_map(|policy| {
            let broken = policy.reasons.iter().filter(|reason| reason.result != Outturn::Pass);
            broken.map(|reason| {
                let said = format!("expected {}; found {}", reason.expected, reason.found);
                let (said, fix) = (plain(&said, MAX_SAID), plain(&reason.fix, MAX_SAID));
                format!("policy {:?}: {}: {said}; {fix}", policy.policy, reason.rule)
            })
        });
        reasons.collect()
    }

    /// The reasons of a policy that did not pass, as a person reads them in a client's error: one line
    /// of at most 4 KiB.
    pub fn message(&self) -> String {
        let parts = self.policies.iter().filter(|p| p.outcome == self.outcome && p.result != Outturn::Pass);
        let parts: Vec<String> = parts
            .map(|policy| {
                let reasons = policy.reasons.iter().filter(|reason| reason.result != Outturn::Pass);
                let reasons: Vec<String> = reasons
                    .map(|r| format!("{}: expected {}; found {}; {}", r.rule, r.expected, r.found, r.fix))
                    .collect();
                format!("policy {:?}: {}", policy.policy, reasons.join("; "))
            })
            .collect();
        plain(&parts.join(" | "), MAX_MESSAGE)
    }
}
