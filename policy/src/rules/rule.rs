//! The rules of a policy, read and checked.

use std::collections::BTreeMap;

use chrono::{DateTime, Duration, Utc};

use super::cel::Expression;
use super::matcher::Signers;
use super::platform::PlatformPattern;
use super::words::{Pattern, SeverityRange};

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its place, such as `require[2].vulns`.
    pub path: String,
    /// Its name, where its author gave it one.
    pub name: Option<String>,
    /// How to make it right, in the words of its author.
    pub message: Option<String>,
    /// What it asks.
    pub ask: Ask,
}

impl Rule {
    /// The places of the reasons that it may give: one for each part of an `image` rule, else its own.
    pub fn paths(&self) -> Vec<String> {
        match &self.ask {
            Ask::Image(image) => {
                image.parts().into_iter().map(|part| format!("{}.{part}", self.path)).collect()
            }
            _ => vec![self.path.clone()],
        }
    }
}

/// What a rule asks.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Who signed.
    Signature(Signers),
    /// What was attested, and by whom.
    Attestation(AttestationRule),
    /// What the SBOM is like.
    Sbom(SbomRule),
    /// Which vulnerabilities there are.
    Vulns(VulnsRule),
    /// What the image is like.
    Image(ImageRule),
    /// An expression.
    Cel(Expression),
}

/// `attestation:`.
#[derive(Clone, Debug)]
pub struct AttestationRule {
    /// Predicate type or short name.
    pub predicate: String,
    /// Who must have signed it; `None` where the policy says `signed: false`.
    pub signed_by: Option<Signers>,
    /// What it must say.
    pub cel: Option<Expression>,
    /// Of several by those who are meant.
    pub which: Which,
}

/// Which of several attestations has to say what is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Which {
    /// The newest: an old one says what was true once.
    #[default]
    Latest,
    /// Each of them.
    Every,
    /// One of them.
    Any,
}

/// `sbom:`.
#[derive(Clone, Debug, Default)]
pub struct SbomRule {
    /// Whether there must be one. Where not, one that is there is judged all the same.
    pub present: bool,
    /// The least score.
    pub min_quality: Option<f64>,
    /// Licences that may not be there.
    pub deny_licenses: Vec<Pattern>,
    /// Licences of which each package must have one.
    pub allow_licenses: Vec<Pattern>,
    /// Whether each package must say its licence.
    pub require_licenses: bool,
    /// `cyclonedx` or `spdx`.
    pub format: Option<String>,
    /// Who must have signed it; `None`: whatever anybody attached is held against the image.
    pub signed_by: Option<Signers>,
}

/// `vulns:`.
#[derive(Clone, Debug, Default)]
pub struct VulnsRule {
    /// How old the findings may be.
    pub max_age: Option<Duration>,
    /// Findings that may not be there.
    pub fail: Vec<FailRule>,
}

/// One element of `vulns.fail`.
#[derive(Clone, Debug, Default)]
pub struct FailRule {
    /// Severities that are meant.
    pub severity: Option<SeverityRange>,
    /// Whether a version mends it.
    pub fixed: Option<bool>,
    /// How long it may have been known.
    pub grace: Option<Duration>,
    /// Whether it is exploited.
    pub kev: Option<bool>,
}

/// `image:`.
#[derive(Clone, Debug, Default)]
pub struct ImageRule {
    /// A user that is not root.
    pub non_root: bool,
    /// Asked for by digest.
    pub digest_only: bool,
    /// How old it may be.
    pub max_age: Option<Duration>,
    /// How old its base may be.
    pub base_max_age: Option<Duration>,
    /// Images that it may be built on.
    pub allowed_bases: Vec<Pattern>,
    /// Registries that it may come from.
    pub allowed_registries: Vec<Pattern>,
    /// Platforms that it may be for.
    pub platforms: Vec<PlatformPattern>,
    /// Labels that it must have.
    pub labels: BTreeMap<String, Pattern>,
    /// How many bytes it may have, and the same in MiB.
    pub max_size_mib: Option<u64>,
    /// Ports that it may not expose.
    pub deny_ports: Vec<u16>,
}

impl ImageRule {
    /// The parts that are asked, by the names of their fields.
    pub fn parts(&self) -> Vec<&'static str> {
        let asked = [
            ("nonRoot", self.non_root),
            ("digestOnly", self.digest_only),
            ("maxAgeDays", self.max_age.is_some()),
            ("baseMaxAgeDays", self.base_max_age.is_some()),
            ("allowedBases", !self.allowed_bases.is_empty()),
            ("allowedRegistries", !self.allowed_registries.is_empty()),
            ("platforms", !self.platforms.is_empty()),
            ("labels", !self.labels.is_empty()),
            ("maxSizeMiB", self.max_size_mib.is_some()),
            ("denyPorts", !self.deny_ports.is_empty()),
        ];
        asked.into_iter().filter(|(_, asked)| *asked).map(|(name, _)| name).collect()
    }
}

/// Something that is let through for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemption {
    /// A vulnerability.
    pub id: Option<String>,
    /// A package.
    pub purl: Option<String>,
    /// Rules by name or place.
    pub rules: Vec<String>,
    /// The moment at which it ends.
    pub until: DateTime<Utc>,
    /// That moment as its author wrote it.
    pub until_text: String,
    /// Who answers for it.
    pub by: String,
    /// Why.
    pub why: String,
}

impl Exemption {
    /// Whether it still holds. The only place that decides so.
    pub fn holds(&self, now: DateTime<Utc>) -> bool {
        now < self.until
    }

    /// Whether it is about a rule: by its author's name for it, its place, or the last parts of its place.
    pub fn is_about_rule(&self, path: &str, name: Option<&str>) -> bool {
        self.rules.iter().any(|rule| {
            let ends = || path.strip_suffix(rule.as_str()).is_some_and(|before| before.ends_with('.'));
            let begins = || path.strip_prefix(rule.as_str()).is_some_and(|after| after.starts_with('.'));
            let inside =
                || path.split_once('.').is_some_and(|(_, rest)| rest.split('.').next() == Some(rule));
            rule == path || name == Some(rule) || ends() || begins() || inside()
        })
    }

    /// Whether it is about a finding. An exemption of a package holds for every version where it names none.
    pub fn is_about_finding(&self, id: &str, purl: &str) -> bool {
        if !self.rules.is_empty() || self.id.is_none() && self.purl.is_none() {
            return false;
        }
        let same_purl = |wanted: &str| {
            let plain = purl.split(['?', '#']).next().unwrap_or(purl);
            // A version follows the last @; a scope of npm is written %40 in a package URL.
            let unversioned = plain.rsplit_once('@').map_or(plain, |(before, _)| before);
            [purl, plain, unversioned].contains(&wanted)
        };
        self.id.as_deref().is_none_or(|wanted| wanted == id) && self.purl.as_deref().is_none_or(same_purl)
    }
}

impl std::fmt::Display for Exemption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [self.id.as_deref(), self.purl.as_deref()];
        let mut about: Vec<&str> = parts.into_iter().flatten().collect();
        about.extend(self.rules.iter().map(String::as_str));
        write!(f, "{} until {} by {}: {}", about.join(" in "), self.until_text, self.by, self.why)
    }
}
