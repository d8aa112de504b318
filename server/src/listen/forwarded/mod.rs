//! What a proxy in front of the server says of its clients: `Forwarded` (RFC 7239) and the older `X-Forwarded-For`,
//! `-Proto`, `-Host` and `-Port`.
//!
//! Only proxies of `server.trusted_proxies` are believed. Each proxy adds on the right whom it has seen, so the list is walked
//! from there: past trusted addresses to the first that is not, which is the client. What stands left of that came from the
//! client and says nothing. The request is then made what the client sent: everything behind sees its address, its scheme
//! and its `Host`, and nobody else needs to know of proxies.
//!
//! What cannot be read, or says two things, is no guess: the request is refused with 400. A proxy that does not tell its client
//! (`unknown`, a hidden name) is the last that is known of it, and its requests are counted together.

mod fields;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use http::header::HOST;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use rreg_oci::ErrorCode;

use self::fields::{Hop, Node, Unclear};
use super::Peer;
use crate::config::Networks;
use crate::error::ApiError;

/// Who is believed, and what is not taken in clear.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// `server.trusted_proxies`
    pub trusted: Networks,
    /// The address is reached over a network, and the server has no TLS of its own: what did not come over a proxy's is
    /// refused.
    pub tls_only: bool,
}

/// Probes and scrapes come past the proxy, and carry nothing.
const IN_CLEAR: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

impl Proxies {
    /// Who sent the request, which becomes what that client sent.
    ///
    /// # Errors
    /// The answer to a request that says two things of its client, or came in clear where that is not taken.
    pub(super) fn client(&self, peer: Peer, parts: &mut Parts) -> Result<Peer, ApiError> {
        let proxied = self.trusted.contain(peer.address);
        let client = if proxied {
            let seen = self.told(peer, parts).map_err(|unclear| {
                tracing::info!(proxy = %peer.address, %unclear, "a request of a trusted proxy was refused");
                let why = format!("what a proxy says of this request cannot be used: {unclear}");
                ApiError::new(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, why)
            })?;
            if let Some(host) = &seen.host {
                set_host(parts, host);
            }
            Peer { address: seen.client, tls: seen.tls.unwrap_or(peer.tls) }
        } else {
            Peer { tls: peer.tls || self.raised(peer, &parts.headers), ..peer }
        };
        let local = !proxied && peer.address.to_canonical().is_loopback();
        if self.tls_only && !client.tls && !local && !IN_CLEAR.contains(&parts.uri.path()) {
            let why = "this registry takes nothing in clear: come by https, through the proxy that it trusts";
            return Err(ApiError::new(StatusCode::FORBIDDEN, ErrorCode::Unsupported, why));
        }
        Ok(client)
    }

    /// Without any setting, a proxy on this machine that says https is believed in one thing: passwords are not asked for in
    /// clear. Whoever lies about it misleads nobody but itself, and that to https.
    fn raised(&self, peer: Peer, headers: &HeaderMap) -> bool {
        self.trusted.is_empty()
            && !self.tls_only
            && peer.address.to_canonical().is_loopback()
            && says_https(headers)
    }

    fn told(&self, peer: Peer, parts: &Parts) -> Result<Seen, Unclear> {
        let headers = &parts.headers;
        let (old, new) = (fields::x_forwarded(headers)?, fields::forwarded(headers)?);
        let (by_old, _) = self.walk(peer.address, &old.clients)?;
        let clients: Vec<Node> = new.iter().map(|hop| hop.client.clone().unwrap_or(Node::Untold)).collect();
        let (by_new, edge) = self.walk(peer.address, &clients)?;
        let edge: Hop = edge.and_then(|at| new.get(at).cloned()).unwrap_or_default();
        // A proxy that fills one of the two passes the other on as the client has sent it.
        let named = new.iter().any(|hop| hop.client.is_some());
        let client = match (old.clients.is_empty(), named) {
            (false, true) if by_old != by_new => return Err(Unclear::differ("X-Forwarded-For")),
            (false, _) => by_old,
            (true, _) => by_new,
        };
        let tls = agreed(old.tls, edge.tls, "X-Forwarded-Proto")?;
        let host = match (old.host, edge.host) {
            (Some(old), Some(new)) if !old.eq_ignore_ascii_case(&new) => {
                return Err(Unclear::differ("X-Forwarded-Host"));
            }
            (old, new) => old.or(new),
        };
        let given = parts.uri.authority().map(|given| given.as_str());
        let given = given.or_else(|| headers.get(HOST).and_then(|host| host.to_str().ok()));
        let host = with_port(host, given, old.port, tls.unwrap_or(peer.tls));
        Ok(Seen { client, tls, host })
    }

    /// The first address from the right that is not trusted, or the last before one that is not told; with the place of its
    /// element.
    fn walk(&self, peer: IpAddr, clients: &[Node]) -> Result<(IpAddr, Option<usize>), Unclear> {
        let mut last = (peer, None);
        for (at, client) in clients.iter().enumerate().rev() {
            match client {
                Node::Address(address) => last = (*address, Some(at)),
                Node::Untold => return Ok((last.0, Some(at))),
                Node::Unclear(unclear) => return Err(unclear.clone()),
            }
            if !self.trusted.contain(last.0) {
                break;
            }
        }
        Ok(last)
    }
}

/// Whether all that is said of the scheme, and something is, is https.
fn says_https(headers: &HeaderMap) -> bool {
    let old = fields::one(headers, "x-forwarded-proto", fields::scheme);
    let (Ok(old), Ok(new)) = (old, fields::forwarded(headers)) else { return false };
    let mut said = old.into_iter().chain(new.into_iter().filter_map(|hop| hop.tls)).peekable();
    said.peek().is_some() && said.all(|tls| tls)
}

/// What is known of a client, as the proxies say.
struct Seen {
    client: IpAddr,
    /// `None` where they do not say.
    tls: Option<bool>,
    /// What to take for the request's `Host`, where that is not right.
    host: Option<String>,
}

fn agreed<T: PartialEq>(old: Option<T>, new: Option<T>, what: &'static str) -> Result<Option<T>, Unclear> {
    match (old, new) {
        (Some(old), Some(new)) if old != new => Err(Unclear::differ(what)),
        (old, new) => Ok(old.or(new)),
    }
}

/// `X-Forwarded-Port` belongs to a host that is written without one.
fn with_port(told: Option<String>, given: Option<&str>, port: Option<u16>, tls: bool) -> Option<String> {
    let Some(port) = port.filter(|&port| port != if tls { 443 } else { 80 }) else { return told };
    let host = told.as_deref().or(given)?;
    let bare = host.parse::<http::uri::Authority>().is_ok_and(|host| host.port().is_none());
    if bare { Some(format!("{host}:{port}")) } else { told }
}

fn set_host(parts: &mut Parts, host: &str) {
    // It was read as the host of an address, so it can stand in a header.
    let Ok(value) = HeaderValue::from_str(host) else { return };
    parts.headers.insert(HOST, value);
    // An address that has a host of its own (HTTP/2) would be asked before the header.
    if parts.uri.authority().is_some() {
        let path = parts.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        parts.uri = Uri::from(path);
    }
}
