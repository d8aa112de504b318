//! Whom a person asks about: the trust root and the identity that `rreg verify` and `rreg tree` are given.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::Args;
use regex::Regex;
use rreg_policy::{
    Evidence, EvidenceFact, Limits, Signer, TrustRoot, Verdict, Verification, VerifyContext, evidence_facts,
};
use rreg_server::{DirectoryTrust, Revocations};

use crate::exit::{Exit, Failure};
use crate::named::ImageName;
use crate::revocation::Check;

/// Whom to trust.
#[derive(Args, Debug)]
#[command(next_help_heading = "Trust")]
pub(super) struct Asked {
    /// A public key (PEM)
    #[arg(long, value_name = "FILE", group = "trust")]
    key: Option<PathBuf>,
    /// Authorities of signing certificates (PEM), without Sigstore
    #[arg(long, value_name = "FILE", group = "trust")]
    certificate_roots: Option<PathBuf>,
    /// A Sigstore instance: a trusted_root.json, or public-good
    #[arg(long, value_name = "FILE|public-good", group = "trust")]
    trusted_root: Option<String>,
    /// A directory as notation keeps it, with trustpolicy.oci.json and truststore/
    #[arg(long, value_name = "DIR", group = "trust")]
    notation_trust: Option<PathBuf>,
    /// Whether the authorities of Notation signatures are asked about revoked certificates [default: strict]
    #[arg(long, value_enum, requires = "notation_trust")]
    revocation: Option<Check>,
    /// The identity provider that vouches for a keyless signer
    #[arg(long, value_name = "URL", requires = "trusted_root")]
    issuer: Option<String>,
    /// The signer: an e-mail address or URI in the certificate
    #[arg(long, value_name = "TEXT", conflicts_with = "identity_regex")]
    identity: Option<String>,
    /// The same as a regular expression, found anywhere unless it says ^ and $
    #[arg(long, value_name = "REGEX")]
    identity_regex: Option<Regex>,
}

/// The trust that was asked for, read.
pub(super) struct Trust {
    pub(super) roots: Vec<TrustRoot>,
    /// In words.
    pub(super) who: String,
    issuer: Option<String>,
    identity: Option<String>,
    identity_regex: Option<Regex>,
    now: DateTime<Utc>,
    limits: Limits,
    revocations: Revocations,
}

impl Asked {
    /// Reads it; `None` where nothing was asked for.
    pub(super) fn load(&self, image: &ImageName) -> Result<Option<Trust>, Failure> {
        let named = self.identity.is_some() || self.identity_regex.is_some();
        let files = DirectoryTrust::new("");
        let (roots, who) = if let Some(path) = &self.key {
            let root = files.key(path)?;
            let who = format!("the key {}", root.id());
            (vec![root], who)
        } else if let Some(path) = &self.certificate_roots {
            (vec![files.certificates(path)?], format!("certificates under {}", path.display()))
        } else if let Some(name) = &self.trusted_root {
            (vec![files.sigstore(name)?], format!("Sigstore {name}"))
        } else if let Some(path) = &self.notation_trust {
            let repository = format!("{}/{}", image.host, image.repository);
            (files.notation_about(path, &repository)?, format!("Notation under {}", path.display()))
        } else {
            let why = "--identity and --identity-regex need --trusted-root or --certificate-roots";
            return if named { Err(Failure::new(Exit::Usage, why)) } else { Ok(None) };
        };
        if named && (self.key.is_some() || self.notation_trust.is_some()) {
            let why = "--identity and --identity-regex need --trusted-root or --certificate-roots";
            return Err(Failure::new(Exit::Usage, why).hint(
                "a key has no identity, and a Notation trust policy names the identities that it trusts",
            ));
        }
        let revocations = Revocations::new(self.revocation.unwrap_or(Check::Strict).into());
        let mut who = who;
        for (label, text) in [
            ("issuer", self.issuer.as_deref()),
            ("identity", self.identity.as_deref()),
            ("identity like", self.identity_regex.as_ref().map(Regex::as_str)),
        ] {
            if let Some(text) = text {
                who.push_str(&format!(", {label} {text}"));
            }
        }
        Ok(Some(Trust {
            roots,
            who,
            issuer: self.issuer.clone(),
            identity: self.identity.clone(),
            identity_regex: self.identity_regex.clone(),
            now: Utc::now(),
            limits: Limits::default(),
            revocations,
        }))
    }

