use super::*;
use crate::config::{Upstream as Entry, Upstreams};

fn mirror() -> Mirror {
    let entry = |name: &str, prefix: Option<&str>, path: Option<&str>, ns: &[&str]| Entry {
        name: Some(name.into()),
        url: Some("https://registry.example.org".into()),
        prefix: prefix.map(str::to_owned),
        path: path.map(str::to_owned),
        ns: ns.iter().map(|&n| n.to_owned()).collect(),
        deny: vec!["secret/**".parse().unwrap()],
        ..Entry::default()
    };
    let upstreams = Upstreams(vec![
        entry("hub", None, None, &["docker.io"]),
        entry("team", Some("hub/team"), Some("org"), &["ghcr.io"]),
    ]);
    Mirror::new(&Config { upstreams, ..Config::default() }).unwrap()
}

fn remote(mirror: &Mirror, local: &str) -> Option<(String, String)> {
    let copy = mirror.covering(&local.parse().unwrap())?;
    Some((copy.upstream.name.clone(), copy.remote.to_string()))
}

#[test]
fn the_longest_prefix_wins_and_whole_components_count() {
    let mirror = mirror();
    let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
    assert_eq!(remote(&mirror, "hub/library/alpine"), pair("hub", "library/alpine"));
    assert_eq!(remote(&mirror, "hub/team/app"), pair("team", "org/app"));
    assert_eq!(remote(&mirror, "hub/team"), pair("hub", "team"));
    for outside in ["hub", "hubris/x", "x/hub/y"] {
        assert_eq!(remote(&mirror, outside), None, "{outside}");
    }
}

#[test]
fn namespaces_are_looked_up_and_never_dialled() {
    let mirror = mirror();
    let ns = |path: &str, query: &str, own: Option<&str>| {
        let operation = Operation::parse("GET", path, Some(query)).unwrap();
        let renamed = mirror.in_namespace(operation, Some(query), own)?;
        Ok::<_, MirrorError>(renamed.repository().map(ToString::to_string))
    };
    let tag = "/v2/library/alpine/manifests/3";
    assert_eq!(ns(tag, "ns=docker.io", None).unwrap().as_deref(), Some("hub/library/alpine"));
    assert_eq!(ns("/v2/org/app/manifests/3", "ns=ghcr.io", None).unwrap().as_deref(), Some("hub/team/app"));
    assert_eq!(ns(tag, "ns=here.x:5000", Some("here.x:5000")).unwrap().as_deref(), Some("library/alpine"));
    assert_eq!(ns(tag, "ns=Here.X:443", Some("here.x")).unwrap().as_deref(), Some("library/alpine"));
    // A name that no upstream has may be one of this registry: an own repository, for which nobody is asked.
    assert_eq!(ns(tag, "ns=169.254.169.254", None).unwrap().as_deref(), Some("library/alpine"));
    // The path is one of this registry already.
    let here = "/v2/hub/library/alpine/manifests/3";
    for name in ["ns=docker.io", "ns=registry.example"] {
        assert_eq!(ns(here, name, None).unwrap().as_deref(), Some("hub/library/alpine"), "{name}");
    }
    assert!(matches!(ns(tag, "ns=ghcr.io", None), Err(MirrorError::NotCovered { .. })));
    // `hub/team/` is another upstream's.
    let below = "/v2/team/app/manifests/3";
    assert!(matches!(ns(below, "ns=docker.io", None), Err(MirrorError::NotCovered { .. })));
    assert_eq!(ns("/v2/team/manifests/3", "ns=docker.io", None).unwrap().as_deref(), Some("hub/team"));
    assert_eq!(ns("/v2/", "ns=docker.io", None).unwrap(), None);
    assert!(matches!(ns("/v2/", "ns=quay.io", None), Err(MirrorError::Namespace { .. })));
}

#[test]
fn hosts_of_images_are_looked_up_as_namespaces_are() {
    let mirror = mirror();
    let named = |host: &str, remote: &str| mirror.named(host, &remote.parse().unwrap());
    let name = |host: &str, remote: &str| named(host, remote).unwrap().to_string();
    for host in ["docker.io", "Docker.IO", "docker.io.", "docker.io:443"] {
        assert_eq!(name(host, "library/alpine"), "hub/library/alpine", "{host}");
    }
    assert_eq!(name("ghcr.io", "org/app"), "hub/team/app");
    for host in ["registry.example.org", "docker.io:5000", "quay.io", "127.0.0.1", ""] {
        assert!(matches!(named(host, "library/alpine"), Err(MirrorError::Namespace { .. })), "{host}");
    }
    for (host, remote) in [("docker.io", "team/app"), ("ghcr.io", "other/app"), ("ghcr.io", "org")] {
        assert!(matches!(named(host, remote), Err(MirrorError::NotCovered { .. })), "{host}/{remote}");
    }
}

#[test]
fn pushes_to_copies_are_refused() {
    let mirror = mirror();
    let judge = |method: &str, path: &str| {
        mirror.refuse_push(&Operation::parse(method, path, None).unwrap()).is_err()
    };
    assert!(judge("PUT", "/v2/hub/a/manifests/t") && judge("POST", "/v2/hub/a/blobs/uploads/"));
    assert!(!judge("PUT", "/v2/mine/a/manifests/t") && !judge("GET", "/v2/hub/a/manifests/t"));
    assert!(!judge("DELETE", "/v2/hub/a/manifests/t"), "deleting a copy evicts it");
}

#[test]
fn rules() {
    let mirror = mirror();
    let permitted = |local: &str| {
        let copy = mirror.covering(&local.parse().unwrap()).unwrap();
        copy.upstream.permits(&copy.remote).is_ok()
    };
    assert!(permitted("hub/open/a") && !permitted("hub/secret/a"));
}

#[test]
fn a_token_service_speaks_for_the_account() {
    let extent = |status, seconds: Option<u64>| {
        let (realm, retry_after) = ("auth.example".into(), seconds.map(std::time::Duration::from_secs));
        let refused = rreg_client::AuthError::Refused { realm, status, text: String::new(), retry_after };
        let error = ClientError {
            operation: "tag_list",
            host: "r.example".into(),
            repository: None,
            doing: "listing the tags of",
            part: None,
            address: None,
            elsewhere: false,
            of_a_cache: false,
            kind: Box::new(rreg_client::ErrorKind::Auth(refused)),
        };
        MirrorError::Upstream { upstream: "up".into(), error: Box::new(error) }.extent()
    };
    assert_eq!(extent(429, Some(60)), Some(super::breaker::Extent::Account));
    assert_eq!(extent(429, None), Some(super::breaker::Extent::Repository));
    assert_eq!(extent(403, Some(60)), None);
}
