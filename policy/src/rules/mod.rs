//! What a policy may say, and how it is read.
//!
//! A text is read in three steps, so that every mistake in it can be told at once: `node` makes a tree with places of
//! it, `shape` compares the tree with the tables in `tables` (unknown fields, wrong kinds, what is missing), and
//! `read` makes values of it (patterns, dates, expressions, trust roots).
//!
//! How to add a field: a line in `tables`, its place in `rule` and `read`, and where it is asked in
//! [`crate::evaluate`]; the schema and the messages about it follow from the table.

pub(crate) mod cel;
pub(crate) mod error;
pub(crate) mod forms;
mod matcher;
pub(crate) mod node;
mod platform;
mod read;
mod read_rules;
mod rule;
mod schema;
mod set;
pub(crate) mod shape;
pub(crate) mod tables;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod words;

use std::collections::BTreeSet;

use chrono::Duration;
use rreg_oci::{Digest, Glob};

pub use cel::{CelError, Expression};
pub use error::{Place, PolicyError, PolicyErrors};
pub use matcher::{Matcher, Need, Signers, TextMatch, TrustReference, Who};
pub use platform::PlatformPattern;
pub use rule::{Ask, AttestationRule, Exemption, FailRule, ImageRule, Rule, SbomRule, VulnsRule, Which};
pub use schema::policy_schema;
pub use set::PolicySet;
pub use words::{Pattern, Severity, SeverityRange, predicate_type};

use crate::decision::{Mode, Point};
use crate::facts::ImageFacts;
use crate::trust::{TrustError, TrustRoot};

/// Reads the trust material that policies name. What a name stands for is known to whoever reads the policy.
pub trait TrustSource {
    /// The trust root of a name.
    fn load(&self, reference: &TrustReference) -> Result<TrustRoot, TrustError>;

    /// All the trust roots of a name: a Notation trust policy has one for each of its statements, and which of them is
    /// about an image is chosen when the image is judged. Where this is not given, each name has the one of
    /// [`Self::load`].
    ///
    /// # Errors
    /// [`TrustError`] when one of them cannot be had.
    fn load_all(&self, reference: &TrustReference) -> Result<Vec<TrustRoot>, TrustError> {
        self.load(reference).map(|root| vec![root])
    }
}

/// A policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// SHA-256 of what it says (comments and layout do not count) and of the ids of its trust roots: the same revision
    /// decides the same.
    pub revision: Digest,
    /// Which images it is about.
    pub matches: Match,
    /// Where it is asked.
    pub at: BTreeSet<Point>,
    /// What its failure means.
    pub mode: Mode,
    /// What happens where a rule cannot be decided.
    pub on_error: OnError,
    /// The rules; all of them must hold.
    pub require: Vec<Rule>,
    /// What is let through for a time.
    pub exempt: Vec<Exemption>,
    /// The trust roots that its signers are judged under, by the names that it has for them; each once.
    pub trust: Vec<(TrustReference, TrustRoot)>,
    warnings: Vec<PolicyError>,
}

/// Which images a policy is about. An empty list asks nothing.
#[derive(Clone, Debug, Default)]
pub struct Match {
    /// Registry hosts.
    pub registries: Vec<Pattern>,
    /// Repositories.
    pub repos: Vec<Glob>,
    /// Tags. An image without a tag is not meant where there are some.
    pub tags: Vec<Glob>,
    /// Platforms, in whatever spelling. An image that names none, or leaves out a part, is meant: leaving it out is no way
    /// around a policy. They choose among the images of an index, as a runtime does; it runs a single image whatever that
    /// says, so that one is meant: see [`Policy::applies`].
    pub platforms: Vec<PlatformPattern>,
}

/// What happens where a rule cannot be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// The same as where it fails.
    Deny,
    /// It is let through.
    Allow,
    /// It is let through where it was allowed at most so long ago.
    LastGood(Duration),
}

impl OnError {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "deny" => Ok(Self::Deny),
            "allow" => Ok(Self::Allow),
            _ => {
                let inner = text.strip_prefix("lastGood(").and_then(|rest| rest.strip_suffix(')'));
                let age = inner.ok_or_else(|| format!("{text:?} is not known here"))?;
                words::age(age).map(Self::LastGood)
            }
        }
    }
}

