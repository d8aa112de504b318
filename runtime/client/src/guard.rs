//! Keeps a server that follows redirects and token realms of strangers away from its own machine and link: cloud
//! metadata services, administration ports, sidecars (CWE-918).

use std::io;
use std::net::{IpAddr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::endpoint;

/// Whether the address is loopback, link-local or none at all.
fn is_local_ip(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified(),
    }
}

/// Whether the URL names such an address itself. Names are judged when they are resolved ([`Resolver`]).
pub(crate) fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    endpoint::is_loopback(url) || literal.is_ok_and(is_local_ip)
}

/// Resolves names as the system does, and drops local addresses of all names but the registry's own and those of the
/// proxies that whoever runs this has named.
pub(crate) struct Resolver {
    own: Vec<String>,
}

impl Resolver {
    pub(crate) fn new(own: &str) -> Self {
        const PROXIES: [&str; 6] =
            ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
        let proxies = PROXIES.iter().filter_map(|name| std::env::var(name).ok());
        let hosts = proxies.filter_map(|proxy| {
            let url = if proxy.contains("://") { proxy } else { format!("http://{proxy}") };
            Url::parse(&url).ok()?.host_str().map(str::to_owned)
        });
        Self { own: std::iter::once(own.to_owned()).chain(hosts).collect() }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let own = self.own.iter().any(|own| name.as_str().eq_ignore_ascii_case(own));
        Box::pin(async move {
            // reqwest puts the right port in.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let kept: Vec<SocketAddr> = found.filter(|address| own || !is_local_ip(address.ip())).collect();
            if kept.is_empty() {
                let why = format!("{} has no address but those of this machine or link", name.as_str());
                return Err(io::Error::other(why).into());
            }
            Ok(Box::new(kept.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses() {
        let local = |text: &str| is_local(&Url::parse(text).unwrap());
        for yes in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://localhost:80/",
            "http://169.254.169.254/latest",
            "http://0.0.0.0/",
            "http://[::1]/",
            "http://[::]/",
            "http://[fe80::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:169.254.169.254]/",
        ] {
            assert!(local(yes), "{yes}");
        }
        for no in ["https://10.0.0.1/", "https://registry.example.org/", "https://[2001:db8::1]/"] {
            assert!(!local(no), "{no}");
        }
    }
}
