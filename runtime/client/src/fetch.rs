//! One answer from an address that is no registry: revocation lists and OCSP responders.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::body;

/// How long to wait for all of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Gets `url`, or posts a body of a media type to it. At most `limit` bytes are taken, and no redirect is followed.
///
/// # Errors
/// What went wrong, for people.
pub async fn fetch(url: &str, post: Option<(&str, Vec<u8>)>, limit: usize) -> Result<Bytes, String> {
    let address = reqwest::Url::parse(url).map_err(|error| format!("{url:?} is no address: {error}"))?;
    if !matches!(address.scheme(), "http" | "https") {
        return Err(format!("{url} is neither http nor https"));
    }
    let client = reqwest::Client::builder()
        .user_agent(concat!("rreg/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .build()
        .map_err(|error| body::transport_text(&error))?;
    let request = match post {
        None => client.get(address),
        Some((kind, content)) => client.post(address).header(http::header::CONTENT_TYPE, kind).body(content),
    };
    let failed = |error: reqwest::Error| format!("{url}: {}", body::transport_text(&error));
    let mut response = request.send().await.map_err(failed)?;
    if !response.status().is_success() {
        return Err(format!("{url} answered {}", response.status()));
    }
    let mut bytes = BytesMut::new();
    while let Some(piece) = response.chunk().await.map_err(failed)? {
        if bytes.len() + piece.len() > limit {
            return Err(format!("{url} gives more than {limit} bytes"));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}
