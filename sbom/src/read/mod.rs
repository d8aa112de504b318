//! Documents that others attached to an image: CycloneDX 1.x, SPDX 2.x (JSON and tag-value) and syft's own JSON,
//! bare or as the predicate of an in-toto statement.
//!
//! Read tolerantly: an entry that is not understood becomes a finding and the rest is read. Nothing here checks
//! a signature: that a document is signed is said, and that nobody checked it too.
//!
//! How to add a format: a file with a function from bytes to [`Document`], its media type and the key that gives
//! it away in `document`.

mod attestation;
mod bounded;
mod cyclonedx;
mod extracted;
mod licensed;
mod spdx;
mod syft;
mod tag_value;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::finding::{Finding, FindingKind};

pub use attestation::is_sbom_predicate;

/// Longest document that is read, in bytes.
pub const MAX_DOCUMENT: u64 = 64 << 20;
/// Deepest nesting of JSON.
const MAX_DEPTH: usize = 128;
/// Most packages of one document.
const MAX_PACKAGES: usize = 200_000;
/// Most findings that are kept.
const MAX_FINDINGS: usize = 200;

/// In which form a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DocumentFormat {
    /// CycloneDX, JSON.
    CycloneDx,
    /// SPDX, JSON.
    Spdx,
    /// SPDX, tag-value.
    SpdxTagValue,
    /// What syft writes for itself.
    Syft,
}

impl DocumentFormat {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::CycloneDx => "CycloneDX",
            Self::Spdx => "SPDX",
            Self::SpdxTagValue => "SPDX tag-value",
            Self::Syft => "syft",
        }
    }
}

/// A package as a document lists it. Nothing in it is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Listed {
    /// Its name, with its group or scope where the document keeps them apart.
    pub name: String,
    /// Its version.
    pub version: Option<String>,
    /// Its package URL.
    pub purl: Option<String>,
    /// Licences as declared or concluded, and those found in it beside them, without what nobody sees; all count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub licenses: Vec<String>,
    /// Paths where it was found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
}

impl Listed {
    /// The type in its package URL.
    pub fn purl_type(&self) -> Option<&str> {
        self.purl.as_deref()?.strip_prefix("pkg:")?.split('/').next()
    }
}

/// What a document says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Document {
    /// Its form.
    pub format: DocumentFormat,
    /// The version of that form.
    pub version: String,
    /// What it calls itself or its subject.
    pub name: Option<String>,
    /// When it was made, as it says.
    pub created: Option<String>,
    /// Who made it, as it says.
    pub creators: Vec<String>,
    /// What is in the image, ordered; the image itself and its operating system are left out.
    pub packages: Vec<Listed>,
    /// Licences of what is no package, with the names of the first 20 that have each: of the image itself, its system,
    /// files and services.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub other_licenses: BTreeMap<String, Vec<String>>,
    /// What could not be read.
    pub findings: Vec<Finding>,
    /// How many findings more there are.
    pub findings_left_out: usize,
}

impl Document {
    fn new(format: DocumentFormat, version: impl Into<String>) -> Self {
        Self {
            format,
            version: version.into(),
            name: None,
            created: None,
            creators: Vec::new(),
            packages: Vec::new(),
            other_licenses: BTreeMap::new(),
            findings: Vec::new(),
            findings_left_out: 0,
        }
    }

    fn complain(&mut self, finding: Finding) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        } else {
            self.findings_left_out += 1;
        }
    }

    fn finished(mut self) -> Self {
        self.packages.sort();
        self.packages.dedup();
        self
    }
}

/// A document that was attached to an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attached {
    /// What it says.
    pub document: Document,
    /// Whether signatures came with it. None was checked.
    pub signed: bool,
    /// The predicate type of the statement that carried it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicate_type: Option<String>,
    /// The document's own bytes, out of its envelope.
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

/// Whether content of this type may be an SBOM or carry one.
pub fn carries_sbom(media_type: &str) -> bool {
    is_document(media_type) || attestation::is_envelope(media_type)
}

fn is_document(media_type: &str) -> bool {
    matches!(
        essence(media_type),
        "application/spdx+json"
            | "spdx+json"
            | "text/spdx+json"
            | "text/spdx"
            | "application/vnd.cyclonedx"
            | "application/vnd.cyclonedx+json"
            | "application/vnd.cyclonedx+xml"
            | "application/vnd.syft+json"
    )
}

