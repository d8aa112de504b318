//! `WWW-Authenticate`: what a 401 tells the client to do (RFC 6750, section 3, and Docker's token flow).

use http::header::HOST;
use http::{HeaderMap, Uri};
use rreg_auth::{Action, Actions, Scope};
use rreg_oci::{Operation, UploadStart};

/// How this registry presents itself.
pub(super) struct Challenge {
    /// `auth.url`, without a slash at the end.
    pub(super) url: Option<String>,
    /// Whom tokens are for.
    pub(super) service: String,
}

impl Challenge {
    /// The header's value: where to get a token, and for what. `error` is of RFC 6750, section 3.1.
    pub(super) fn header(
        &self,
        (uri, headers, tls): (&Uri, &HeaderMap, bool),
        scopes: &[Scope],
        error: Option<&str>,
    ) -> String {
        let mut text = format!(
            "Bearer realm=\"{}/v2/token\",service=\"{}\"",
            self.base(uri, headers, tls),
            self.service
        );
        if !scopes.is_empty() {
            text.push_str(&format!(",scope=\"{}\"", Scope::render_list(scopes)));
        }
        if let Some(error) = error {
            text.push_str(&format!(",error=\"{error}\""));
        }
        text
    }

    /// Where the client has found us, without a slash at the end; in its own words where the configuration does not say,
    /// by https where its connection is encrypted.
    pub(super) fn base(&self, uri: &Uri, headers: &HeaderMap, tls: bool) -> String {
        if let Some(url) = &self.url {
            return url.clone();
        }
        let scheme = if tls { "https" } else { "http" };
        let host = uri.authority().map(|authority| authority.as_str());
        let host =
            host.or_else(|| headers.get(HOST).and_then(|value| value.to_str().ok())).unwrap_or_default();
        // A client that lies about the host misleads nobody but itself, but the header must stay one.
        let clean = |c: u8| c.is_ascii_alphanumeric() || b".-:[]_".contains(&c);
        format!("{scheme}://{}", if host.bytes().all(clean) { host } else { "" })
    }
}

/// What a token must be for to do `operation`: one scope, and a second one for what a mount reads.
pub(super) fn scopes_of(operation: &Operation) -> Vec<Scope> {
    let action = Action::of(operation);
    let mut scopes = Vec::new();
    if action == Action::List {
        scopes.push(Scope::Catalog);
    }
    if action == Action::Administer {
        scopes.push(Scope::Admin);
    } else if let Some(name) = operation.repository() {
        scopes.push(Scope::Repository { name: name.clone(), actions: Actions::needed_for(action) });
    }
    if let Operation::UploadStart { start: UploadStart::Mount { from: Some(from), .. }, .. } = operation {
        scopes.push(Scope::Repository { name: from.clone(), actions: Actions::needed_for(Action::Pull) });
    }
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(url: Option<&str>) -> Challenge {
        Challenge { url: url.map(str::to_owned), service: "rreg".into() }
    }

    #[test]
    fn the_realm_is_where_the_client_is() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "registry.example:5000".parse().unwrap());
        let uri = Uri::from_static("/v2/");
        let plain = challenge(None).header((&uri, &headers, false), &[], None);
        assert_eq!(plain, "Bearer realm=\"http://registry.example:5000/v2/token\",service=\"rreg\"");
        let fixed = challenge(Some("https://r.example"));
        let fixed = fixed.header((&uri, &headers, false), &[Scope::Catalog], Some("x"));
        assert_eq!(
            fixed,
            "Bearer realm=\"https://r.example/v2/token\",service=\"rreg\",scope=\"registry:catalog:*\",error=\"x\""
        );
        headers.insert(HOST, "a\",service=\"evil".parse().unwrap());
        assert!(!challenge(None).header((&uri, &headers, true), &[], None).contains("evil"));
    }

    #[test]
    fn a_mount_needs_two_scopes() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let query = format!("mount={digest}&from=other/app");
        let operation = Operation::parse("POST", "/v2/team/app/blobs/uploads/", Some(&query)).unwrap();
        let scopes = Scope::render_list(&scopes_of(&operation));
        assert_eq!(scopes, "repository:team/app:pull,push repository:other/app:pull");
        assert!(scopes_of(&Operation::Ping).is_empty());
    }
}
