//! What an API server is answered
//! (<https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#response>).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rreg_policy::{Decision, Outcome, Outturn, PolicyResult, Reason};
use serde_json::{Value, json};

use super::images::Place;

/// Bytes of one warning. API servers may cut longer ones.
const MAX_WARNING: usize = 256;
/// Bytes of an image's name in it: the first where there is much else to be said.
const IMAGE: [usize; 2] = [64, 120];
/// Bytes of a policy's name in it.
const MAX_POLICY: usize = 32;
/// Fewest bytes of a reason that say something.
const MIN_WHY: usize = 16;
/// Warnings of one answer. API servers drop what is over 4096 characters from all webhooks together.
const MAX_WARNINGS: usize = 12;
/// Bytes of the reason for which one image is refused.
const MAX_REFUSAL: usize = 1024;
/// Bytes of the image's name in it.
const MAX_NAME: usize = 300;
/// Fewest bytes for a rule in it, and what stands between two rules.
const MIN_RULE: usize = 160;
const BETWEEN: &str = " | ";
/// Refused images whose reasons are told.
const MAX_REFUSALS: usize = 8;
/// Bytes of one audit annotation's value.
const MAX_ANNOTATION: usize = 256;

/// An answer being put together. It allows until something is refused.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    refusals: Vec<String>,
    warnings: Vec<String>,
    annotations: BTreeMap<&'static str, String>,
    patch: Vec<Value>,
}

impl Answer {
    /// Refuses the object.
    pub(crate) fn refuse(&mut self, why: impl AsRef<str>) {
        self.refusals.push(clip(why.as_ref(), MAX_REFUSAL));
    }

    /// Refuses the object for what is decided about an image. What to do about each rule is told, however long the rest is.
    pub(crate) fn refuse_by(&mut self, image: &str, digest: &str, decision: &Decision) {
        let head = format!("image {}{digest} is refused: ", ends(image, MAX_NAME));
        let room = MAX_REFUSAL.saturating_sub(head.len());
        let message = decision.message();
        let why = if message.len() <= room { message } else { rules(decision, room) };
        self.refuse(head + &why);
    }

    /// Tells whoever sent the object. The same is told once.
    pub(crate) fn warn(&mut self, text: impl AsRef<str>) {
        let text = clip(text.as_ref(), MAX_WARNING);
        if !self.warnings.contains(&text) {
            self.warnings.push(text);
        }
    }

    /// Tells why a policy would refuse an image, or does so for others (`what`): a warning for each rule that does not hold.
    pub(crate) fn warn_of(&mut self, image: &str, what: &str, policy: &PolicyResult) {
        for reason in policy.reasons.iter().filter(|reason| reason.result != Outturn::Pass) {
            self.warn(rule_warning(image, what, &policy.policy, reason));
        }
    }

    /// Writes into the cluster's audit log. API servers put the webhook's name before `key`.
    pub(crate) fn annotate(&mut self, key: &'static str, value: impl AsRef<str>) {
        self.annotations.insert(key, clip(value.as_ref(), MAX_ANNOTATION));
    }

    /// Gives an image another name. `replace` fails where there is nothing to be replaced, and then nothing is changed.
    pub(crate) fn rename(&mut self, place: &Place, image: &str) {
        self.patch.push(json!({"op": "replace", "path": place.pointer, "value": image}));
    }

    /// Whether the object is let in.
    pub(crate) fn is_allowed(&self) -> bool {
        self.refusals.is_empty()
    }

    /// Why it is not let in: one line.
    pub(crate) fn message(&self) -> String {
        let told: Vec<&str> = self.refusals.iter().take(MAX_REFUSALS).map(String::as_str).collect();
        match self.refusals.len().saturating_sub(MAX_REFUSALS) {
            0 => told.join("; "),
            more => format!("{}; and {more} more", told.join("; ")),
        }
    }

