//! What odd upstreams do, and what is to become of it.

use std::io::Write as _;

use super::matrix::{Asked, Plain};

/// What is to be answered.
pub(super) enum Want {
    /// What the upstream has.
    Right,
    /// An error that says this of the upstream: `absent`, `refused`, `unreachable` or `odd`.
    Says(&'static str),
    /// An empty list, which is what the upstream says.
    Nothing,
}

/// An odd upstream.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) change: fn(&Asked, &mut Plain),
    /// What is not answered right: of `manifest`, `length` (HEAD of a blob), `blob`, `tags` and `referrers`.
    pub(super) wants: &'static [(&'static str, Want)],
}

const fn case(
    name: &'static str,
    change: fn(&Asked, &mut Plain),
    wants: &'static [(&'static str, Want)],
) -> Case {
    Case { name, change, wants }
}

const ODD: Want = Want::Says("odd");
const ALL_ODD: &[(&str, Want)] =
    &[("manifest", ODD), ("length", ODD), ("blob", ODD), ("tags", ODD), ("referrers", ODD)];

fn text(plain: &Plain) -> String {
    String::from_utf8(plain.body.clone()).unwrap()
}

fn zip(plain: &mut Plain) {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&plain.body).unwrap();
    plain.body = packed.finish().unwrap();
    plain.set("content-encoding", "gzip");
}

