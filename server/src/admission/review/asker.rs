//! Who asks: an API server that has logged in, one that knows the secret path, or anybody.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{StatusCode, Uri};
use rreg_auth::{Caller, Denied};
use rreg_oci::{Digest, ErrorCode, Operation};

use crate::app::App;
use crate::auth::Context;
use crate::config::Secret;
use crate::error::ApiError;

/// The connection is one of an API server: it has shown a certificate of `policy.admission_client_ca`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfApiServer;

/// Whoever sent a review.
pub(super) enum Asker {
    /// An API server that has proved to be one: of all images.
    ApiServer,
    /// An account. It learns of the images that it may read.
    Account(Arc<Caller>),
    /// Who knows the secret of the path. API servers print the whole path to whoever makes a pod, when they cannot reach the
    /// registry: it is good for verdicts about all images, and for nothing that they would not learn otherwise.
    Verdicts,
    /// Who reaches the server, with `policy.open_admission`: of all images, and makes it fetch nothing.
    Anybody,
}

impl Asker {
    /// # Errors
    /// The answer to somebody who may not ask.
    pub(super) async fn of(app: &Arc<App>, parts: &Parts, context: &Context) -> Result<Self, ApiError> {
        if parts.extensions.get::<OfApiServer>().is_some() {
            return Ok(Self::ApiServer);
        }
        let config = &app.admission.config;
        let secrets =
            || [&config.admission_path_secret, &config.admission_path_secret_next].into_iter().flatten();
        let given = last(&parts.uri);
        let knows_the_path = given.is_some_and(|given| secrets().any(|secret| is_same(secret, given)));
        // A login counts with a path and without: so an API server can be given one while the path is in use.
        let has_login = app.auth.asks() && parts.headers.contains_key(AUTHORIZATION);
        match (secrets().next(), given) {
            _ if has_login && (knows_the_path || given.is_none()) => {
                Self::logged_in(app, parts, context).await
            }
            (Some(_), Some(_)) if knows_the_path => Ok(Self::Verdicts),
            (None, None) if config.open_admission => Ok(Self::Anybody),
            (None, None) => Self::logged_in(app, parts, context).await,
            (Some(_), _) => {
                let why =
                    "reviews are asked at the path that ends in the secret of the settings, or with a login";
                Err(denied(why))
            }
            (None, Some(_)) => {
                Err(denied("there is no secret for paths in the settings, so no path ends in one"))
            }
        }
    }

    async fn logged_in(app: &Arc<App>, parts: &Parts, context: &Context) -> Result<Self, ApiError> {
        let asked = (&parts.uri, &parts.headers, context.tls);
        let caller = app.auth.identify(&parts.headers, context).await;
        let caller = caller.map_err(|why| {
            let error = app.auth.rejected(why, asked, &[]);
            // Whoever made the pod reads this, and it is not their login.
            error.after("the API server's login at this registry was not taken (its kubeConfigFile): ")
        })?;
        if app.auth.asks() && caller.is_anonymous() {
            return Err(app.auth.denied(Denied::Anonymous, asked, &Operation::Ping));
        }
        Ok(Self::Account(caller))
    }
}

fn denied(why: &str) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, ErrorCode::Denied, why)
}

/// What follows `/admission/v1/validate/` or `/admission/v1/mutate/`.
fn last(uri: &Uri) -> Option<&str> {
    uri.path().split('/').nth(4)
}

/// Digests are compared and not the texts: how long that takes says something about digests at the most, and nothing
/// about the secret.
fn is_same(secret: &Secret, given: &str) -> bool {
    Digest::sha256(secret.expose().as_bytes()) == Digest::sha256(given.as_bytes())
}

/// The path for the log, without the query: without what may be a secret, which a mistyped path has as well, and with no
/// character that does something.
pub(crate) fn shown(app: &App, uri: &Uri) -> String {
    let config = &app.admission.config;
    let secrets = [&config.admission_path_secret, &config.admission_path_secret_next];
    without_secrets(uri.path(), secrets.into_iter().flatten())
}

pub(super) fn without_secrets<'a>(path: &str, secrets: impl Iterator<Item = &'a Secret>) -> String {
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    let has = |secret: &Secret| path.contains(secret.expose()) || decoded.contains(secret.expose());
    let mut secrets = secrets;
    if secrets.any(has) || may_be_secret(path) {
        let known = ["/admission/v1/validate", "/admission/v1/mutate"]
            .into_iter()
            .find(|known| path.starts_with(known));
        return match known {
            Some(known) if path == known => known.to_owned(),
            known => format!("{}/********", known.unwrap_or_default()),
        };
    }
    rreg_oci::visible(path).collect()
}

/// Whether a path may have the secret in it, however it was written.
fn may_be_secret(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    ["admission", "validate", "mutate"].iter().any(|word| path.contains(word)) && !path.starts_with("/v2/")
}
