//! Hosts as they are written in names of images.

/// A host in the one spelling of all that lead to the same place: in small letters, without the dot that ends a name of
/// the DNS, and without the port that https has anyway.
pub(crate) fn plain(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    let (name, port) = match host.rsplit_once(':') {
        // A colon before the bracket is one of an IPv6 address.
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host.as_str(), None),
    };
    // A port is a number, however it is written.
    let digits = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.map(|port| match port.parse::<u16>() {
        Ok(number) if digits(port) => number.to_string(),
        _ => port.to_owned(),
    });
    let port = port.filter(|port| port != "443");
    let name = name.strip_suffix('.').unwrap_or(name);
    port.map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn one_host_has_one_spelling() {
        for same in
            ["a.example", "A.Example", "a.example.", "a.example:443", "a.example:0443", "a.example.:00000443"]
        {
            assert_eq!(plain(same), "a.example", "{same}");
        }
        for same in ["a.example:5000", "a.example:05000"] {
            assert_eq!(plain(same), "a.example:5000");
        }
        assert_eq!(plain("[::1]:0443"), "[::1]");
        assert_eq!(plain("[::1]"), "[::1]");
        assert_ne!(plain("a.example:+443"), "a.example");
    }
}