    /// The review that answers `uid`.
    pub(crate) fn into_review(self, uid: &str) -> Value {
        let mut response = json!({"uid": uid, "allowed": self.is_allowed()});
        if !self.is_allowed() {
            response["status"] =
                json!({"status": "Failure", "code": 403, "reason": "Forbidden", "message": self.message()});
        } else if !self.patch.is_empty() {
            // A patch beside a refusal is an error to API servers.
            response["patchType"] = "JSONPatch".into();
            response["patch"] = STANDARD.encode(Value::Array(self.patch).to_string()).into();
        }
        if !self.warnings.is_empty() {
            response["warnings"] = bounded(self.warnings).into();
        }
        if !self.annotations.is_empty() {
            response["auditAnnotations"] = json!(self.annotations);
        }
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    }
}

fn bounded(mut warnings: Vec<String>) -> Vec<String> {
    if warnings.len() > MAX_WARNINGS {
        let kept = MAX_WARNINGS.saturating_sub(1);
        let more = warnings.len().saturating_sub(kept);
        warnings.truncate(kept);
        warnings
            .push(format!("and {more} more warnings about images; the registry's decisions have them all"));
    }
    warnings
}

const MORE: &str = "...";

/// One line of at most `limit` bytes. API servers refuse warnings with control characters: they travel in a header
/// (RFC 9111, section 5.5).
pub(super) fn clip(text: &str, limit: usize) -> String {
    let mut line = String::new();
    for c in rreg_oci::visible(text) {
        line.push(c);
        if line.len() > limit {
            line.truncate(line.floor_char_boundary(limit.saturating_sub(MORE.len())));
            line.push_str(MORE);
            break;
        }
    }
    line
}

/// The same without the middle: names differ at their ends.
fn ends(text: &str, limit: usize) -> String {
    let mut line: String = rreg_oci::visible(text).collect();
    if line.len() > limit {
        let kept = limit.saturating_sub(MORE.len());
        let head = line.floor_char_boundary(kept / 2);
        let tail = line.ceil_char_boundary(line.len().saturating_sub(kept.saturating_sub(head)));
        line.replace_range(head..tail, MORE);
    }
    line
}

/// The rules for which an image is refused, in `room` bytes.
fn rules(decision: &Decision, room: usize) -> String {
    let failed: Vec<_> = decision
        .with_outcome(Outcome::Deny)
        .flat_map(|policy| policy.reasons.iter().map(move |reason| (policy.policy.as_str(), reason)))
        .filter(|(_, reason)| reason.result != Outturn::Pass)
        .collect();
    let most = (room / MIN_RULE).max(1);
    let (told, more) = (failed.len().min(most), failed.len().saturating_sub(most));
    let more = if more > 0 { format!(" | and {more} more rules") } else { String::new() };
    let each = room.saturating_sub(more.len()) / told.max(1);
    let line = |(policy, reason): &(&str, &Reason)| rule(policy, reason, each.saturating_sub(BETWEEN.len()));
    failed.iter().take(told).map(line).collect::<Vec<_>>().join(BETWEEN) + &more
}

/// One rule that does not hold, in `room` bytes.
fn rule(policy: &str, reason: &Reason, room: usize) -> String {
    let head = format!("policy \"{}\": ", ends(policy, MAX_POLICY));
    let Reason { rule, expected, found, fix, .. } = reason;
    let why = format!("{rule}: expected {expected}; found {found}");
    let left = room.saturating_sub(head.len());
    if fix.is_empty() {
        return format!("{head}{}", clip(&why, left));
    }
    let fix = clip(fix, left);
    let between = "; ";
    match left.saturating_sub(fix.len() + between.len()) {
        // No room for anything that would say something.
        0..MIN_WHY => format!("{head}{fix}"),
        room => format!("{head}{}{between}{fix}", clip(&why, room)),
    }
}

/// What a rule that does not hold is told as, in one line of at most [`MAX_WARNING`] bytes. Whatever has to be left out,
/// what to do about it is there.
fn rule_warning(image: &str, what: &str, policy: &str, reason: &Reason) -> String {
    let after = format!(" {what}: ");
    let wanted = rule(
        policy,
        &Reason { expected: String::new(), found: String::new(), ..reason.clone() },
        MAX_WARNING,
    );
    let room = MAX_WARNING.saturating_sub("image ".len() + after.len() + wanted.len());
    let head = format!("image {}{after}", ends(image, room.clamp(IMAGE[0], IMAGE[1])));
    let rule = rule(policy, reason, MAX_WARNING.saturating_sub(head.len()));
    head + &rule
}
