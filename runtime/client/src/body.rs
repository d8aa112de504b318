//! Reads answers of strangers: bounded in length and in silence.

use std::error::Error as _;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::Response;

/// Why a body did not arrive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("{0}")]
    Transport(String),
    #[error("no byte for {} seconds", .0.as_secs())]
    Idle(Duration),
}

/// The whole body, or `None` when it is longer than `limit`.
pub(crate) async fn read(response: Response, limit: u64, idle: Duration) -> Result<Option<Bytes>, BodyError> {
    let (bytes, whole) = read_up_to(response, limit, idle).await?;
    Ok(whole.then_some(bytes))
}

/// At most `limit` bytes of the body, and whether that was all.
pub(crate) async fn read_up_to(
    mut response: Response,
    limit: u64,
    idle: Duration,
) -> Result<(Bytes, bool), BodyError> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut bytes = BytesMut::new();
    loop {
        let chunk = tokio::time::timeout(idle, response.chunk()).await.map_err(|_| BodyError::Idle(idle))?;
        match chunk.map_err(|e| BodyError::Transport(transport_text(&e)))? {
            None => return Ok((bytes.freeze(), true)),
            Some(chunk) if bytes.len().saturating_add(chunk.len()) > limit => {
                bytes.extend_from_slice(&chunk[..limit - bytes.len()]);
                return Ok((bytes.freeze(), false));
            }
            Some(chunk) => bytes.extend_from_slice(&chunk),
        }
    }
}

/// The innermost reasons of a transport error, without its URL, which may carry a signature.
pub(crate) fn transport_text(error: &reqwest::Error) -> String {
    let mut text = match error {
        e if e.is_connect() => "cannot connect".to_owned(),
        e if e.is_timeout() => "timed out".to_owned(),
        e if e.is_body() || e.is_decode() => "the body ended early".to_owned(),
        _ => "the request failed".to_owned(),
    };
    let mut last = String::new();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if inner_text != last {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        last = inner_text;
        source = inner.source();
    }
    text
}

/// A stranger's text for a terminal, at most `limit` characters of it.
pub(crate) fn printable(text: &str, limit: usize) -> String {
    let shown = rreg_oci::visible(text.trim());
    shown.map(|c| if c == char::REPLACEMENT_CHARACTER { ' ' } else { c }).take(limit).collect()
}
