//! What is known of a digest in a repository: everything that rules may ask about.

mod image;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rreg_oci::Digest;
use serde::{Deserialize, Serialize};

pub use self::image::{ChildFacts, ConfigFacts, ImageFacts};
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
    /// Whether something of that is stored here and broken: nobody else was silent, so that `onError: allow` says nothing of
    /// it. What was good lately still is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub broken: bool,
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
            broken: false,
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
            broken: self.broken,
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
