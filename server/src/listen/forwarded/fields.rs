//! The fields as they are written.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::uri::Authority;
use http::{HeaderMap, header};

/// Why a field cannot be used. The field's value is the client's and is not shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unclear {
    /// It is not of the form that the field has.
    Form(&'static str),
    /// It says two things, or says something else than `Forwarded`.
    Differ(&'static str),
}

impl Unclear {
    pub(super) fn differ(field: &'static str) -> Self {
        Self::Differ(field)
    }
}

impl fmt::Display for Unclear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form(field) => write!(f, "{field} has a value that such a field cannot have"),
            Self::Differ(field) => {
                write!(
                    f,
                    "{field} says two things, or not the same as Forwarded; the proxy has to set both or remove one"
                )
            }
        }
    }
}

/// Who is named as the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Address(IpAddr),
    /// `unknown`, or a name that hides who it is (RFC 7239, section 6.3).
    Untold,
    /// Matters only to whoever has to go past it: what a client wrote is not read.
    Unclear(Unclear),
}

/// What one proxy says of whom it has seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Hop {
    pub(super) client: Option<Node>,
    pub(super) tls: Option<bool>,
    pub(super) host: Option<String>,
}

/// The fields that begin with `X-Forwarded-`.
#[derive(Debug, Default)]
pub(super) struct XForwarded {
    /// From the first proxy's client to ours.
    pub(super) clients: Vec<Node>,
    pub(super) tls: Option<bool>,
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
}

pub(super) fn x_forwarded(headers: &HeaderMap) -> Result<XForwarded, Unclear> {
    let field = "X-Forwarded-For";
    let clients = elements(headers, "x-forwarded-for")
        .map(|text| text.map_or(Node::Unclear(Unclear::Form(field)), |text| node(text, field)));
    Ok(XForwarded {
        clients: clients.collect(),
        tls: one(headers, "x-forwarded-proto", scheme)?,
        host: one(headers, "x-forwarded-host", host)?,
        port: one(headers, "x-forwarded-port", |text| port(text).filter(|&port| port > 0))?,
    })
}

/// The parts of a list, over all fields of the name. Empty ones say nothing (RFC 9110, section 5.6.1); `None` is one that
/// is no text.
fn elements<'a>(
    headers: &'a HeaderMap,
    name: &'static str,
) -> impl Iterator<Item = Option<&'a str>> + use<'a> {
    let lines = headers.get_all(name).into_iter();
    lines.flat_map(|line| line.as_bytes().split(|&c| c == b',')).filter_map(|part| {
        let part = part.trim_ascii();
        (!part.is_empty()).then(|| str::from_utf8(part).ok())
    })
}

/// The one value that a field has: each proxy of a row may have said the same.
pub(super) fn one<T: PartialEq>(
    headers: &HeaderMap,
    name: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Unclear> {
    let mut found = None;
    for text in elements(headers, name) {
        let value = text.and_then(&read).ok_or(Unclear::Form(shown(name)))?;
        if found.as_ref().is_some_and(|found| *found != value) {
            return Err(Unclear::differ(shown(name)));
        }
        found = Some(value);
    }
    Ok(found)
}

fn shown(name: &'static str) -> &'static str {
    match name {
        "x-forwarded-proto" => "X-Forwarded-Proto",
        "x-forwarded-host" => "X-Forwarded-Host",
        "x-forwarded-port" => "X-Forwarded-Port",
        other => other,
    }
}

/// Whether it is https.
pub(super) fn scheme(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "https" => Some(true),
        "http" => Some(false),
        _ => None,
    }
}

/// A host, perhaps with a port, and nothing that could end a quoted text in a header.
fn host(text: &str) -> Option<String> {
    let authority: Authority = text.parse().ok()?;
    let clean = |c: u8| c.is_ascii_alphanumeric() || b".-:[]_".contains(&c);
    let after = authority.as_str().strip_prefix(authority.host())?;
    let whole = after.is_empty() || after.strip_prefix(':').and_then(port).is_some();
    (!authority.host().is_empty() && whole && text.bytes().all(clean)).then(|| text.to_ascii_lowercase())
}

fn port(text: &str) -> Option<u16> {
    text.bytes().all(|c| c.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// An address, with or without a port and brackets.
fn node(text: &str, field: &'static str) -> Node {
    let hidden = |text: &str| {
        text.starts_with('_')
            && text.len() > 1
            && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c))
    };
    let (name, at) = text.rsplit_once(':').map_or((text, None), |(name, at)| (name, Some(at)));
    if name.eq_ignore_ascii_case("unknown") || hidden(name) {
        let fits = at.is_none_or(|at| port(at).is_some() || hidden(at));
        return if fits { Node::Untold } else { Node::Unclear(Unclear::Form(field)) };
    }
    let bracketed =
        |text: &str| text.strip_prefix('[')?.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().ok();
    let address = text.parse::<IpAddr>().ok().or_else(|| bracketed(text).map(IpAddr::V6));
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|at| at.ip()));
    // A port may be hidden as well.
    let address = address.or_else(|| match at.filter(|at| hidden(at)) {
        Some(_) if !name.contains(':') => name.parse().ok(),
        Some(_) => bracketed(name).map(IpAddr::V6),
        None => None,
    });
    address.map_or(Node::Unclear(Unclear::Form(field)), |address| Node::Address(address.to_canonical()))
}

/// The elements of `Forwarded`, from the client's side to ours. One that is not of the form makes the whole unclear: where it
/// ends cannot be told.
pub(super) fn forwarded(headers: &HeaderMap) -> Result<Vec<Hop>, Unclear> {
    let mut hops = Vec::new();
    for line in headers.get_all(header::FORWARDED) {
        let text = line.to_str().map_err(|_| Unclear::Form("Forwarded"))?;
        line_of(text, &mut hops).ok_or(Unclear::Form("Forwarded"))?;
    }
    Ok(hops)
}

/// `element *( "," element )`, an element being `[ pair ] *( ";" [ pair ] )` (RFC 7239, section 4).
fn line_of(mut rest: &str, hops: &mut Vec<Hop>) -> Option<()> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        if !rest.is_empty() && !rest.starts_with([',', ';']) {
            let (name, after) = rest.split_once('=')?;
            let name = name.to_ascii_lowercase();
            let token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
            // Each may stand once.
            if name.is_empty() || !name.bytes().all(token) || pairs.iter().any(|(known, _)| *known == name) {
                return None;
            }
            let (value, after) = value_of(after)?;
            pairs.push((name, value));
            rest = after.trim_start_matches([' ', '\t']);
        }
        let ends = rest.chars().next();
        if matches!(ends, None | Some(',')) && !pairs.is_empty() {
            hops.push(hop_of(&std::mem::take(&mut pairs))?);
        }
        match ends {
            None => return Some(()),
            Some(',' | ';') => rest = &rest[1..],
            Some(_) => return None,
        }
    }
}

/// A value, in quotes or without, and what follows. Colons and brackets are taken without quotes too, as many write
/// addresses.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ';', ' ', '\t', '"', '\\', '=']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (!value.is_empty()).then(|| (value.to_owned(), rest));
    };
    let (mut value, mut characters) = (String::new(), quoted.char_indices());
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

fn hop_of(pairs: &[(String, String)]) -> Option<Hop> {
    let mut hop = Hop::default();
    for (name, value) in pairs {
        match name.as_str() {
            "for" => hop.client = Some(node(value, "Forwarded")),
            "proto" => hop.tls = Some(scheme(value)?),
            "host" => hop.host = Some(host(value)?),
            _ => {}
        }
    }
    Some(hop)
}