impl Match {
    /// What is not known of an image is no way around a policy: it is meant then.
    fn matches(&self, image: &ImageFacts, by_platform: bool) -> bool {
        let any =
            |globs: &[Glob], names: &[String]| globs.iter().any(|g| names.iter().any(|name| g.matches(name)));
        let on_platform = |platform: &String| {
            platform::may_be_any(platform) || self.platforms.iter().any(|known| known.matches(platform))
        };
        let registry = || self.registries.iter().any(|pattern| pattern.matches(&image.registry));
        (self.registries.is_empty() || image.unknown && image.registry.is_empty() || registry())
            && (self.repos.is_empty() || self.repos.iter().any(|glob| glob.matches(&image.repository)))
            && (self.tags.is_empty() || image.unknown || any(&self.tags, &image.tags))
            && (self.platforms.is_empty()
                || !by_platform
                || image.unknown
                || !image.incomplete.is_empty()
                || !image.unread.is_empty()
                || image.platforms.is_empty()
                || image.platforms.iter().any(on_platform))
    }
}

impl Policy {
    /// Reads every policy of a text; it may hold several YAML documents. All mistakes are told at once.
    pub fn parse(text: &str, trust: &dyn TrustSource) -> Result<Vec<Self>, PolicyErrors> {
        read::policies(text, trust)
    }

    /// The trust material that a text names, each once and in order, without loading it.
    pub fn references(text: &str) -> Result<Vec<TrustReference>, PolicyErrors> {
        read::references(text)
    }

    /// Whether it is asked about this image at this point. What a single image says of its platform leaves out no policy
    /// about what is run or tagged: nobody proves it, and runtimes do not look at it. At a push it does, and at a pull that
    /// of an image in an index, since these are asked about after the index.
    pub fn applies(&self, image: &ImageFacts, at: Point) -> bool {
        let by_platform = match at {
            Point::Push => true,
            Point::Pull => image.is_index() || !image.parents.is_empty(),
            Point::Promote | Point::Admit | Point::Run => image.is_index(),
        };
        self.at.contains(&at) && self.matches.matches(image, by_platform)
    }

    /// Whether it is about this image of an index that is asked about.
    pub fn is_about(&self, image: &ImageFacts) -> bool {
        self.matches.matches(image, true)
    }

    /// The trust roots that its signers are judged under, each once.
    pub fn trust_roots(&self) -> impl Iterator<Item = &TrustRoot> {
        self.trust.iter().enumerate().filter_map(|(index, (_, root))| {
            let id = root.id();
            let first = self.trust.iter().position(|(_, other)| other.id() == id);
            (first == Some(index)).then_some(root)
        })
    }

    /// Those of [`Self::trust_roots`] that say anything about images of the repository that this one is in.
    pub fn trust_roots_about<'a>(&'a self, image: &'a ImageFacts) -> impl Iterator<Item = &'a TrustRoot> {
        self.trust_roots().filter(|root| root.speaks_about(&image.registry, &image.repository))
    }

    /// Whether what was attached to the images of an index decides about it: where nobody asks for them one by one.
    pub fn asks_of_images(&self) -> bool {
        let of_evidence = |rule: &Rule| match &rule.ask {
            Ask::Attestation(_) | Ask::Sbom(_) => true,
            Ask::Cel(expression) => !expression.needs_only_image(),
            Ask::Signature(_) | Ask::Vulns(_) | Ask::Image(_) => false,
        };
        let points = [Point::Promote, Point::Admit, Point::Run];
        points.iter().any(|point| self.at.contains(point)) && self.require.iter().any(of_evidence)
    }

    /// What is allowed and may not be meant, such as a regular expression that is not anchored.
    pub fn warnings(&self) -> &[PolicyError] {
        &self.warnings
    }

    /// Whether its answer may differ between a request by tag and one by digest of the same content.
    pub fn depends_on_request(&self) -> bool {
        let by_digest = |rule: &Rule| match &rule.ask {
            Ask::Image(image) => image.digest_only,
            Ask::Cel(expression) => expression.uses("image"),
            Ask::Attestation(rule) => rule.cel.as_ref().is_some_and(|cel| cel.uses("image")),
            _ => false,
        };
        self.require.iter().any(by_digest)
    }
}
