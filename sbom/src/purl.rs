//! Package URLs (package-url/purl-spec: PURL-SPECIFICATION.rst and PURL-TYPES.rst).

use crate::catalog::os_release::OsRelease;
use crate::package::{Ecosystem, Package};

/// The URL of a package in an image of that distribution.
pub(crate) fn of(package: &Package, os: Option<&OsRelease>) -> String {
    let mut url = format!("pkg:{}/", package.ecosystem.purl_type());
    for part in namespace(package, os) {
        encode(&part, &mut url);
        url.push('/');
    }
    encode(&name(package), &mut url);
    if let Some(version) = &package.version {
        url.push('@');
        encode(version, &mut url);
    }
    let mut mark = '?';
    for (key, value) in qualifiers(package, os) {
        url.push(mark);
        url.push_str(key);
        url.push('=');
        encode(&value, &mut url);
        mark = '&';
    }
    url
}

fn namespace(package: &Package, os: Option<&OsRelease>) -> Vec<String> {
    let own = package.namespace.as_deref();
    match package.ecosystem {
        Ecosystem::Deb | Ecosystem::Apk | Ecosystem::Rpm => {
            os.map(|os| os.id.to_lowercase()).filter(|id| !id.is_empty()).into_iter().collect()
        }
        Ecosystem::Npm => own.map(|scope| format!("@{}", scope.to_lowercase())).into_iter().collect(),
        // A group is required; archives without one are known by their name, as repositories of old have them.
        Ecosystem::Maven => vec![own.unwrap_or(&package.name).to_owned()],
        Ecosystem::Golang => {
            let path = package.name.to_lowercase();
            let parts = path.rsplit_once('/').map_or("", |(parents, _)| parents).split('/');
            parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
        }
        Ecosystem::Pypi | Ecosystem::Cargo => Vec::new(),
    }
}

fn name(package: &Package) -> String {
    match package.ecosystem {
        Ecosystem::Deb | Ecosystem::Apk | Ecosystem::Npm => package.name.to_lowercase(),
        Ecosystem::Pypi => package.name.to_lowercase().replace('_', "-"),
        Ecosystem::Golang => package.name.rsplit('/').next().unwrap_or_default().to_lowercase(),
        Ecosystem::Rpm | Ecosystem::Cargo | Ecosystem::Maven => package.name.clone(),
    }
}

/// In the order of their keys, as the canonical form wants them.
fn qualifiers(package: &Package, os: Option<&OsRelease>) -> Vec<(&'static str, String)> {
    if !package.ecosystem.is_distro() {
        return Vec::new();
    }
    let mut found = Vec::new();
    found.extend(package.architecture.clone().map(|arch| ("arch", arch)));
    found.extend(os.and_then(OsRelease::distro).map(|distro| ("distro", distro)));
    found.extend(package.epoch.map(|epoch| ("epoch", epoch.to_string())));
    found.extend(package.source.as_ref().map(|source| {
        let version = source.version.as_deref().map(|v| format!("@{v}")).unwrap_or_default();
        ("upstream", format!("{}{version}", source.name))
    }));
    found
}

/// Percent-encodes all but unreserved characters and the colon.
fn encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                into.push(byte.into());
            }
            _ => into.push_str(&format!("%{byte:02X}")),
        }
    }
}
