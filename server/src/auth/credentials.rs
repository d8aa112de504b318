//! What a request says of who is calling.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::authenticator::Rejected;

/// A request's `Authorization`.
pub(super) enum Credentials<'a> {
    None,
    Bearer(&'a str),
    Basic(String, String),
}

/// Reads `Authorization` (RFC 9110, section 11.6.2; RFC 7617; RFC 6750).
pub(super) fn credentials(headers: &HeaderMap) -> Result<Credentials<'_>, Rejected> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(Credentials::None) };
    if values.next().is_some() {
        return Err(Rejected::Scheme);
    }
    let (scheme, rest) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(Rejected::Scheme)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Credentials::Bearer(rest.trim()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(Rejected::Scheme);
    }
    let decoded = STANDARD.decode(rest.trim()).map_err(|_| Rejected::Scheme)?;
    let text = String::from_utf8(decoded).map_err(|_| Rejected::Wrong)?;
    let (name, secret) = text.split_once(':').ok_or(Rejected::Wrong)?;
    Ok(Credentials::Basic(name.to_owned(), secret.to_owned()))
}