    /// Reads what a verification needs: whoever may get a certificate of Sigstore is nobody in particular.
    pub(super) fn required(&self, image: &ImageName) -> Result<Trust, Failure> {
        let named = self.identity.is_some() || self.identity_regex.is_some();
        if self.trusted_root.is_some() && !(self.issuer.is_some() && named) {
            let why = "--trusted-root needs --issuer, and --identity or --identity-regex";
            return Err(Failure::new(Exit::Usage, why)
                .hint("without them everybody with an account at any provider would be a valid signer"));
        }
        self.load(image)?.ok_or_else(|| {
            Failure::new(Exit::Usage, "nobody to trust was given")
                .hint("name one of --key, --certificate-roots, --trusted-root and --notation-trust")
        })
    }
}

/// What a piece of evidence is worth to who asks.
pub(super) struct Judged {
    pub(super) fact: EvidenceFact,
    /// The best that a trust root says; `None` for what nobody signed.
    pub(super) verification: Option<Verification>,
    /// Valid, and by whom was asked for.
    pub(super) accepted: bool,
}

impl Trust {
    /// Judges evidence, with what authorities say of the certificates of Notation signatures.
    pub(super) async fn judge(&self, evidence: &[Evidence]) -> Vec<Judged> {
        let revocation = &self.revocations.about(evidence, &self.roots, &self.limits, self.now).await;
        let context = VerifyContext { now: self.now, limits: &self.limits, revocation };
        let facts = evidence_facts(evidence, &self.roots, &context);
        facts.into_iter().map(|fact| self.judged(fact)).collect()
    }

    fn judged(&self, fact: EvidenceFact) -> Judged {
        let accepted = |found: &Verification| found.valid_signer().is_some_and(|who| self.is_asked_for(who));
        let all = fact.verifications.values();
        let best =
            all.clone().find(|found| accepted(found)).or_else(|| all.min_by_key(|found| found.verdict));
        let verification = best.cloned();
        let accepted = verification.as_ref().is_some_and(accepted);
        Judged { fact, verification, accepted }
    }

    /// Whether a proved signer is the one asked for.
    fn is_asked_for(&self, signer: &Signer) -> bool {
        let named = |names: &[&str]| {
            self.identity.as_ref().is_none_or(|wanted| names.contains(&wanted.as_str()))
                && self.identity_regex.as_ref().is_none_or(|wanted| names.iter().any(|n| wanted.is_match(n)))
        };
        match signer {
            Signer::Key { .. } | Signer::Notation { .. } => true,
            Signer::Keyless { issuer, identity, .. } => {
                self.issuer.as_ref().is_none_or(|wanted| wanted == issuer) && named(&[identity])
            }
            Signer::Certificate { subject, names, .. } => {
                let mut all: Vec<&str> = names.iter().map(String::as_str).collect();
                all.push(subject);
                named(&all)
            }
        }
    }
}

/// A verdict and why, in a few words.
pub(super) fn words(verification: Option<&Verification>, accepted: bool) -> (&'static str, String) {
    let Some(found) = verification else { return ("unsigned", "nobody vouches for it".to_owned()) };
    let signer = found.signer.as_ref().map(ToString::to_string);
    match found.verdict {
        Verdict::Valid if accepted => ("valid", signer.unwrap_or_default()),
        Verdict::Valid => ("other signer", signer.unwrap_or_default()),
        verdict => {
            let why = found.failure().map(|check| format!("{}: {}", check.name, check.detail));
            let verdict = match verdict {
                Verdict::Invalid => "invalid",
                Verdict::Error => "error",
                _ => "unverifiable",
            };
            (verdict, why.unwrap_or_default())
        }
    }
}

/// The colour of one of these words.
pub(super) fn style(verdict: &str) -> anstyle::Style {
    match verdict {
        "valid" => crate::text::GOOD,
        "invalid" => crate::text::BAD,
        _ => crate::text::HINT,
    }
}
