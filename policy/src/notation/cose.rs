//! Envelopes in COSE: a tagged COSE_Sign1 (RFC 9052, section 4.2; Notary Project signature specification, "COSE").

use chrono::{DateTime, Utc};
use coset::cbor::Value;
use coset::iana::{EnumI64, HeaderParameter};
use coset::{ContentType, CoseSign1, Header, Label, RegisteredLabelWithPrivate, TaggedCborSerializable};

use super::algorithm::Algorithm;
use super::envelope::{
    AUTHENTIC_SIGNING_TIME, Attribute, EXPIRY, Envelope, EnvelopeError, Protected, SIGNING_SCHEME,
    SIGNING_TIME, Scheme, TIMESTAMP, check_critical, read_chain,
};
use crate::limits::Limits;

/// `x5chain` (RFC 9360, section 2).
const X5CHAIN: i64 = 33;

/// Reads an envelope.
pub(super) fn parse(bytes: &[u8], limits: &Limits) -> Result<Envelope, EnvelopeError> {
    check_depth(bytes, limits.max_depth)?;
    let message = CoseSign1::from_tagged_slice(bytes)
        .map_err(|error| format!("it is no tagged COSE_Sign1: {error}"))?;
    check_depth(message.protected.original_data.as_deref().unwrap_or_default(), limits.max_depth)?;
    let protected = read_protected(&message.protected.header)?;
    let chain = match find(&message.unprotected, &Label::Int(X5CHAIN)) {
        Some(Value::Array(items)) => items,
        _ => return Err("its unprotected headers have no certificate chain (x5chain)".to_owned().into()),
    };
    let ders: Vec<&[u8]> = chain.iter().filter_map(Value::as_bytes).map(Vec::as_slice).collect();
    if ders.len() != chain.len() {
        return Err("its certificate chain (x5chain) has something else than certificates".to_owned().into());
    }
    let timestamp = match find(&message.unprotected, &Label::Text(TIMESTAMP.to_owned())) {
        None => None,
        Some(Value::Bytes(token)) => Some(token.clone()).filter(|token| !token.is_empty()),
        Some(_) => return Err(format!("the header {TIMESTAMP:?} is no byte string").into()),
    };
    let Some(payload) = message.payload.clone() else {
        return Err("its payload is not in it (detached)".to_owned().into());
    };
    Ok(Envelope {
        chain: read_chain(ders.into_iter(), limits)?,
        signed: message.tbs_data(&[]),
        signature: message.signature,
        protected,
        payload,
        timestamp,
    })
}

fn find<'a>(header: &'a Header, label: &Label) -> Option<&'a Value> {
    header.rest.iter().find(|(found, _)| found == label).map(|(_, value)| value)
}

fn named<'a>(header: &'a Header, name: &str) -> Option<&'a Value> {
    header
        .rest
        .iter()
        .find(|(label, _)| matches!(label, Label::Text(text) if text == name))
        .map(|(_, value)| value)
}

/// Reads the protected headers and checks which of them are critical.
pub(super) fn read_protected(header: &Header) -> Result<Protected, String> {
    let number = match &header.alg {
        Some(RegisteredLabelWithPrivate::Assigned(algorithm)) => algorithm.to_i64(),
        _ => return Err("its protected headers have no algorithm that is allowed".to_owned()),
    };
    let algorithm =
        Algorithm::from_cose(number).ok_or_else(|| format!("the algorithm {number} is not allowed"))?;
    let Some(ContentType::Text(content_type)) = &header.content_type else {
        return Err("its protected headers have no content type as text".to_owned());
    };
    let scheme = match named(header, SIGNING_SCHEME) {
        Some(Value::Text(name)) => Scheme::parse(name)?,
        _ => return Err(format!("the header {SIGNING_SCHEME:?} is missing or no text")),
    };
    let (time_name, other_name) = match scheme {
        Scheme::X509 => (SIGNING_TIME, AUTHENTIC_SIGNING_TIME),
        Scheme::SigningAuthority => (AUTHENTIC_SIGNING_TIME, SIGNING_TIME),
    };
    if named(header, other_name).is_some() {
        return Err(format!("the header {other_name:?} must not be there under the scheme {scheme}"));
    }
    let signing_time =
        time(header, time_name)?.ok_or_else(|| format!("the header {time_name:?} is missing"))?;
    let expiry = time(header, EXPIRY)?;
    let critical: Vec<Label> = header.crit.iter().map(label).collect();
    let is_critical = |name: &str| critical.iter().any(|l| matches!(l, Label::Text(text) if text == name));
    check_critical(scheme, expiry.is_some(), is_critical)?;
    if let Some(absent) = critical.iter().find(|label| !is_there(header, label)) {
        return Err(format!("{} is marked critical and is not there", show(absent)));
    }
    let defined = [SIGNING_SCHEME, SIGNING_TIME, AUTHENTIC_SIGNING_TIME, EXPIRY];
    let extended = header
        .rest
        .iter()
        .filter(|(l, _)| !matches!(l, Label::Text(text) if defined.contains(&text.as_str())));
    let attributes =
        extended.map(|(l, _)| Attribute { name: show(l), critical: critical.contains(l) }).collect();
    Ok(Protected { algorithm, content_type: content_type.clone(), scheme, signing_time, expiry, attributes })
}

