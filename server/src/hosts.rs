//! Hosts as they are written in names of images.

/// A host in the one spelling of all that lead to the same place: in small letters, without the dot that ends a name of
/// the DNS, and without the port that https has anyway.
pub(crate) fn plain(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    let host = host.strip_suffix(":443").unwrap_or(&host);
    let (name, port) = match host.rsplit_once(':') {
        // A colon before the bracket is one of an IPv6 address.
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    port.map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}
