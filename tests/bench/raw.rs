//! The machine's limit: an axum handler that answers from memory and streams bytes that cost nothing to find.

use std::convert::Infallible;
use std::net::Ipv4Addr;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::serve::ListenerExt as _;
use bytes::Bytes;
use futures_util::stream;

use super::Failure;

/// About as long as the manifest of a small image.
pub(crate) const SMALL: usize = 700;
const PIECE: usize = 256 << 10;

/// Serves until the process is ended: `/stream/<bytes>` a large body, everything else a small one.
pub(crate) fn serve(port: u16) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        // Fails only on a connection that is gone already.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let router = Router::new().fallback(async |request: Request| answer(request.uri().path()));
        Ok(axum::serve(listener, router).await?)
    })
}

fn answer(path: &str) -> Response {
    static CONTENT: [u8; PIECE] = [b'x'; PIECE];
    let Some(length) = path.strip_prefix("/stream/").and_then(|length| length.parse::<usize>().ok()) else {
        return Response::new(Body::from(Bytes::from_static(&CONTENT[..SMALL])));
    };
    let pieces = std::iter::repeat_n(Ok::<_, Infallible>(Bytes::from_static(&CONTENT)), length / PIECE);
    let mut response = Response::new(Body::from_stream(stream::iter(pieces)));
    response.headers_mut().insert(axum::http::header::CONTENT_LENGTH, (length / PIECE * PIECE).into());
    response
}
