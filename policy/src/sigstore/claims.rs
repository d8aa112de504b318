//! What a certificate of Fulcio says about its holder.
//!
//! The extensions are those of Fulcio's `docs/oid-info.md`: 1.1 to 1.6 hold bare text, the later ones a DER UTF8String.

use std::collections::BTreeMap;

use der::asn1::{ObjectIdentifier, Utf8StringRef};
use der::{Decode, Encode};
use x509_cert::Certificate;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::errors::Failure;
use crate::signer::Signer;

/// The arc of Fulcio's extensions.
const FULCIO: &str = "1.3.6.1.4.1.57264.1.";
/// The kind of name that holds a user name without a mail domain.
const USER_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.7");

/// Names of the claims, by the last number of their identifier.
const CLAIMS: &[(&str, &str)] = &[
    ("2", "githubWorkflowTrigger"),
    ("3", "githubWorkflowSHA"),
    ("4", "githubWorkflowName"),
    ("5", "githubWorkflowRepository"),
    ("6", "githubWorkflowRef"),
    ("9", "buildSignerURI"),
    ("10", "buildSignerDigest"),
    ("11", "runnerEnvironment"),
    ("12", "sourceRepositoryURI"),
    ("13", "sourceRepositoryDigest"),
    ("14", "sourceRepositoryRef"),
    ("15", "sourceRepositoryIdentifier"),
    ("16", "sourceRepositoryOwnerURI"),
    ("17", "sourceRepositoryOwnerIdentifier"),
    ("18", "buildConfigURI"),
    ("19", "buildConfigDigest"),
    ("20", "buildTrigger"),
    ("21", "runInvocationURI"),
    ("22", "sourceRepositoryVisibilityAtSigning"),
    ("23", "deploymentEnvironment"),
];

/// Whom a certificate (DER) names. An identity and its provider must be there: without them no rule could hold.
pub(super) fn signer(certificate: &[u8]) -> Result<Signer, Failure> {
    let wrong = |why: &str| Failure::invalid("certificate", why);
    let certificate =
        Certificate::from_der(certificate).map_err(|error| wrong(&format!("it cannot be read: {error}")))?;
    let mut values = BTreeMap::new();
    for extension in certificate.tbs_certificate.extensions.iter().flatten() {
        let oid = extension.extn_id.to_string();
        let Some(number) = oid.strip_prefix(FULCIO) else { continue };
        let value = text(number, extension.extn_value.as_bytes())
            .ok_or_else(|| wrong(&format!("its extension {oid} holds no text")))?;
        if values.insert(number.to_owned(), value).is_some() {
            return Err(wrong(&format!("it has the extension {oid} twice")));
        }
    }
    let old = values.remove("1");
    let issuer = values.remove("8").or(old);
    let issuer = issuer.ok_or_else(|| {
        wrong("it does not say who identified its holder (extension 1.3.6.1.4.1.57264.1.8)")
    })?;
    let named = |(number, value): (String, String)| {
        let name = CLAIMS.iter().find(|(known, _)| *known == number).map(|(_, name)| (*name).to_owned());
        (name.unwrap_or_else(|| format!("{FULCIO}{number}")), value)
    };
    let claims = values.into_iter().map(named).collect();
    Ok(Signer::Keyless { issuer, identity: identity(&certificate)?, claims })
}

fn text(number: &str, value: &[u8]) -> Option<String> {
    if matches!(number, "1" | "2" | "3" | "4" | "5" | "6") {
        return String::from_utf8(value.to_vec()).ok();
    }
    Utf8StringRef::from_der(value).ok().map(|text| text.to_string())
}

/// The one subject alternative name. With several it would be open which of them signed.
fn identity(certificate: &Certificate) -> Result<String, Failure> {
    let wrong = |why: String| Failure::invalid("certificate", why);
    let names = certificate.tbs_certificate.get::<SubjectAltName>();
    let names =
        names.map_err(|error| wrong(format!("its subject alternative name cannot be read: {error}")))?;
    let names = names.map(|(_, names)| names.0).unwrap_or_default();
    match names.as_slice() {
        [GeneralName::Rfc822Name(name)] => Ok(name.to_string()),
        [GeneralName::UniformResourceIdentifier(name)] => Ok(name.to_string()),
        [GeneralName::OtherName(other)] if other.type_id == USER_NAME => {
            let name = other.value.to_der().ok();
            let name = name.and_then(|der| Utf8StringRef::from_der(&der).ok().map(|text| text.to_string()));
            name.ok_or_else(|| wrong("its user name is no text".into()))
        }
        [] => Err(wrong("it has no subject alternative name".into())),
        [_] => Err(wrong("its subject alternative name is no mail address, URI or user name".into())),
        several => Err(wrong(format!("it has {} subject alternative names; one is needed", several.len()))),
    }
}
