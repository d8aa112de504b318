//! Verification levels: which of the five checks must pass (Notary Project trust policy specification, "Signature
//! verification details").

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What the failure of a check means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The signature is not accepted.
    Enforce,
    /// It is written down.
    Log,
    /// The check is not made.
    Skip,
}

/// Which checks must pass. Integrity must in every level but `skip`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Level {
    /// `strict`, `permissive`, `audit`, `skip`, or `custom` where one of them was overridden.
    pub name: &'static str,
    /// The chain leads to a trusted certificate, and the signer is one of the trusted identities.
    pub authenticity: Action,
    /// The certificates held when it was signed.
    pub authentic_timestamp: Action,
    /// The signature's own expiry.
    pub expiry: Action,
    /// No certificate was revoked.
    pub revocation: Action,
}

const fn level(name: &'static str, authenticity: Action, rest: Action) -> Level {
    Level { name, authenticity, authentic_timestamp: rest, expiry: rest, revocation: rest }
}

impl Level {
    /// Everything is enforced.
    pub const STRICT: Self = level("strict", Action::Enforce, Action::Enforce);
    /// Time stamps, expiry and revocation are only logged.
    pub const PERMISSIVE: Self = level("permissive", Action::Enforce, Action::Log);
    /// All but integrity is only logged.
    pub const AUDIT: Self = level("audit", Action::Log, Action::Log);
    /// Nothing is checked.
    pub const SKIP: Self = level("skip", Action::Skip, Action::Skip);

    /// Whether nothing is checked.
    pub fn is_skip(&self) -> bool {
        *self == Self::SKIP
    }

    /// The level of a name with single checks overridden. The error says what is wrong and what is allowed.
    pub(super) fn parse(name: &str, overrides: &BTreeMap<String, String>) -> Result<Self, String> {
        let base = match name {
            "strict" => Self::STRICT,
            "permissive" => Self::PERMISSIVE,
            "audit" => Self::AUDIT,
            "skip" => Self::SKIP,
            "" => {
                return Err(
                    "it has no verification level; strict, permissive, audit and skip are known".to_owned()
                );
            }
            other => {
                return Err(format!(
                    "the verification level {other:?} is not known; strict, permissive, audit and skip are"
                ));
            }
        };
        if overrides.is_empty() {
            return Ok(base);
        }
        if base.is_skip() {
            return Err("the level skip cannot be overridden".to_owned());
        }
        let mut custom = Self { name: "custom", ..base };
        for (check, action) in overrides {
            let action = match action.as_str() {
                "enforce" => Action::Enforce,
                "log" => Action::Log,
                "skip" => Action::Skip,
                other => {
                    return Err(format!("the action {other:?} of {check:?} is not enforce, log or skip"));
                }
            };
            if action == Action::Skip && check != "revocation" {
                return Err(format!("{check:?} cannot be skipped; only revocation can"));
            }
            let place = match check.as_str() {
                "authenticity" => &mut custom.authenticity,
                "authenticTimestamp" => &mut custom.authentic_timestamp,
                "expiry" => &mut custom.expiry,
                "revocation" => &mut custom.revocation,
                "integrity" => return Err("integrity is always enforced and cannot be overridden".to_owned()),
                other => {
                    return Err(format!(
                        "the check {other:?} is not known; authenticity, authenticTimestamp, expiry and revocation are"
                    ));
                }
            };
            *place = action;
        }
        Ok(custom)
    }
}
