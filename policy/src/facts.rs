//! What is known of a digest in a repository: everything that rules may ask about.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rreg_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::contents::SbomsRead;
use crate::evidence::{EvidenceKind, Found};
use crate::statement::Statement;
use crate::verdict::Verification;

/// Name of the image below (image-spec, annotations).
pub(crate) const BASE_NAME: &str = "org.opencontainers.image.base.name";

/// A fact that may not be there. The two ways of not being there are told apart: a rule on what was not gathered is
/// an error, never a pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fact<T> {
    /// It was gathered.
    Known(T),
    /// It was looked for and there is none.
    Absent,
    /// It was not looked for, or could not be had: says why.
    NotGathered(String),
}

/// Everything known of one digest in one repository. `serde` of this is also what `rreg policy test` reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// The image itself.
    pub image: ImageFacts,
    /// Signatures and attestations with what their verification found.
    #[serde(default)]
    pub evidence: Vec<EvidenceFact>,
    /// Why the list of evidence is not whole: a part could not be read. Rules that would need more than what is there
    /// answer `error` then.
    #[serde(default)]
    pub incomplete: Vec<String>,
    /// What more was attached than is looked at: older than what was. What a rule misses then is not there, and it says
    /// this besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub over: Vec<String>,
    /// What was not read for its size or number, and may be newer than what was. As with [`Self::over`], a limit that
    /// is passed makes a rule fail and no error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
    /// What is inside.
    #[serde(default = "Fact::absent")]
    pub sbom: Fact<SbomFacts>,
    /// Each SBOM in signed evidence by itself, whoever signed it: what rules with `signedBy` choose from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signed_sboms: Vec<SbomFacts>,
    /// Documents of which some or all could not be read: rules on what is inside fail, since it may be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread_sboms: Vec<UnreadSbom>,
    /// Of an index what was attached to its images, where that was gathered: it is asked about where nobody asks for them
    /// one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_images: Option<Box<OfImages>>,
    /// Known vulnerabilities.
    #[serde(default = "Fact::no_findings")]
    pub findings: Fact<Vec<FindingFact>>,
    /// When the vulnerabilities were last matched against advisories, where they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings_at: Option<DateTime<Utc>>,
    /// When the image that it is built on was made.
    #[serde(default = "Fact::no_base_created")]
    pub base_created: Fact<DateTime<Utc>>,
}

/// What was attached to the images of an index.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OfImages {
    /// The evidence about them; [`EvidenceFact::subject`] says which is meant.
    pub evidence: Vec<EvidenceFact>,
    /// As [`Facts::incomplete`].
    pub incomplete: Vec<String>,
    /// As [`Facts::over`].
    pub over: Vec<String>,
    /// As [`Facts::unread`].
    pub unread: Vec<String>,
    /// Each SBOM about one of them, or about the index, by itself.
    pub sboms: Vec<SbomFacts>,
    /// As [`Facts::unread_sboms`].
    pub unread_sboms: Vec<UnreadSbom>,
}

/// An SBOM that could not be read, or not in whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnreadSbom {
    /// Its [`crate::Evidence::id`].
    pub evidence: Digest,
    /// The manifest that carries it and what was wrong.
    pub why: String,
}

impl Facts {
    /// Those of an image about which nothing else was gathered, and why not where it should have been.
    pub fn bare(image: ImageFacts, why: Option<String>) -> Self {
        Self {
            image,
            evidence: Vec::new(),
            sbom: why.clone().map_or(Fact::Absent, Fact::NotGathered),
            incomplete: why.into_iter().collect(),
            over: Vec::new(),
            unread: Vec::new(),
            signed_sboms: Vec::new(),
            unread_sboms: Vec::new(),
            of_images: None,
            findings: Fact::no_findings(),
            findings_at: None,
            base_created: Fact::no_base_created(),
        }
    }

    /// What is known of one image of this index, as far as it was gathered with it.
    pub(crate) fn of_child(&self, child: &ChildFacts) -> Self {
        let image = self.image.child(child);
        let Some(of_images) = self.of_images.as_deref() else {
            return Self { image, ..self.clone() };
        };
        let all = self.evidence.iter().chain(&of_images.evidence);
        let evidence: Vec<_> = all.filter(|fact| image.is_covered_by(&fact.subject)).cloned().collect();
        let is_signed: BTreeMap<Digest, bool> =
            evidence.iter().map(|fact| (fact.id, fact.is_signed())).collect();
        let is_about = |sbom: &&SbomFacts| sbom.evidence.is_some_and(|id| is_signed.contains_key(&id));
        let sboms = || of_images.sboms.iter().filter(is_about);
        let signed = |sbom: &&SbomFacts| sbom.evidence.and_then(|id| is_signed.get(&id)) == Some(&true);
        let unread_sboms = self.unread_sboms.iter().chain(&of_images.unread_sboms);
        let unread_sboms = unread_sboms.filter(|unread| is_signed.contains_key(&unread.evidence));
        // One reason is as good as many.
        let first = |own: &[String], more: &[String]| own.iter().chain(more).take(1).cloned().collect();
        Self {
            incomplete: first(&self.incomplete, &of_images.incomplete),
            over: first(&self.over, &of_images.over),
            unread: first(&self.unread, &of_images.unread),
            sbom: match &self.sbom {
                Fact::NotGathered(why) => Fact::NotGathered(why.clone()),
                Fact::Known(_) | Fact::Absent => {
                    sboms().cloned().reduce(crate::contents::together).map_or(Fact::Absent, Fact::Known)
                }
            },
            signed_sboms: sboms().filter(signed).cloned().collect(),
            unread_sboms: unread_sboms.cloned().collect(),
            findings: self.findings.clone(),
            findings_at: self.findings_at,
            evidence,
            ..Self::bare(image, None)
        }
    }