fn label(critical: &RegisteredLabelWithPrivate<HeaderParameter>) -> Label {
    match critical {
        RegisteredLabelWithPrivate::PrivateUse(number) => Label::Int(*number),
        RegisteredLabelWithPrivate::Assigned(assigned) => Label::Int(assigned.to_i64()),
        RegisteredLabelWithPrivate::Text(text) => Label::Text(text.clone()),
    }
}

fn show(label: &Label) -> String {
    match label {
        Label::Int(number) => number.to_string(),
        Label::Text(text) => text.clone(),
    }
}

/// Whether a header is there. The library takes those of the standard out of the list of all; of these only the
/// algorithm, the list of critical ones and the content type are understood.
fn is_there(header: &Header, label: &Label) -> bool {
    matches!(label, Label::Int(1..=3)) || header.rest.iter().any(|(found, _)| found == label)
}

/// A time: CBOR tag 1, seconds since 1970 (RFC 8949, section 3.4.2). A number without the tag is refused.
fn time(header: &Header, name: &str) -> Result<Option<DateTime<Utc>>, String> {
    let Some(value) = named(header, name) else { return Ok(None) };
    let wrong = || format!("the header {name:?} is no time in CBOR tag 1");
    let Value::Tag(1, inner) = value else { return Err(wrong()) };
    let milliseconds = match inner.as_ref() {
        Value::Integer(seconds) => i64::try_from(*seconds).ok().and_then(|seconds| seconds.checked_mul(1000)),
        #[allow(
            clippy::cast_possible_truncation,
            reason = "a float becomes the nearest integer that there is"
        )]
        Value::Float(seconds) if seconds.is_finite() => Some((seconds * 1000.0) as i64),
        _ => None,
    };
    milliseconds.and_then(DateTime::from_timestamp_millis).map(Some).ok_or_else(wrong)
}

/// Refuses CBOR that is nested deeper than the limit, before a parser descends into it. It looks at the heads of items
/// alone (RFC 8949, appendix C) and stops at the first that is none; the parser says what is wrong with it.
fn check_depth(bytes: &[u8], most: usize) -> Result<(), EnvelopeError> {
    // How many items are still to come on each level; `None` where a break will end them.
    let mut open: Vec<Option<u64>> = Vec::new();
    let mut rest = bytes;
    while let Some((head, after)) = rest.split_first() {
        let (major, minor) = (head >> 5, head & 0x1f);
        let width = match minor {
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => 0,
        };
        let Some((argument, after)) = after.split_at_checked(width) else { return Ok(()) };
        let number = argument.iter().fold(0_u64, |all, byte| (all << 8) | u64::from(*byte));
        let number = if width == 0 { u64::from(minor) } else { number };
        rest = after;
        let indefinite = minor == 31;
        match major {
            2 | 3 if !indefinite => {
                match usize::try_from(number).ok().and_then(|length| rest.get(length..)) {
                    Some(after) => rest = after,
                    None => return Ok(()),
                }
            }
            2 | 3 => open.push(None),
            4 => open.push((!indefinite).then_some(number)),
            5 => open.push((!indefinite).then_some(number.saturating_mul(2))),
            6 => open.push(Some(1)),
            7 if indefinite => {
                open.pop();
            }
            _ => {}
        }
        if open.len() > most {
            return Err(EnvelopeError::Limit(format!("its CBOR is nested deeper than {most}")));
        }
        let opened = major == 4 || major == 5 || major == 6 || (indefinite && major != 7);
        close(&mut open, opened);
    }
    Ok(())
}

/// Counts an item as done and closes the levels that end with it. One that just opened with items to come is not done.
fn close(open: &mut Vec<Option<u64>>, opened: bool) {
    if opened && open.last() != Some(&Some(0)) {
        return;
    }
    if opened {
        open.pop();
    }
    while let Some(Some(left)) = open.last_mut() {
        *left = left.saturating_sub(1);
        if *left > 0 {
            break;
        }
        open.pop();
    }
}
