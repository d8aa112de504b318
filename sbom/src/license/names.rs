//! Licences by the names that people give them, and by their addresses.

/// Words that say nothing about which licence it is.
const NOISE: [&str; 18] = [
    "the",
    "license",
    "licence",
    "licenses",
    "licensed",
    "under",
    "version",
    "ver",
    "v",
    "software",
    "osi",
    "approved",
    "foundation",
    "agreement",
    "terms",
    "of",
    "a",
    "style",
];

/// Names without noise, versions without `.0` at their end; ordered.
const NAMES: [(&str, &str); 118] = [
    ("0bsd", "0BSD"),
    ("2 clause bsd", "BSD-2-Clause"),
    ("3 clause bsd", "BSD-3-Clause"),
    ("4 clause bsd", "BSD-4-Clause"),
    ("al 2", "Apache-2.0"),
    ("apache", "Apache-2.0"),
    ("apache 1.1", "Apache-1.1"),
    ("apache 2", "Apache-2.0"),
    ("apache 2 asl", "Apache-2.0"),
    ("apache asl 2", "Apache-2.0"),
    ("apache2", "Apache-2.0"),
    ("artistic", "Artistic-1.0"),
    ("artistic 1", "Artistic-1.0"),
    ("artistic 2", "Artistic-2.0"),
    ("asf 2", "Apache-2.0"),
    ("asl 1.1", "Apache-1.1"),
    ("asl 2", "Apache-2.0"),
    ("asl2", "Apache-2.0"),
    ("blueoak 1", "BlueOak-1.0.0"),
    ("boost", "BSL-1.0"),
    ("boost 1", "BSL-1.0"),
    ("bsd 2", "BSD-2-Clause"),
    ("bsd 2 clause", "BSD-2-Clause"),
    ("bsd 3", "BSD-3-Clause"),
    ("bsd 3 clause", "BSD-3-Clause"),
    ("bsd 4 clause", "BSD-4-Clause"),
    ("bsd new", "BSD-3-Clause"),
    ("bsd zero clause", "0BSD"),
    ("bsd2", "BSD-2-Clause"),
    ("bsd3", "BSD-3-Clause"),
    ("bsl 1", "BSL-1.0"),
    ("business source 1.1", "BUSL-1.1"),
    ("busl 1.1", "BUSL-1.1"),
    ("bzip2", "bzip2-1.0.6"),
    ("cc0", "CC0-1.0"),
    ("cc0 1", "CC0-1.0"),
    ("cc0 1 universal", "CC0-1.0"),
    ("cc0 1 universal cc0 1 public domain dedication", "CC0-1.0"),
    ("cddl", "CDDL-1.0"),
    ("cddl 1", "CDDL-1.0"),
    ("cddl 1.1", "CDDL-1.1"),
    ("common development and distribution 1", "CDDL-1.0"),
    ("common development and distribution 1.1", "CDDL-1.1"),
    ("common development and distribution cddl 1", "CDDL-1.0"),
    ("common development and distribution cddl 1.1", "CDDL-1.1"),
    ("common public 1", "CPL-1.0"),
    ("cpl 1", "CPL-1.0"),
    ("curl", "curl"),
    ("eclipse distribution 1", "BSD-3-Clause"),
    ("eclipse public 1", "EPL-1.0"),
    ("eclipse public 1 epl 1", "EPL-1.0"),
    ("eclipse public 2", "EPL-2.0"),
    ("eclipse public 2 epl 2", "EPL-2.0"),
    ("eclipse public epl 1", "EPL-1.0"),
    ("eclipse public epl 2", "EPL-2.0"),
    ("edl 1", "BSD-3-Clause"),
    ("edl v10", "BSD-3-Clause"),
    ("elastic 2", "Elastic-2.0"),
    ("epl 1", "EPL-1.0"),
    ("epl 2", "EPL-2.0"),
    ("epl v10", "EPL-1.0"),
    ("epl v20", "EPL-2.0"),
    ("eupl 1.1", "EUPL-1.1"),
    ("eupl 1.2", "EUPL-1.2"),
    ("european union public 1.2", "EUPL-1.2"),
    ("european union public 1.2 eupl 1.2", "EUPL-1.2"),
    ("expat", "MIT"),
    ("expat mit", "MIT"),
    ("historical permission notice and disclaimer hpnd", "HPND"),
    ("hpnd", "HPND"),
    ("isc", "ISC"),
    ("isc iscl", "ISC"),
    ("mit", "MIT"),
    ("mit 0", "MIT-0"),
    ("mit expat", "MIT"),
    ("mit no attribution", "MIT-0"),
    ("mit x11", "MIT"),
    ("modified bsd", "BSD-3-Clause"),
    ("mozilla public 1.1", "MPL-1.1"),
    ("mozilla public 1.1 mpl 1.1", "MPL-1.1"),
    ("mozilla public 2", "MPL-2.0"),
    ("mozilla public 2 mpl 2", "MPL-2.0"),
    ("mpl 1.1", "MPL-1.1"),
    ("mpl 2", "MPL-2.0"),
    ("mplv2", "MPL-2.0"),
    ("ncsa", "NCSA"),
    ("new bsd", "BSD-3-Clause"),
    ("ofl 1.1", "OFL-1.1"),
    ("openssl", "OpenSSL"),
    ("postgresql", "PostgreSQL"),
    ("psf", "PSF-2.0"),
    ("psf 2", "PSF-2.0"),
    ("psfl", "PSF-2.0"),
    ("python", "PSF-2.0"),
    ("revised bsd", "BSD-3-Clause"),
    ("ruby", "Ruby"),
    ("server side public", "SSPL-1.0"),
    ("server side public 1", "SSPL-1.0"),
    ("sil open font 1.1", "OFL-1.1"),
    ("sil open font 1.1 ofl 1.1", "OFL-1.1"),
    ("simplified bsd", "BSD-2-Clause"),
    ("sspl", "SSPL-1.0"),
    ("sspl 1", "SSPL-1.0"),
    ("universal permissive 1", "UPL-1.0"),
    ("university of illinois ncsa open source", "NCSA"),
    ("unlicense", "Unlicense"),
    ("unlicense unlicense", "Unlicense"),
    ("upl 1", "UPL-1.0"),
    ("vim", "Vim"),
    ("wtfpl", "WTFPL"),
    ("x11", "X11"),
    ("zero 1", "CC0-1.0"),
    ("zero clause bsd", "0BSD"),
    ("zlib", "Zlib"),
    ("zlib libpng", "Zlib"),
    ("zope public", "ZPL-2.1"),
    ("zope public 2.1", "ZPL-2.1"),
    ("zpl 2.1", "ZPL-2.1"),
];