    /// The same with what was attached to the images of this index. `each` are the SBOMs about the index itself.
    #[must_use]
    pub fn with_images(self, of_images: OfImages, mut each: Vec<SbomFacts>, more: SbomsRead) -> Self {
        each.extend(more.each);
        let of_images = OfImages { sboms: each, unread_sboms: more.unread, ..of_images };
        Self { of_images: Some(Box::new(of_images)), ..self }
    }

    /// The same with what is inside.
    #[must_use]
    pub fn with_sboms(self, sboms: SbomsRead) -> Self {
        Self { sbom: sboms.all, signed_sboms: sboms.signed, unread_sboms: sboms.unread, ..self }
    }
}

impl<T> Fact<T> {
    fn absent() -> Self {
        Self::Absent
    }

    /// Vulnerabilities are not matched yet.
    pub fn no_findings() -> Self {
        Self::NotGathered("vulnerabilities are not gathered by this version".into())
    }

    /// Base images are not looked up yet.
    pub fn no_base_created() -> Self {
        Self::NotGathered("the age of base images is not gathered by this version".into())
    }
}

/// The image as its manifest and config describe it. Nothing of it is proved by anybody.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageFacts {
    /// Registry host of the reference, where there is one (empty for the registry's own).
    #[serde(default)]
    pub registry: String,
    /// Repository without the registry.
    pub repository: String,
    /// Nobody looked at it: tags, platforms and parents are not known, and neither is what it is like. Every policy
    /// that could be about it is asked, and no rule can be answered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
    /// Why what follows is not whole: images of an index that were not looked at. Rules on the image answer `error`
    /// then. What was attached to it has its own list, [`Facts::incomplete`]: a stranger may attach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incomplete: Vec<String>,
    /// What of it nobody can read, or is more than is looked at: whoever made it chose that, and it stays so. Rules on the
    /// image fail then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
    /// Layers that are fetched from elsewhere, of an index one of each of its images: nobody here has looked at them, and their
    /// sizes are what is said. Expressions see the largest number for [`Self::size`] then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<Digest>,
    /// Tags that name the digest, or an index that has it.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The digest judged.
    pub digest: Digest,
    /// Indexes that have it as a child: a signature on one of them covers it.
    #[serde(default)]
    pub parents: Vec<Digest>,
    /// Media type of the manifest.
    pub media_type: String,
    /// Artifact type, where it has one. What runtimes take for an image has none, whatever it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Whether the request named it by digest. `None` where no request is judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<bool>,
    /// `os/architecture[/variant]`: its own, or those of an index's children, as they are written there. A part that is
    /// left out is `unknown`. Nobody proves any of them.
    #[serde(default)]
    pub platforms: Vec<String>,
    /// Annotations of the manifest.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Bytes of config and layers together, as the manifest says them; of an index those of its largest image.
    #[serde(default)]
    pub size: u64,
    /// Layers' digests, the lowest first.
    #[serde(default)]
    pub layers: Vec<Digest>,
    /// The configs: one for an image, one for each child of an index, none for an artifact.
    #[serde(default)]
    pub configs: Vec<ConfigFacts>,
    /// Of an index its images, those that could be looked at. What is asked of an image is asked of each of them, where
    /// nobody asks for them one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ChildFacts>,
    /// Name of the image that it is built on (`org.opencontainers.image.base.name`), where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_name: Option<String>,
    /// Digest of the image that it is built on (`org.opencontainers.image.base.digest`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_digest: Option<Digest>,
}

impl ImageFacts {
    /// No more than where it is: for when nothing could be looked at. It is [`Self::unknown`].
    pub fn bare(repository: &str, digest: Digest) -> Self {
        Self {
            registry: String::new(),
            repository: repository.to_owned(),
            unknown: true,
            incomplete: Vec::new(),
            unread: Vec::new(),
            elsewhere: Vec::new(),
            tags: Vec::new(),
            digest,
            parents: Vec::new(),
            media_type: String::new(),
            artifact_type: None,
            pinned: None,
            platforms: Vec::new(),
            annotations: BTreeMap::new(),
            size: 0,
            layers: Vec::new(),
            configs: Vec::new(),
            images: Vec::new(),
            base_name: None,
            base_digest: None,
        }
    }

