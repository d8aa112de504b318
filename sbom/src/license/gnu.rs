//! GNU's licences: a family, a version, and whether later ones are meant, in any of the ways that people write them.

/// Words that such a name is made of; any other makes it something else.
const WORDS: [&str; 36] = [
    "gnu",
    "affero",
    "lesser",
    "library",
    "general",
    "public",
    "license",
    "licence",
    "v",
    "ver",
    "version",
    "versions",
    "or",
    "later",
    "any",
    "newer",
    "above",
    "higher",
    "greater",
    "only",
    "the",
    "gpl",
    "lgpl",
    "agpl",
    "of",
    "at",
    "your",
    "option",
    "osi",
    "approved",
    "under",
    "terms",
    "and",
    "as",
    "published",
    "license.",
];

/// Which licence is meant where a name says no version, as SPDX's list has it: GNU's own rule is any that was ever
/// published. Affero's before 3 was not GNU's.
const ANY: [(&str, &str); 3] = [("AGPL", "3.0"), ("LGPL", "2.0"), ("GPL", "1.0")];

/// The identifier of a name that means one licence: `GNU General Public License v2 or later (GPLv2+)`.
pub(super) fn name(text: &str) -> Option<String> {
    let lower = text.to_lowercase();
    let mut said = Said::default();
    let split = |c: char| c.is_whitespace() || ['-', '_', ',', '(', ')', '"', '\'', ':', '/'].contains(&c);
    for token in lower.split(split).filter(|token| !token.is_empty()) {
        said.hear(token)?;
    }
    let family = said.family()?;
    Some(identifier(family, said.version.as_deref(), said.later))
}

/// `AGPL`, `3`, later → `AGPL-3.0-or-later`.
pub(super) fn identifier(family: &str, version: Option<&str>, later: bool) -> String {
    let any = || ANY.iter().find(|(known, _)| *known == family).map_or("1.0", |(_, version)| *version);
    let version = version
        .map(|version| if version.contains('.') { version.to_owned() } else { format!("{version}.0") });
    let later = later || version.is_none();
    let version = version.unwrap_or_else(|| any().to_owned());
    identifier_of(family, &version, later)
}

/// Exceptions that once were parts of identifiers, and theirs now.
const EXCEPTIONS: [(&str, &str); 5] = [
    ("-with-gcc-exception", "GCC-exception-2.0"),
    ("-with-classpath-exception", "Classpath-exception-2.0"),
    ("-with-autoconf-exception", "Autoconf-exception-2.0"),
    ("-with-bison-exception", "Bison-exception-2.2"),
    ("-with-font-exception", "Font-exception-2.0"),
];

/// An expression with the identifiers that SPDX has given up in the words that it has now: `GPL-2.0+` is
/// `GPL-2.0-or-later`.
pub(super) fn current(expression: &str) -> String {
    let words = expression.split(' ').map(|word| {
        let inner = word.trim_start_matches('(').trim_end_matches(')');
        given_up(inner).map_or_else(|| word.to_owned(), |now| word.replace(inner, &now))
    });
    words.collect::<Vec<_>>().join(" ")
}

fn given_up(identifier: &str) -> Option<String> {
    let lower = identifier.to_ascii_lowercase();
    let with = EXCEPTIONS.iter().find_map(|(old, now)| Some((lower.strip_suffix(old)?, *now)));
    let (bare, exception) = with.map_or((lower.as_str(), None), |(bare, exception)| (bare, Some(exception)));
    let (bare, later) = bare.strip_suffix('+').map_or((bare, false), |bare| (bare, true));
    let (family, version) = bare.split_once('-')?;
    let family =
        ["AGPL", "LGPL", "GPL", "GFDL"].into_iter().find(|known| known.eq_ignore_ascii_case(family))?;
    let is_version =
        version.split('.').count() == 2 && version.chars().all(|c| c.is_ascii_digit() || c == '.');
    let exception = exception.map(|exception| match (exception, version) {
        ("GCC-exception-2.0", "3.0") => "GCC-exception-3.1",
        ("Autoconf-exception-2.0", "3.0") => "Autoconf-exception-3.0",
        _ => exception,
    });
    let now = is_version.then(|| identifier_of(family, version, later))?;
    Some(exception.map_or(now.clone(), |exception| format!("{now} WITH {exception}")))
}

fn identifier_of(family: &str, version: &str, later: bool) -> String {
    format!("{family}-{version}-{}", if later { "or-later" } else { "only" })
}

#[derive(Default)]
struct Said {
    affero: bool,
    lesser: bool,
    gpl: bool,
    public: bool,
    version: Option<String>,
    later: bool,
}

impl Said {
    /// `None` for a word that has no place in such a name.
    fn hear(&mut self, token: &str) -> Option<()> {
        let bare = token.trim_end_matches(['+', '.']);
        self.later |= token.ends_with('+');
        let digit = bare.find(|c: char| c.is_ascii_digit()).unwrap_or(bare.len());
        let (letters, version) = bare.split_at(digit);
        if !version.is_empty() {
            self.version(version)?;
        }
        let letters = if version.is_empty() { letters } else { letters.trim_end_matches('v') };
        match letters {
            "affero" | "agpl" => self.affero = true,
            "lesser" | "library" | "lgpl" => self.lesser = true,
            "gpl" => self.gpl = true,
            "public" => self.public = true,
            "later" | "newer" | "above" | "higher" | "greater" => self.later = true,
            // `GPLv3+` may have lost its number: `agplv`.
            "" => {}
            other => return WORDS.contains(&other).then_some(()),
        }
        self.gpl |= ["agpl", "lgpl"].contains(&letters);
        Some(())
    }

    /// Two versions are two licences.
    fn version(&mut self, text: &str) -> Option<()> {
        if !text.chars().all(|c| c.is_ascii_digit() || c == '.') || text.len() > 3 {
            return None;
        }
        let text = text.strip_suffix(".0").unwrap_or(text);
        match &self.version {
            Some(known) if known != text => None,
            _ => {
                self.version = Some(text.to_owned());
                Some(())
            }
        }
    }

    fn family(&self) -> Option<&'static str> {
        match (self.affero, self.lesser, self.gpl || self.public) {
            (true, false, true) => Some("AGPL"),
            (false, true, true) => Some("LGPL"),
            (false, false, true) if self.gpl || self.public => Some("GPL"),
            _ => None,
        }
    }
}