/// The identifier of a name.
pub(super) fn name(text: &str) -> Option<&'static str> {
    let lower = text.to_lowercase();
    // What is only in the style of a licence is not known to be it.
    if lower.contains("style") || lower.contains("-like") {
        return None;
    }
    let split = |c: char| !c.is_alphanumeric() && c != '.';
    let words = lower.split(split).map(|word| {
        let word = word.trim_matches('.');
        let number = word.strip_prefix('v').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        let word = number.filter(|number| number.contains('.') || number.len() == 1).unwrap_or(word);
        let zero = word.strip_suffix(".0").filter(|rest| rest.chars().all(|c| c.is_ascii_digit()));
        zero.unwrap_or(word)
    });
    let words: Vec<&str> = words.filter(|word| !word.is_empty() && !NOISE.contains(word)).collect();
    let key = words.join(" ");
    let at = NAMES.binary_search_by(|(known, _)| (*known).cmp(&key)).ok()?;
    NAMES.get(at).map(|(_, identifier)| *identifier)
}

/// An address without its scheme.
pub(super) fn address(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let rest = lower.strip_prefix("https://").or_else(|| lower.strip_prefix("http://"))?;
    Some(rest.trim_end_matches('/').to_owned())
}

/// The identifier of what an address leads to, by the end of its path: `apache.org/licenses/LICENSE-2.0.txt`.
pub(super) fn of_address(address: &str) -> Option<String> {
    let path = address.split(['?', '#']).next().unwrap_or(address);
    let endings = [".txt", ".html", ".htm", ".php", ".md", ".pdf"];
    let path = endings.iter().find_map(|ending| path.strip_suffix(ending)).unwrap_or(path);
    let mut parts = path.rsplit('/');
    let (last, before) = (parts.next()?, parts.next().unwrap_or_default());
    if path.contains("apache.org/") && last.starts_with("license") {
        return name(&format!("apache {last}")).map(str::to_owned);
    }
    let found = |text: &str| super::gnu::name(text).or_else(|| name(text).map(str::to_owned));
    let bare = last.strip_suffix("-license").unwrap_or(last);
    found(bare).or_else(|| found(&format!("{before} {last}")))
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_ordered() {
        assert!(super::NAMES.is_sorted());
    }
}
