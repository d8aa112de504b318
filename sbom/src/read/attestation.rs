//! In-toto statements (attestation spec v1), bare as BuildKit attaches them, in a DSSE envelope as cosign 2 does,
//! and that in a Sigstore bundle as cosign 3 does.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use rreg_oci::Names;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{essence, finding, malformed, parse};
use crate::finding::{Finding, FindingKind};

/// DSSE allows both alphabets (protocol.md), and writers differ in padding.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

const STATEMENT: &str = "application/vnd.in-toto+json";

static STATEMENT_NAMES: Names = Names { known: &["subject", "predicateType", "predicate"], below: &[] };

/// A statement that carries an SBOM.
pub(super) struct Statement {
    pub(super) predicate_type: String,
    pub(super) signed: bool,
    pub(super) predicate: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle<'a> {
    #[serde(borrow)]
    dsse_envelope: Option<Envelope<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow)]
    payload: Cow<'a, str>,
    payload_type: String,
    #[serde(borrow)]
    signatures: Option<Vec<Signature<'a>>>,
}

#[derive(Deserialize)]
struct Signature<'a> {
    #[serde(borrow)]
    sig: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InToto<'a> {
    subject: Option<Vec<Subject>>,
    predicate_type: String,
    #[serde(borrow)]
    predicate: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Subject {
    #[serde(default)]
    digest: BTreeMap<String, String>,
}

/// cosign's own wrapping of predicates that it does not know.
#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow, rename = "Data")]
    data: Option<&'a RawValue>,
}

/// Whether statements come in content of this type.
pub(super) fn is_envelope(media_type: &str) -> bool {
    match essence(media_type) {
        STATEMENT | "application/vnd.dsse.envelope.v1+json" => true,
        bundle => bundle.starts_with("application/vnd.dev.sigstore.bundle") && bundle.ends_with("+json"),
    }
}

/// Whether predicates of this type are SBOMs.
pub fn is_sbom_predicate(predicate_type: &str) -> bool {
    let url = predicate_type.strip_prefix("https://").or_else(|| predicate_type.strip_prefix("http://"));
    let Some(url) = url else { return false };
    ["spdx.dev/Document", "cyclonedx.org/bom", "cyclonedx.org/schema", "syft.dev/bom"]
        .iter()
        .any(|known| url.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// Takes a statement out of its envelopes; `None` when it is no SBOM.
pub(super) fn open(bytes: &[u8], about: &[String]) -> Result<Option<Statement>, Finding> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Probe<'a> {
        #[serde(borrow)]
        dsse_envelope: Option<&'a RawValue>,
        #[serde(borrow)]
        message_signature: Option<&'a RawValue>,
        #[serde(borrow)]
        payload: Option<&'a RawValue>,
    }
    let probe: Probe = parse(bytes)?;
    if probe.message_signature.is_some() {
        return Ok(None);
    }
    let envelope: Envelope = match (probe.dsse_envelope, probe.payload) {
        (Some(_), _) => match parse::<Bundle>(bytes)?.dsse_envelope {
            Some(envelope) => envelope,
            None => return Ok(None),
        },
        (None, Some(_)) => parse(bytes)?,
        (None, None) => return statement(bytes, false, about),
    };
    if envelope.payload_type != STATEMENT {
        return Ok(None);
    }
    let payload = envelope.payload.as_bytes();
    let payload = STANDARD.decode(payload).or_else(|_| URL_SAFE.decode(payload));
    let payload = payload.map_err(|e| malformed(format!("the envelope's payload is not base64: {e}")))?;
    super::check(&payload)?;
    let signatures = envelope.signatures.into_iter().flatten();
    let signed = signatures.into_iter().any(|one| one.sig.is_some_and(|sig| !sig.is_empty()));
    statement(&payload, signed, about)
}

fn statement(json: &[u8], signed: bool, about: &[String]) -> Result<Option<Statement>, Finding> {
    STATEMENT_NAMES.check(json, "other readers").map_err(malformed)?;
    let read: InToto = parse(json)?;
    if !is_sbom_predicate(&read.predicate_type) {
        return Ok(None);
    }
    // What is about another image says nothing of this one, wherever it hangs (cosign CVE-2026-22703).
    let named = read.subject.iter().flatten().flat_map(|subject| &subject.digest);
    if !named.into_iter().any(|(algorithm, hex)| about.contains(&format!("{algorithm}:{hex}"))) {
        let why = format!("the statement is not about {}", about.join(" or "));
        return Err(finding(FindingKind::OtherSubject, why));
    }
    let predicate = read.predicate.ok_or_else(|| malformed("the statement has no predicate"))?;
    Ok(Some(Statement { predicate: unwrapped(predicate)?, signed, predicate_type: read.predicate_type }))
}

/// The predicate, or what `Data` in it holds: an object, or a document as text.
fn unwrapped(predicate: &RawValue) -> Result<Vec<u8>, Finding> {
    let inner = serde_json::from_str::<Wrapped>(predicate.get()).ok().and_then(|wrapped| wrapped.data);
    match inner {
        Some(data) if data.get().starts_with('"') => {
            let text: String = parse(data.get().as_bytes())?;
            Ok(text.into_bytes())
        }
        Some(data) => Ok(data.get().as_bytes().to_vec()),
        None => Ok(predicate.get().as_bytes().to_vec()),
    }
}
