//! Values that must not reach logs, errors or the printed configuration.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use url::Url;

/// What stands where a secret would.
pub(crate) const MASK: &str = "********";

/// A secret text. Only [`Secret::expose`] gives it away; `Debug` and `Display` print eight asterisks.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one call that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// Where the metadata is. `Debug` and `Display` mask the password, wherever in the URL it stands.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A `postgres://` URL, already known to parse and to name a database.
    Postgres(Secret),
}

impl DatabaseUrl {
    pub(crate) const ALLOWED: &'static str =
        "sqlite:PATH, or postgres://USER:PASSWORD@HOST:PORT/DATABASE with optional ?parameters";
}

impl FromStr for DatabaseUrl {
    type Err = String;

    /// The error never contains the text, which may hold a password.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(rest) = text.strip_prefix("sqlite:") {
            // As others write it: `sqlite:a/b`, `sqlite://a/b` (relative too) and `sqlite:///a/b`.
            let path = rest.strip_prefix("//").unwrap_or(rest);
            return match path {
                "" => Err("names no file".into()),
                path if path.contains('?') => Err("has parameters, which sqlite: does not take here".into()),
                path => Ok(Self::Sqlite(path.into())),
            };
        }
        let url = Url::parse(text).map_err(|e| format!("is not a URL: {e}"))?;
        match url.scheme() {
            "postgres" | "postgresql" if url.path().len() > 1 => Ok(Self::Postgres(Secret::new(text))),
            "postgres" | "postgresql" => Err("names no database".into()),
            _ => Err("has a scheme that is neither sqlite nor postgres".into()),
        }
    }
}

/// A text for printing, without what may be a secret in it where it is a URL, or was meant to be one: a user's name and
/// password before the host, and parameters.
pub(crate) fn printable(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    // Up to the last one: what is written wrongly is shown in errors as well.
    let rest = match rest.rsplit_once('@') {
        Some((user, host)) if !scheme.is_empty() || user.contains(':') => format!("{MASK}@{host}"),
        _ => rest.to_owned(),
    };
    match rest.split_once('?') {
        Some((address, _)) if !scheme.is_empty() => format!("{scheme}{address}?{MASK}"),
        _ => format!("{scheme}{rest}"),
    }
}

/// Whether a URL has neither a user, nor a password, nor parameters.
pub(crate) fn is_without_secrets(url: &Url) -> bool {
    url.username().is_empty() && url.password().is_none() && url.query().is_none()
}

/// A URL with its password, in authority or parameters, masked.
fn masked(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return MASK.to_owned() };
    if url.password().is_some() {
        // Fails only for URLs without a host, and those have no password.
        let _ = url.set_password(Some(MASK));
    }
    if let Some(query) = url.query() {
        let pairs: Vec<String> = query.split('&').map(mask_parameter).collect();
        url.set_query(Some(&pairs.join("&")));
    }
    url.into()
}

fn mask_parameter(pair: &str) -> String {
    match pair.split_once('=') {
        Some((key, _)) if key.to_ascii_lowercase().contains("password") => format!("{key}={MASK}"),
        _ => pair.to_owned(),
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => f.write_str(&masked(url.expose())),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn urls_are_printed_without_secrets() {
        for (text, printed) in [
            ("https://h.example:9000/a", "https://h.example:9000/a"),
            ("http://ak:hunter2@127.0.0.1:1", "http://********@127.0.0.1:1"),
            ("https://hunter2@h", "https://********@h"),
            ("http://ak:hun/ter2@x?y@h/p", "http://********@h/p"),
            ("ak:hunter2@h", "********@h"),
            ("https://h/?token=hunter2", "https://h/?********"),
            ("robot@example.org", "robot@example.org"),
            ("what?", "what?"),
        ] {
            assert_eq!(printable(text), printed);
        }
    }
}
