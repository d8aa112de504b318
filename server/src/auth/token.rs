//! `/v2/token`: bearer tokens for those who log in, and for anonymous pulls.
//!
//! GET with Basic (<https://distribution.github.io/distribution/spec/auth/token/>) and POST with `grant_type=password`
//! (<https://distribution.github.io/distribution/spec/auth/oauth/>). There are no refresh tokens: `offline_token` is
//! ignored, and other grants are refused.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{Method, StatusCode};
use rreg_auth::{Caller, Scope};
use rreg_oci::ErrorCode;
use serde_json::json;

use super::authenticator::Rejected;
use super::keys::now;
use super::trail::Context;
use crate::app::App;
use crate::body::IncomingBody;
use crate::error::ApiError;

/// Largest form, in bytes.
const MAX_FORM: usize = 32 << 10;

/// The parameters of a query or form that count here; others are ignored.
#[derive(Default)]
struct Form {
    service: Option<String>,
    scopes: Vec<String>,
    grant_type: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

impl Form {
    fn parse(text: &[u8]) -> Self {
        let mut form = Self::default();
        for (name, value) in url::form_urlencoded::parse(text) {
            let value = value.into_owned();
            match &*name {
                "service" => form.service = Some(value),
                "scope" => form.scopes.push(value),
                "grant_type" => form.grant_type = Some(value),
                "username" => form.username = Some(value),
                "password" => form.password = Some(value),
                _ => {}
            }
        }
        form
    }
}

/// Answers `/v2/token`.
pub(crate) async fn serve(State(app): State<Arc<App>>, request: Request) -> Response {
    let _in_flight = app.metrics.in_flight();
    let seen = app.seen(&request);
    let context = seen.context();
    let answer = answer(&app, request, &context).await.unwrap_or_else(ApiError::into_response);
    seen.answered(&app, answer)
}

fn bad(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, message)
}

async fn answer(app: &Arc<App>, request: Request, context: &Context) -> Result<Response, ApiError> {
    if !app.auth.asks() {
        let why = "this registry asks nobody who they are (auth.mode = \"open\"), so it has no tokens";
        return Err(ApiError::new(StatusCode::NOT_FOUND, ErrorCode::Unsupported, why));
    }
    let (parts, body) = request.into_parts();
    let reject = |rejected| app.auth.rejected(rejected, (&parts.uri, &parts.headers, context.tls), &[]);
    let (form, caller) = if parts.method == Method::GET {
        let form = Form::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let caller = app.auth.identify(&parts.headers, context).await.map_err(reject)?;
        // A token must not be made to live on by itself.
        if caller.scopes.is_some() {
            return Err(reject(Rejected::Scheme));
        }
        (form, caller)
    } else if parts.method == Method::POST {
        let body = IncomingBody::new(body, &app.pace, app.metrics.request_bytes.clone());
        let body = body.collect(MAX_FORM).await?;
        let form = Form::parse(&body);
        let (Some("password"), Some(name), Some(secret)) =
            (form.grant_type.as_deref(), form.username.as_deref(), form.password.as_deref())
        else {
            return Err(bad("this takes grant_type=password with username and password"));
        };
        let caller = app.auth.login(name, secret, context).await.map_err(reject)?;
        (form, caller)
    } else {
        let why = "tokens are asked for by GET or POST";
        let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported, why);
        return Err(error.with_header(ALLOW, "GET, POST"));
    };
    issue(app, &caller, &form)
}

fn issue(app: &App, caller: &Caller, form: &Form) -> Result<Response, ApiError> {
    let issuer = app.auth.keys.issuer();
    if form.service.as_deref().is_some_and(|service| service != issuer.audience()) {
        return Err(bad(format!("this makes tokens for service {:?} only", issuer.audience())));
    }
    let asked = Scope::parse_some(&form.scopes.join(" "));
    let granted = app.auth.access.grant(caller, asked);
    let serial = uuid::Uuid::new_v4().as_u128();
    let issued = issuer.issue(caller, &granted, now(), serial).map_err(|error| {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, error.to_string())
    })?;
    let body = json!({
        "token": issued.token,
        "access_token": issued.token,
        "token_type": "Bearer",
        "expires_in": issued.lifetime.as_secs(),
        "scope": Scope::render_list(&granted),
    });
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    Ok((headers, body.to_string()).into_response())
}
