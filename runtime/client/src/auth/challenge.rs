//! `WWW-Authenticate`, parsed (RFC 9110, 11.6.1): several challenges may share one header.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// The challenge that this client answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and password with each request.
    Basic,
    /// A token from `realm`.
    Bearer {
        /// URL of the token endpoint.
        realm: String,
        /// Whom the token is for.
        service: Option<String>,
        /// What the registry wants it to allow, space-separated.
        scope: Option<String>,
    },
}

impl Challenge {
    /// The best challenge of a 401 answer: Bearer before Basic. `None` when there is none that we know.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let parsed = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(parse)
            .collect::<Vec<_>>();
        let bearer = parsed.iter().find(|c| c.is("bearer") && c.get("realm").is_some());
        if let Some(found) = bearer {
            return Some(Self::Bearer {
                realm: found.get("realm")?.to_owned(),
                service: found.get("service").map(str::to_owned),
                scope: found.get("scope").map(str::to_owned),
            });
        }
        parsed.iter().any(|c| c.is("basic")).then_some(Self::Basic)
    }
}

/// One scheme with its parameters, names in lower case.
struct Raw {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Raw {
    fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.as_str())
    }
}

/// Reads leniently: what cannot be understood ends the parse and what came before stands.
fn parse(header: &str) -> Vec<Raw> {
    let mut found: Vec<Raw> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (token, after) = token(rest);
        if token.is_empty() {
            return found;
        }
        let value = after.trim_start_matches([' ', '\t']);
        match (value.strip_prefix('='), found.last_mut()) {
            // `name = value` belongs to the scheme before it.
            (Some(value), Some(current)) if !value.starts_with('=') => {
                let (text, after) = parameter(value.trim_start_matches([' ', '\t']));
                current.parameters.push((token.to_ascii_lowercase(), text));
                rest = after;
            }
            (Some(_), _) => return found,
            (None, _) => {
                found.push(Raw { scheme: token.to_owned(), parameters: Vec::new() });
                rest = after;
            }
        }
    }
}

fn token(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)));
    text.split_at(end.unwrap_or(text.len()))
}

/// A quoted string or a bare value. A quoted string without an end runs to the end of the header.
fn parameter(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_at(text.find([',', ' ', '\t']).unwrap_or(text.len()));
        return (value.to_owned(), rest);
    };
    let (mut value, mut chars) = (String::new(), quoted.chars());
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => value.extend(chars.next()),
            c => value.push(c),
        }
    }
    (value, chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        Challenge::from_headers(&headers)
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        let own = |s: Option<&str>| s.map(str::to_owned);
        Some(Challenge::Bearer { realm: realm.into(), service: own(service), scope: own(scope) })
    }

    #[test]
    fn shapes() {
        assert_eq!(
            of(&[r#"Bearer realm="https://a.x/token",service="r.x",scope="repository:a/b:pull,push""#]),
            bearer("https://a.x/token", Some("r.x"), Some("repository:a/b:pull,push"))
        );
        assert_eq!(of(&[r#"bearer Realm = "r\"q" , service=bare"#]), bearer("r\"q", Some("bare"), None));
        assert_eq!(of(&[r#"Basic realm="x, Bearer realm=y""#]), Some(Challenge::Basic));
        assert_eq!(of(&[r#"Basic realm="x", Bearer realm="y""#]), bearer("y", None, None));
        assert_eq!(of(&["Basic", r#"Bearer realm="y""#]), bearer("y", None, None));
        assert_eq!(of(&["Basic realm="]), Some(Challenge::Basic));
        assert_eq!(of(&["Negotiate abc==", r#"Basic realm="z""#]), Some(Challenge::Basic));
    }

    #[test]
    fn nothing_usable() {
        for bad in ["", ",,", "=", "Bearer", "Bearer realm", "Digest realm=\"x\"", "\"", "Bearer realm=\"\""]
        {
            assert_eq!(of(&[bad]), None, "{bad:?}");
        }
        assert_eq!(of(&[]), None);
    }
}
