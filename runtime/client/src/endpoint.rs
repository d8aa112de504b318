//! From the host that a user writes to the URL that is asked.

use std::net::IpAddr;

use reqwest::Url;

/// Docker Hub is named by one host and served by another.
const DOCKER_HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// A host without the scheme that may be before it.
pub(crate) fn bare(host: &str) -> &str {
    let bare = host.strip_prefix("https://").or_else(|| host.strip_prefix("http://"));
    bare.map_or(host, |bare| bare.trim_end_matches('/'))
}

/// The base URL of the registry at `host[:port]`: http when asked for, or on loopback unless something was said of its
/// certificate (`tls`), https otherwise. A scheme before the host decides instead.
pub(crate) fn base_url(host: &str, plain_http: bool, tls: bool) -> Result<Url, String> {
    let (host, plain_http, explicit) = match (host.strip_prefix("https://"), host.strip_prefix("http://")) {
        (Some(host), _) => (host.trim_end_matches('/'), false, true),
        (_, Some(host)) => (host.trim_end_matches('/'), true, true),
        _ => (host, plain_http, false),
    };
    let served = if is_docker_hub(host) { "registry-1.docker.io" } else { host };
    let parse = |scheme: &str| {
        let url =
            Url::parse(&format!("{scheme}://{served}/")).map_err(|e| format!("{host:?} is no host: {e}"))?;
        // A host with a path, query or user would ask another server than the one named.
        let bare = url.path() == "/"
            && url.query().is_none()
            && url.username().is_empty()
            && url.fragment().is_none();
        if bare && url.password().is_none() { Ok(url) } else { Err(format!("{host:?} is no host[:port]")) }
    };
    let https = parse("https")?;
    if plain_http || (!explicit && !tls && is_loopback(&https)) { parse("http") } else { Ok(https) }
}

/// Whether the URL's host is this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    if host == "localhost" || host.ends_with(".localhost") {
        return true;
    }
    host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether the two URLs are the same server: scheme, host and port.
pub(crate) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host() == b.host() && a.port_or_known_default() == b.port_or_known_default()
}

/// The server of a URL alone, and the name under which credentials for it are kept.
pub(crate) fn origin(url: &Url) -> (Url, String) {
    let mut base = url.clone();
    base.set_path("/");
    base.set_query(None);
    base.set_fragment(None);
    // Neither can fail where there is a host.
    let _ = base.set_username("");
    let _ = base.set_password(None);
    let host = base.host_str().unwrap_or_default();
    let name = base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    (base, name)
}

/// Registries whose token service is on another host, and that host: they are known to belong together.
const TOKEN_SERVICES: [(&str, &str); 4] = [
    ("registry-1.docker.io", "auth.docker.io"),
    ("registry.gitlab.com", "gitlab.com"),
    ("docker.elastic.co", "docker-auth.elastic.co"),
    ("registry.digitalocean.com", "api.digitalocean.com"),
];

/// Whether the realm is on the registry's own host or on that of its known token service.
pub(crate) fn owns_realm(registry: &Url, realm: &Url) -> bool {
    let (registry, realm) = (registry.host_str().unwrap_or_default(), realm.host_str().unwrap_or_default());
    registry == realm || TOKEN_SERVICES.contains(&(registry, realm))
}

/// Whether the host is one of the names of Docker Hub.
pub(crate) fn is_docker_hub(host: &str) -> bool {
    DOCKER_HUB.contains(&host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes() {
        let url = |host, plain| base_url(host, plain, false).unwrap().to_string();
        assert_eq!(url("127.0.0.1:5000", false), "http://127.0.0.1:5000/");
        assert_eq!(url("[::1]:5000", false), "http://[::1]:5000/");
        assert_eq!(url("localhost:443", false), "http://localhost:443/");
        assert_eq!(url("registry.example.org", false), "https://registry.example.org/");
        assert_eq!(url("registry.example.org:5000", true), "http://registry.example.org:5000/");
        assert_eq!(url("https://127.0.0.1:5000/", false), "https://127.0.0.1:5000/");
        assert_eq!(url("http://registry.example.org", false), "http://registry.example.org/");
        assert_eq!(url("docker.io", false), "https://registry-1.docker.io/");
        for bad in ["", "a/b", "u@h.x", "h.x?y", "h.x#y", "h:99999"] {
            assert!(base_url(bad, false, false).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn who_says_something_of_certificates_means_https() {
        for (host, plain_http, expected) in [
            ("127.0.0.1:5000", false, "https://127.0.0.1:5000/"),
            ("localhost:5000", false, "https://localhost:5000/"),
            ("127.0.0.1:5000", true, "http://127.0.0.1:5000/"),
            ("http://127.0.0.1:5000", false, "http://127.0.0.1:5000/"),
        ] {
            assert_eq!(base_url(host, plain_http, true).unwrap().as_str(), expected, "{host}");
        }
    }

    #[test]
    fn loopback_is_not_a_lookalike() {
        let loopback = |text: &str| is_loopback(&Url::parse(text).unwrap());
        assert!(
            loopback("https://127.1.2.3/") && loopback("https://[::1]/") && loopback("http://a.localhost/")
        );
        assert!(!loopback("https://127.0.0.1.example.org/") && !loopback("https://localhost.example.org/"));
    }
}
