//! Asks a token realm for a token (the distribution project's token and OAuth2 specifications).

use std::time::{Duration, Instant};

use reqwest::Url;
use serde::Deserialize;

use super::AuthError;
use crate::credentials::Credential;
use crate::{body, retry, transport};

/// Lifetime of a token that does not say how long it lives (token specification, `expires_in`).
const DEFAULT_LIFETIME: u64 = 60;
/// Subtracted from a lifetime, so that a token does not end between our check and theirs.
const SLACK: u64 = 10;
/// Longest silence of a token endpoint.
const IDLE: Duration = Duration::from_secs(30);
/// How much of a refusal is shown, in characters.
const SHOWN: usize = 200;

/// What is asked for.
pub(crate) struct TokenRequest {
    pub(crate) realm: Url,
    pub(crate) service: Option<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) credential: Option<Credential>,
}

/// A token and when to stop using it.
pub(crate) struct Token {
    pub(crate) value: String,
    pub(crate) expires: Instant,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl TokenRequest {
    /// One request; an identity token goes as an OAuth2 refresh token, a password as Basic, nothing asks for
    /// an anonymous token.
    pub(crate) async fn fetch(self, http: &reqwest::Client, limit: u64) -> Result<Token, AuthError> {
        let place = self.realm.host_str().unwrap_or_default().to_owned();
        let failed = |why: String| AuthError::Failed { realm: place.clone(), why };
        let sent = tokio::time::timeout(IDLE, self.build(http).send());
        let response = sent
            .await
            .map_err(|_| failed("no answer in time".into()))?
            .map_err(|e| failed(body::transport_text(&e)))?;
        let status = response.status();
        let retry_after = retry::retry_after(response.headers());
        let bytes = body::read(response, limit, IDLE)
            .await
            .map_err(|e| failed(e.to_string()))?
            .ok_or_else(|| failed(format!("the answer is longer than {limit} bytes")))?;
        if !status.is_success() {
            let text = transport::told(&bytes, SHOWN);
            return Err(AuthError::Refused { realm: place, status: status.as_u16(), text, retry_after });
        }
        // The parser's message could quote the token: only its place is told.
        let answer: Answer = serde_json::from_slice(&bytes)
            .map_err(|e| failed(format!("the answer is not the JSON of a token (column {})", e.column())))?;
        let value = answer.token.filter(|t| !t.is_empty()).or(answer.access_token).filter(|t| !t.is_empty());
        let lifetime = answer.expires_in.unwrap_or(DEFAULT_LIFETIME).clamp(1, 86_400);
        Ok(Token {
            value: value.ok_or_else(|| failed("the answer has neither token nor access_token".into()))?,
            expires: Instant::now() + Duration::from_secs(lifetime.saturating_sub(SLACK)),
        })
    }

    fn build(&self, http: &reqwest::Client) -> reqwest::RequestBuilder {
        if let Some(Credential::IdentityToken(token)) = &self.credential {
            return self.build_refresh(http, token);
        }
        let mut url = self.realm.clone();
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = &self.service {
                query.append_pair("service", service);
            }
            for scope in &self.scopes {
                query.append_pair("scope", scope);
            }
            if let Some(Credential::Password { user, .. }) = &self.credential {
                query.append_pair("account", user);
            }
        }
        match &self.credential {
            Some(Credential::Password { user, password }) => http.get(url).basic_auth(user, Some(password)),
            _ => http.get(url),
        }
    }

    fn build_refresh(&self, http: &reqwest::Client, token: &str) -> reqwest::RequestBuilder {
        // The query half of a URL is the form encoding; a Url writes it for us.
        let mut form = self.realm.clone();
        form.query_pairs_mut()
            .clear()
            .append_pair("grant_type", "refresh_token")
            .append_pair("service", self.service.as_deref().unwrap_or_default())
            .append_pair("client_id", "rreg")
            .append_pair("scope", &self.scopes.join(" "))
            .append_pair("refresh_token", token);
        http.post(self.realm.clone())
            .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.query().unwrap_or_default().to_owned())
    }
}