fn tags(asked: &Asked, plain: &mut Plain, list: &str) {
    if asked.is("tags") {
        plain.body = format!(r#"{{"name":"library/app","tags":{list}}}"#).into();
    }
}

/// Two pages, the second of which the link leads to.
fn pages(asked: &Asked, plain: &mut Plain, link: &str) {
    if asked.target.contains("last=1") {
        tags(asked, plain, r#"["2"]"#);
    } else if asked.is("tags") {
        tags(asked, plain, r#"["1"]"#);
        plain.set("link", link);
    }
}

fn of_head(asked: &Asked, plain: &mut Plain, status: u16) {
    if asked.is_head() {
        plain.be(status, "text/plain", "no");
    }
}

/// A token that is good for one answer about a blob, which breaks off half-way the first time.
fn short_lived_token(asked: &Asked, plain: &mut Plain) {
    if asked.target.starts_with("/token") {
        plain.be(200, "application/json", &format!(r#"{{"token":"t{}","expires_in":3600}}"#, asked.nth));
        return;
    }
    let is_blob = asked.is("blobs") && !asked.is_head();
    let token = if is_blob { "Bearer t" } else { "Bearer " };
    let is_old = is_blob && asked.nth > 2 && asked.head.contains("Bearer t1");
    let head = asked.head.to_lowercase();
    if !head.contains(&format!("authorization: {}", token.to_lowercase())) || is_old {
        plain.be(401, "text/plain", "who?");
        plain.set("www-authenticate", format!("Bearer realm=\"http://{}/token\"", asked.host));
    } else if is_blob {
        let half = asked.blob.len() / 2;
        if head.contains("\r\nrange: bytes=0-0") {
            return;
        }
        match head.contains("\r\nrange: ") {
            true => {
                let length = asked.blob.len();
                plain.status(206);
                plain.set("content-range", format!("bytes {half}-{}/{length}", length - 1));
                plain.body = asked.blob[half..].to_vec();
            }
            false => plain.cut = Some(half),
        }
    }
}

/// Blobs are in a store, whose addresses are old the first time.
fn old_signature(asked: &Asked, plain: &mut Plain) {
    if asked.is("blobs") && asked.target.starts_with("/v2/") {
        plain.be(307, "text/plain", "");
        let to = asked.target.replace("/v2/", "/store/");
        plain.set("location", format!("{to}?signature={}", asked.nth));
    } else if asked.target.starts_with("/store/") && asked.target.ends_with("signature=1") {
        plain.be(403, "application/xml", "<Error><Code>AccessDenied</Code></Error>");
    }
}

fn moved(asked: &Asked, plain: &mut Plain) {
    if asked.target.starts_with("/v2/") && asked.is("manifests") {
        plain.be(302, "text/html", "<a>");
        plain.set("location", asked.target.replace("/v2/", "/moved/"));
    }
}

const LOGIN: &str = "<!DOCTYPE html><html><form>Log in</form></html>";

pub(super) const CASES: &[Case] = &[
    case("as-it-should-be", |_, _| (), &[]),
    case("head-without-length", |asked, plain| plain.is_open = asked.is_head(), &[]),
    case("no-digest", |_, plain| plain.headers.retain(|(name, _)| *name != "docker-content-digest"), &[]),
    case(
        "head-206",
        |asked, plain| {
            if asked.is_head() {
                plain.status(206)
            }
        },
        &[],
    ),
    case("head-401", |asked, plain| of_head(asked, plain, 401), &[]),
    case("head-403", |asked, plain| of_head(asked, plain, 403), &[]),
    case("head-405", |asked, plain| of_head(asked, plain, 405), &[]),
    case("head-501", |asked, plain| of_head(asked, plain, 501), &[]),
    case("plain-type", |_, plain| plain.set("content-type", "application/json"), &[]),
    case("no-type", |_, plain| plain.headers.retain(|(name, _)| *name != "content-type"), &[]),
    case(
        "charset",
        |_, plain| {
            let kind = plain.headers.iter().find(|(name, _)| *name == "content-type").unwrap().1.clone();
            plain.set("content-type", format!("{kind}; charset=utf-8"));
        },
        &[],
    ),
    case("gzip-in-name", |_, plain| plain.set("content-encoding", "gzip"), &[]),
    case("gzip", |_, plain| zip(plain), ALL_ODD),
    case("redirected-manifests", moved, &[]),
    case(
        "choices",
        |asked, plain| {
            if asked.is("manifests") {
                plain.be(300, "text/html", "<a>")
            }
        },
        &[("manifest", ODD)],
    ),
    case("token-ends", short_lived_token, &[]),
    case("old-signature", old_signature, &[]),
    case("link-relative", |asked, plain| pages(asked, plain, "<?n=1&last=1>; rel=\"next\""), &[]),
    case(
        "link-absolute",
        |asked, plain| {
            let link = format!("<http://{}/v2/library/app/tags/list?last=1>;rel=next", asked.host);
            pages(asked, plain, &link);
        },
        &[],
    ),
    case("link-quotes", |asked, plain| pages(asked, plain, "<?last=1>; rel='next'"), &[]),
    case("link-names", |asked, plain| pages(asked, plain, "<?last=1>; Rel = \"Next last\"; n=1"), &[]),
    case(
        "link-loops",
        |asked, plain| {
            tags(asked, plain, r#"["1"]"#);
            plain.set("link", format!("<{}>; rel=\"next\"", asked.target));
        },
        &[("tags", ODD), ("referrers", ODD)],
    ),
    case("tags-twice", |asked, plain| tags(asked, plain, r#"["2","1","2","1"]"#), &[]),
    case("tags-null", |asked, plain| tags(asked, plain, "null"), &[("tags", Want::Nothing)]),
    case("tag-null", |asked, plain| tags(asked, plain, r#"["1",null]"#), &[("tags", ODD)]),
    case(
        "referrers-null",
        |asked, plain| {
            if asked.is("referrers") {
                plain.body = br#"{"schemaVersion":2,"manifests":null}"#.to_vec();
            }
        },
        &[("referrers", Want::Nothing)],
    ),
    case(
        "unknown-fields",
        |asked, plain| {
            if asked.is("tags") || asked.is("referrers") {
                plain.body = text(plain).replacen('{', r#"{"more":[{"x":1}],"#, 1).into();
            }
        },
        &[],
    ),
    case(
        "not-found-pages",
        |_, plain| plain.be(404, "text/html", LOGIN),
        &[
            ("manifest", Want::Says("absent")),
            ("length", Want::Says("absent")),
            ("blob", Want::Says("absent")),
            ("tags", Want::Says("absent")),
            ("referrers", Want::Nothing),
        ],
    ),
    case("login-page", |_, plain| plain.be(200, "text/html; charset=utf-8", LOGIN), ALL_ODD),
    case("empty", |_, plain| plain.body.clear(), ALL_ODD),
    case(
        "schema1",
        |asked, plain| {
            if asked.is("manifests") {
                let kind = "application/vnd.docker.distribution.manifest.v1+prettyjws";
                plain.be(200, kind, r#"{"schemaVersion":1,"name":"library/app","tag":"1","fsLayers":[]}"#);
            }
        },
        &[("manifest", ODD)],
    ),
    case(
        "digest-in-capitals",
        |_, plain| {
            plain
                .headers
                .iter_mut()
                .filter(|(name, _)| *name == "docker-content-digest")
                .for_each(|(_, value)| *value = value.to_uppercase());
        },
        &[("manifest", ODD)],
    ),
    case(
        "digest-of-sha512",
        |asked, plain| {
            if asked.is("manifests") {
                let digest = rreg_oci::Digest::of(rreg_oci::Algorithm::Sha512, &plain.body);
                plain.set("docker-content-digest", digest.to_string());
            }
        },
        &[],
    ),
    case(
        "http-1.0",
        |_, plain| {
            plain.line = plain.line.replace("1.1", "1.0");
            plain.is_open = true;
        },
        &[],
    ),
    case(
        "chunks-without-end",
        |asked, plain| {
            if !asked.is_head() {
                plain.set("transfer-encoding", "chunked");
                let mut body = format!("{:x}\r\n", plain.body.len()).into_bytes();
                body.extend_from_slice(&plain.body);
                plain.body = body;
            }
        },
        &[
            ("manifest", Want::Says("unreachable")),
            ("tags", Want::Says("unreachable")),
            ("referrers", Want::Says("unreachable")),
        ],
    ),
    case(
        "odd-dates",
        |_, plain| {
            plain.set("date", "yesterday");
            plain.set("age", "-99999999999999999999");
            plain.set("expires", "0");
        },
        &[],
    ),
];
