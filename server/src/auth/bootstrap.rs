//! `/bootstrap`: the one-time link that a server without users prints when it starts, with which the first administrator
//! is made. There is no default password: who can read the server's log may begin, once.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use http::{HeaderName, Method, StatusCode};
use rreg_auth::{ApiToken, PrincipalName};
use rreg_oci::ErrorCode;
use rreg_storage::{AuditEvent, NewCredential, StorageError, expiry_in};

use super::authenticator::Authenticator;
use super::trail::Context;
use crate::app::App;
use crate::body::IncomingBody;
use crate::error::ApiError;

/// How long the link is good.
const LASTS: Duration = Duration::from_secs(24 * 3600);
/// Largest form, in bytes.
const MAX_FORM: usize = 8 << 10;

/// Posts to the address that it was read from, which has the secret.
const PAGE: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>rreg</title>\
     <h1>First administrator</h1><form method=\"post\">\
     <p><label>Name <input name=\"name\" required autocomplete=\"username\"></label>\
     <p><label>Password <input name=\"password\" type=\"password\" required minlength=\"8\" \
     autocomplete=\"new-password\"></label><p><button>Create</button></form></html>\n";

/// The page holds no secret and loads nothing, and its address goes nowhere.
const HEADERS: [(HeaderName, &str); 4] = [
    (CONTENT_TYPE, "text/html; charset=utf-8"),
    (CACHE_CONTROL, "no-store"),
    (REFERRER_POLICY, "no-referrer"),
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
];

impl Authenticator {
    /// Prints the link, where callers are asked who they are and nobody could say so. `address` is where the server
    /// is, for when `auth.url` does not say.
    pub(crate) async fn offer_bootstrap(&self, address: &str) -> Result<(), StorageError> {
        if !self.asks() || !self.storage.metadata().principals("user").await?.is_empty() {
            return Ok(());
        }
        if !self.offers {
            tracing::warn!("there is no administrator yet: make one with `rreg user create NAME --admin`");
            return Ok(());
        }
        let secret = ApiToken::from_random(rand::random());
        let offered =
            self.storage.metadata().offer_bootstrap(secret.fingerprint(), expiry_in(LASTS.as_secs()));
        if offered.await? {
            let link = format!("{}/bootstrap?secret={}", self.url().unwrap_or(address), secret.expose());
            tracing::warn!(
                link,
                "there is no administrator yet: this link makes the first one, once and within 24 hours; or use \
                 `rreg user create NAME --admin`"
            );
        }
        Ok(())
    }
}

/// Answers `/bootstrap`.
pub(crate) async fn serve(State(app): State<Arc<App>>, request: Request) -> Response {
    let _in_flight = app.metrics.in_flight();
    let seen = app.seen(&request);
    let context = seen.context();
    let answer = answer(&app, request, &context).await.unwrap_or_else(ApiError::into_response);
    seen.answered(&app, answer)
}

#[derive(Default)]
struct Form {
    secret: String,
    name: String,
    password: String,
}

impl Form {
    fn read(&mut self, text: &[u8]) {
        for (name, value) in url::form_urlencoded::parse(text) {
            match &*name {
                "secret" => self.secret = value.into_owned(),
                "name" => self.name = value.into_owned(),
                "password" => self.password = value.into_owned(),
                _ => {}
            }
        }
    }
}

async fn answer(app: &Arc<App>, request: Request, context: &Context) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let mut form = Form::default();
    form.read(parts.uri.query().unwrap_or_default().as_bytes());
    if parts.method == Method::GET {
        open_offer(app, &form.secret, context).await?;
        return Ok((HEADERS, PAGE).into_response());
    }
    if parts.method != Method::POST {
        let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported, "GET or POST");
        return Err(error.with_header(ALLOW, "GET, POST"));
    }
    let body = IncomingBody::new(body, &app.pace, app.metrics.request_bytes.clone());
    form.read(&body.collect(MAX_FORM).await?);
    let secret = open_offer(app, &form.secret, context).await?;
    create(app, &secret, form, context).await
}

/// The offer's hash. Before anything costly is done, and before anything is said about what else was sent.
async fn open_offer(app: &App, secret: &str, context: &Context) -> Result<String, ApiError> {
    let hash = ApiToken::parse(secret).map(|secret| secret.fingerprint()).unwrap_or_default();
    if app.auth.asks() && app.storage.metadata().bootstrap_is_open(&hash).await? {
        return Ok(hash);
    }
    app.auth.trail.login_failed(context, "bootstrap", "wrong, used or expired bootstrap link").await;
    Err(closed())
}

fn closed() -> ApiError {
    let why = "this link is wrong, has been used or has expired; `rreg user create NAME --admin` on the registry's \
               machine makes an administrator";
    ApiError::new(StatusCode::FORBIDDEN, ErrorCode::Denied, why)
}

async fn create(app: &App, secret: &str, form: Form, context: &Context) -> Result<Response, ApiError> {
    let bad = |why: String| ApiError::new(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, why);
    let name: PrincipalName = form.name.parse().map_err(|e: rreg_auth::NameError| bad(e.to_string()))?;
    if app.auth.passwords.file().contains(&name) {
        return Err(bad(format!("the name {name} is taken by the htpasswd file")));
    }
    let hashed =
        app.auth.passwords.hash(&crate::shares::Source::of_address(context.address), form.password).await;
    let hashed = hashed.map_err(|_| ApiError::busy("too many passwords are being checked", 5))?;
    let credential =
        NewCredential { kind: "password", secret: hashed.map_err(|e| bad(e.to_string()))?, expires_at: None };
    let mut event = AuditEvent::new("user create", "allowed", "bootstrap link");
    event.target = Some(name.as_str().to_owned());
    let event = context.of("bootstrap".to_owned(), event);
    if !app.storage.metadata().take_bootstrap(secret, name.as_str(), credential, event).await? {
        return Err(closed());
    }
    tracing::warn!(%name, "the first administrator was made by the bootstrap link");
    let text = format!("{name} administers this registry now. Log in with this name and the password.\n");
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, headers, text).into_response())
}