    /// An image of this index, as it would be if it were asked for by its digest.
    pub fn child(&self, of: &ChildFacts) -> Self {
        let mut parents = vec![self.digest];
        parents.extend(&self.parents);
        Self {
            registry: self.registry.clone(),
            tags: self.tags.clone(),
            parents,
            pinned: self.pinned,
            unknown: false,
            elsewhere: of.elsewhere.clone(),
            media_type: of.media_type.clone(),
            artifact_type: of.artifact_type.clone(),
            platforms: of.platforms.clone(),
            annotations: of.annotations.clone(),
            size: of.size,
            layers: of.layers.clone(),
            configs: of.config.and_then(|place| self.configs.get(place)).cloned().into_iter().collect(),
            base_name: of.base_name.clone(),
            base_digest: of.base_digest,
            ..Self::bare(&self.repository, of.digest)
        }
    }

    /// Whether what is said of a subject is said of this image: of itself, or of an index that has it.
    pub fn is_covered_by(&self, subject: &Digest) -> bool {
        *subject == self.digest || self.parents.contains(subject)
    }
}

/// An image of an index: what it says of itself, as in [`ImageFacts`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChildFacts {
    /// Its digest.
    pub digest: Digest,
    /// Media type of the manifest.
    pub media_type: String,
    /// Artifact type, where it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Its config's place in [`ImageFacts::configs`], where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<usize>,
    /// What its config and the index say.
    #[serde(default)]
    pub platforms: Vec<String>,
    /// Annotations of the manifest.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Bytes of config and layers together.
    #[serde(default)]
    pub size: u64,
    /// Layers' digests.
    #[serde(default)]
    pub layers: Vec<Digest>,
    /// Those that are fetched from elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<Digest>,
    /// Name of the image that it is built on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_name: Option<String>,
    /// Digest of the image that it is built on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_digest: Option<Digest>,
}

/// An image's config.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigFacts {
    /// `os/architecture[/variant]`, as it is written there; a part that is left out is `unknown`. Empty where nothing is
    /// written, in an index what its entry says.
    pub platform: String,
    /// Who runs the process, as the config has it; empty is root.
    pub user: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// When it says that it was made.
    pub created: Option<DateTime<Utc>>,
    /// Entry point and arguments.
    pub command: Vec<String>,
    /// Ports as `80/tcp`.
    pub ports: Vec<String>,
    /// Environment names; values may be secret and are not kept.
    pub environment: Vec<String>,
}

/// One signature or attestation, and who vouches for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EvidenceFact {
    /// [`crate::Evidence::id`].
    pub id: Digest,
    /// The manifest that carries it.
    pub manifest: Digest,
    /// The digest that it was attached to: the image, or an index that has it.
    pub subject: Digest,
    /// What it is.
    pub kind: EvidenceKind,
    /// How it was found.
    #[serde(default)]
    pub found: Vec<Found>,
    /// What it says, where it is an attestation (or a signature in the form of one).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<Arc<Statement>>,
    /// Why what it says cannot be read, where it should be an attestation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<String>,
    /// What verification found, by trust root. Empty: nobody that is trusted here could be asked about it.
    #[serde(default)]
    pub verifications: BTreeMap<String, Verification>,
}

impl EvidenceFact {
    /// Whether it says "signed" and nothing more.
    pub fn is_signature(&self) -> bool {
        match self.kind {
            EvidenceKind::CosignSignature | EvidenceKind::Notation => true,
            EvidenceKind::Bundle => {
                self.unread.is_none() && self.statement.as_deref().is_none_or(Statement::is_signature)
            }
            EvidenceKind::CosignAttestation | EvidenceKind::Statement | EvidenceKind::Sbom => false,
        }
    }

    /// Whether it was signed at all, by whomever.
    pub fn is_signed(&self) -> bool {
        !matches!(self.kind, EvidenceKind::Statement | EvidenceKind::Sbom)
    }

    /// What verification under a trust root found.
    pub fn under(&self, trust: &Digest) -> Option<&Verification> {
        self.verifications.get(&trust.to_string())
    }
}

/// What the SBOM of an image says, or all of them together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SbomFacts {
    /// `cyclonedx` or `spdx`.
    pub format: String,
    /// How many packages it lists.
    pub packages: u64,
    /// 0 to 10, see [`crate::quality`].
    pub quality: f64,
    /// What the score misses.
    pub missing: Vec<String>,
    /// Licence expressions with the packages that have them.
    pub licenses: BTreeMap<String, Vec<String>>,
    /// The evidence that has it, where it was attached; none where rreg made it.
    pub evidence: Option<Digest>,
}

/// One vulnerability of one package.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FindingFact {
    /// `CVE-…`, `GHSA-…`.
    pub id: String,
    /// Package URL.
    pub purl: String,
    /// `unknown`, `low`, `medium`, `high` or `critical`.
    pub severity: String,
    /// Version that mends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed: Option<String>,
    /// Known to be exploited.
    #[serde(default)]
    pub kev: bool,
    /// When it was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<DateTime<Utc>>,
}