/// The type without parameters.
fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

/// Reads what is attached to an image: a document, or an envelope around a statement around one. `about` are the
/// digests of which a statement must name one. `None` when it is a statement of another kind.
///
/// # Errors
/// What is wrong with it, when nothing of it can be used.
pub fn attached(media_type: &str, bytes: Vec<u8>, about: &[String]) -> Result<Option<Attached>, Finding> {
    check(&bytes)?;
    if !attestation::is_envelope(media_type) {
        return Ok(Some(Attached {
            document: document(&bytes)?,
            signed: false,
            predicate_type: None,
            bytes,
        }));
    }
    let Some(statement) = attestation::open(&bytes, about)? else { return Ok(None) };
    check(&statement.predicate)?;
    Ok(Some(Attached {
        document: document(&statement.predicate)?,
        signed: statement.signed,
        predicate_type: Some(statement.predicate_type),
        bytes: statement.predicate,
    }))
}

/// What tells JSON documents apart.
#[derive(Deserialize)]
struct Probe<'a> {
    #[serde(rename = "bomFormat")]
    bom_format: Option<String>,
    #[serde(rename = "specVersion")]
    spec_version: Option<String>,
    #[serde(rename = "spdxVersion")]
    spdx_version: Option<String>,
    #[serde(borrow, rename = "@graph")]
    graph: Option<&'a RawValue>,
    #[serde(borrow)]
    artifacts: Option<&'a RawValue>,
    #[serde(borrow)]
    descriptor: Option<&'a RawValue>,
}

/// Reads a bare document, whose form it says itself.
fn document(bytes: &[u8]) -> Result<Document, Finding> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    match text.first() {
        Some(b'{') => {}
        Some(b'<') => return Err(unsupported("XML documents are not read, only JSON and SPDX tag-value")),
        _ if text.starts_with(b"SPDXVersion:") || text.starts_with(b"##") => return tag_value::read(text),
        _ => return Err(malformed("neither JSON nor SPDX tag-value")),
    }
    let probe: Probe = parse(text)?;
    if probe.bom_format.as_deref() == Some("CycloneDX") {
        return match probe.spec_version {
            Some(version) if version.starts_with("1.") => cyclonedx::read(text, version),
            version => Err(unsupported(format!("CycloneDX {}", version.unwrap_or_default()))),
        };
    }
    match probe.spdx_version {
        Some(version) if version.starts_with("SPDX-2.") => return spdx::read(text, &version),
        Some(version) => return Err(unsupported(version)),
        None => {}
    }
    match (probe.graph, probe.artifacts, probe.descriptor) {
        (Some(_), _, _) => Err(unsupported("SPDX 3 documents are not read")),
        (None, Some(_), Some(_)) => syft::read(text),
        _ => Err(malformed("the document says neither bomFormat nor spdxVersion, and is none of syft's")),
    }
}

/// Refuses what is too long or nested too deeply before anything is kept of it.
fn check(bytes: &[u8]) -> Result<(), Finding> {
    if bytes.len() as u64 > MAX_DOCUMENT {
        let why = format!("{} bytes; documents are read up to {MAX_DOCUMENT} bytes", bytes.len());
        return Err(finding(FindingKind::FileTooLarge, why));
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let json = bytes.trim_ascii_start().first() == Some(&b'{');
    for byte in bytes.iter().filter(|_| json) {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'[' | b'{') => depth += 1,
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            let why = format!("the document is nested deeper than {MAX_DEPTH} levels");
            return Err(finding(FindingKind::TooDeep, why));
        }
    }
    Ok(())
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Finding> {
    serde_json::from_slice(json).map_err(|e| {
        let kind = if e.is_eof() { FindingKind::Truncated } else { FindingKind::Malformed };
        finding(kind, format!("the document cannot be read: {e}"))
    })
}

fn finding(kind: FindingKind, message: impl Into<String>) -> Finding {
    Finding { kind, layer: None, path: None, message: message.into() }
}

fn malformed(message: impl Into<String>) -> Finding {
    finding(FindingKind::Malformed, message)
}

fn unsupported(message: impl Into<String>) -> Finding {
    finding(FindingKind::Unsupported, message)
}

fn some(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}
