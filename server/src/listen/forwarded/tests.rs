use http::Request;

use super::*;

const EDGE: &str = "192.0.2.9";

fn proxies() -> Proxies {
    let trusted = ["192.0.2.0/24", "10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
    Proxies { trusted: Networks(trusted.to_vec()), tls_only: false }
}

fn parts(headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::get("/v2/").header("host", "registry.example");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

/// Address, scheme and host of a request of `peer`; or what is wrong with it.
fn seen_by(proxies: &Proxies, peer: &str, headers: &[(&str, &str)]) -> Result<String, String> {
    let mut parts = parts(headers);
    let peer = Peer { address: peer.parse().unwrap(), tls: false };
    let client = proxies.client(peer, &mut parts).map_err(|refused| refused.message().to_owned())?;
    let host = parts.headers[HOST].to_str().unwrap();
    Ok(format!("{} {}://{host}", client.address, if client.tls { "https" } else { "http" }))
}

fn seen(headers: &[(&str, &str)]) -> String {
    seen_by(&proxies(), EDGE, headers).unwrap_or_else(|_| "refused".into())
}

#[test]
fn nobody_else_is_believed() {
    let lies: &[(&str, &str)] = &[
        ("x-forwarded-for", "203.0.113.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-port", "99999"),
        ("forwarded", "for=203.0.113.1;proto=https;host=evil.example"),
    ];
    let direct = seen_by(&proxies(), "198.51.100.7", lies).unwrap();
    assert_eq!(direct, "198.51.100.7 http://registry.example");
    let nobody = Proxies::default();
    assert_eq!(seen_by(&nobody, EDGE, lies).unwrap(), "192.0.2.9 http://registry.example");
    // Without any setting one thing is taken from this machine: that passwords are not to be asked for in clear.
    assert_eq!(seen_by(&nobody, "127.0.0.1", lies).unwrap(), "127.0.0.1 https://registry.example");
    assert_eq!(seen_by(&proxies(), "127.0.0.1", lies).unwrap(), "127.0.0.1 http://registry.example");
    let told = [("forwarded", "for=203.0.113.1;proto=https;host=evil.example")];
    assert_eq!(seen_by(&nobody, "127.0.0.1", &told).unwrap(), "127.0.0.1 https://registry.example");
    let differ = [("x-forwarded-proto", "https"), ("forwarded", "for=203.0.113.1;proto=http")];
    assert_eq!(seen_by(&nobody, "127.0.0.1", &differ).unwrap(), "127.0.0.1 http://registry.example");
    for unclear in ["http", "https,http", "HTTPS evil", ""] {
        let told = [("x-forwarded-proto", unclear)];
        assert_eq!(seen_by(&nobody, "::1", &told).unwrap(), "::1 http://registry.example", "{unclear}");
    }
}

#[test]
fn the_client_is_the_first_from_the_right_that_is_not_trusted() {
    for (list, client) in [
        ("203.0.113.1", "203.0.113.1"),
        ("198.51.100.1, 203.0.113.1", "203.0.113.1"),
        ("198.51.100.1, 203.0.113.1, 10.1.2.3, 192.0.2.8", "203.0.113.1"),
        ("  203.0.113.1  ,, 10.1.2.3 ,", "203.0.113.1"),
        // All are trusted: the one that has begun.
        ("10.1.2.3, 192.0.2.8", "10.1.2.3"),
        ("203.0.113.1:4711", "203.0.113.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("2001:db8::2, fd00::1", "2001:db8::2"),
        ("::ffff:203.0.113.1, ::ffff:10.0.0.1", "203.0.113.1"),
        // Who is not told is counted with the proxy that does not tell.
        ("unknown", EDGE),
        ("203.0.113.1, unknown, 10.1.2.3", "10.1.2.3"),
        ("203.0.113.1, _hidden", EDGE),
        ("203.0.113.1, Unknown:80", EDGE),
        ("", EDGE),
        // What a client has written is not read.
        ("<script>, 203.0.113.1", "203.0.113.1"),
        ("unknown, \u{e9}, 203.0.113.1", "203.0.113.1"),
    ] {
        let told = seen(&[("x-forwarded-for", list)]);
        assert_eq!(told, format!("{client} http://registry.example"), "{list}");
    }
    for unclear in [
        "203.0.113.1, nonsense",
        "203.0.113.1:99999",
        "203.0.113.1:http",
        "203.0.113",
        "0203.0.113.1",
        "[203.0.113.1]",
        "[2001:db8::1",
        "2001:db8:1:2:3:4:5:6:4711",
        "fe80::1%eth0",
        "\"203.0.113.1\"",
        "203.0.113.1 10.0.0.1",
        "unknown:x",
        "_",
        "_a b",
    ] {
        assert_eq!(seen(&[("x-forwarded-for", unclear)]), "refused", "{unclear}");
    }
}

#[test]
fn several_fields_are_one_list() {
    let both = [("x-forwarded-for", "198.51.100.1"), ("x-forwarded-for", "203.0.113.1, 10.0.0.1")];
    assert_eq!(seen(&both), "203.0.113.1 http://registry.example");
    let both = [("forwarded", "for=198.51.100.1;proto=https"), ("forwarded", "for=203.0.113.1;proto=http")];
    assert_eq!(seen(&both), "203.0.113.1 http://registry.example");
    let same = [("x-forwarded-proto", "https"), ("x-forwarded-proto", "HTTPS, https")];
    assert_eq!(seen(&same), "192.0.2.9 https://registry.example");
}

#[test]
fn what_is_said_of_the_address_is_taken_or_refused() {
    for (field, value, host) in [
        ("x-forwarded-proto", "https", "https://registry.example"),
        ("x-forwarded-proto", "http", "http://registry.example"),
        ("x-forwarded-proto", "https, http", "refused"),
        ("x-forwarded-proto", "wss", "refused"),
        ("x-forwarded-proto", "https;", "refused"),
        ("x-forwarded-host", "Images.Example:8443", "http://images.example:8443"),
        ("x-forwarded-host", "images.example, images.example", "http://images.example"),
        ("x-forwarded-host", "evil.example, images.example", "refused"),
        ("x-forwarded-host", "[2001:db8::1]:5000", "http://[2001:db8::1]:5000"),
        ("x-forwarded-host", "a\",service=\"evil", "refused"),
        ("x-forwarded-host", "user@images.example", "refused"),
        ("x-forwarded-host", "images.example/path", "refused"),
        ("x-forwarded-host", "images.example:", "refused"),
        ("x-forwarded-host", "images.example:99999", "refused"),
        ("x-forwarded-host", ":5000", "refused"),
        ("x-forwarded-port", "8080", "http://registry.example:8080"),
        ("x-forwarded-port", "80", "http://registry.example"),
        ("x-forwarded-port", "0", "refused"),
        ("x-forwarded-port", "-1", "refused"),
        ("x-forwarded-port", "65536", "refused"),
        ("x-forwarded-port", "443, 8443", "refused"),
    ] {
        let told = seen(&[(field, value)]);
        assert_eq!(told.trim_start_matches("192.0.2.9 "), host, "{field}: {value}");
    }
    let port = |host, port, proto| {
        let headers = [("x-forwarded-host", host), ("x-forwarded-port", port), ("x-forwarded-proto", proto)];
        seen(&headers)
    };
    assert_eq!(port("a.example", "443", "https"), "192.0.2.9 https://a.example");
    assert_eq!(port("a.example", "8443", "https"), "192.0.2.9 https://a.example:8443");
    assert_eq!(port("a.example:5000", "8443", "https"), "192.0.2.9 https://a.example:5000");
    assert_eq!(port("[2001:db8::1]", "8443", "https"), "192.0.2.9 https://[2001:db8::1]:8443");
}

#[test]
fn forwarded_is_read_as_its_specification_says() {
    for (field, told) in [
        ("for=203.0.113.1;proto=https;host=a.example", "203.0.113.1 https://a.example"),
        ("For=\"[2001:db8::1]:4711\";Proto=HTTPS", "2001:db8::1 https://registry.example"),
        ("for=203.0.113.1:4711", "203.0.113.1 http://registry.example"),
        ("for=\"203.0.113.1:_port\"", "203.0.113.1 http://registry.example"),
        ("for=\"[2001:db8::1]:_p\" ; by=_x;secret=\"a,\\\";b\"", "2001:db8::1 http://registry.example"),
        ("for=unknown;proto=https", "192.0.2.9 https://registry.example"),
        ("for=_gazonk", "192.0.2.9 http://registry.example"),
        ("proto=https", "192.0.2.9 https://registry.example"),
        // The element of the proxy that has seen the client says how it came; those before are the client's words.
        (
            "for=1.1.1.1;proto=https;host=evil.example, for=203.0.113.1;proto=http;host=a.example, for=10.0.0.1;proto=https",
            "203.0.113.1 http://a.example",
        ),
        ("for=203.0.113.1;proto=https,,for=10.0.0.1;proto=http,", "203.0.113.1 https://registry.example"),
        ("", "192.0.2.9 http://registry.example"),
        ("for=\"203.0.113.1", "refused"),
        ("for=\"1.1.1.1, for=203.0.113.1", "refused"),
        ("for=203.0.113.1;for=1.1.1.1", "refused"),
        ("for=203.0.113.1 proto=https", "refused"),
        ("for", "refused"),
        ("for=", "refused"),
        ("for = 203.0.113.1", "refused"),
        ("=203.0.113.1", "refused"),
        ("for=2001:db8:1:2:3:4:5:6:4711", "refused"),
        ("for=203.0.113.1;proto=gopher", "refused"),
        ("for=203.0.113.1;host=\"a b\"", "refused"),
        ("for=\"203.0.113.1\"x", "refused"),
    ] {
        assert_eq!(seen(&[("forwarded", field)]), told, "{field}");
    }
}

#[test]
fn two_ways_to_say_it_must_say_the_same() {
    let both = |old: &[(&'static str, &'static str)], new| seen(&[old, &[("forwarded", new)][..]].concat());
    let old = [("x-forwarded-for", "203.0.113.1"), ("x-forwarded-proto", "https")];
    assert_eq!(both(&old, "for=203.0.113.1;proto=https"), "203.0.113.1 https://registry.example");
    assert_eq!(both(&old, "proto=https;host=a.example"), "203.0.113.1 https://a.example");
    // A proxy that sets one passes on what the client says in the other.
    assert_eq!(both(&old, "for=198.51.100.1;proto=https"), "refused");
    assert_eq!(both(&old, "for=203.0.113.1;proto=http"), "refused");
    assert_eq!(both(&[("x-forwarded-host", "a.example")], "for=203.0.113.1;host=b.example"), "refused");
}

#[test]
fn a_host_of_the_address_itself_is_replaced_too() {
    let mut parts = parts(&[("x-forwarded-host", "a.example"), ("x-forwarded-proto", "https")]);
    parts.uri = Uri::from_static("http://10.0.0.5:5000/v2/?n=1");
    let peer = Peer { address: EDGE.parse().unwrap(), tls: false };
    proxies().client(peer, &mut parts).unwrap();
    assert_eq!(
        (parts.uri.to_string(), &parts.headers[HOST]),
        ("/v2/?n=1".into(), &HeaderValue::from_static("a.example"))
    );
}

#[test]
fn nothing_is_taken_in_clear_where_only_a_proxy_has_tls() {
    let proxies = Proxies { tls_only: true, ..proxies() };
    let https = [("x-forwarded-for", "203.0.113.1"), ("x-forwarded-proto", "https")];
    let http = [("x-forwarded-for", "203.0.113.1"), ("x-forwarded-proto", "http")];
    assert_eq!(seen_by(&proxies, EDGE, &https).unwrap(), "203.0.113.1 https://registry.example");
    for (peer, headers) in [(EDGE, &http[..]), (EDGE, &[]), ("203.0.113.1", &https), ("203.0.113.1", &[])] {
        assert!(
            seen_by(&proxies, peer, headers).unwrap_err().contains("nothing in clear"),
            "{peer} {headers:?}"
        );
    }
    // This machine itself is no network, and probes carry nothing.
    assert!(seen_by(&proxies, "127.0.0.1", &[]).is_ok());
    let mut probe = parts(&[]);
    probe.uri = Uri::from_static("/readyz?exclude=policies");
    let peer = Peer { address: "203.0.113.1".parse().unwrap(), tls: false };
    assert!(proxies.client(peer, &mut probe).is_ok());
}
