//! A blocking HTTP/1.1 client on one connection, for pushes and for everything that is not about many requests.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::Failure;
use super::response::ResponseReader;

/// A server that stands still for so long has failed.
const SILENCE: Duration = Duration::from_secs(120);
/// What is read at once; the pull of a large blob is measured with it.
const READ_BUFFER: usize = 256 << 10;
/// What is written at once.
const WRITE_PIECE: usize = 1 << 20;

/// What a client that takes images sends; without it, some registries answer with other manifests or none.
pub(crate) const ACCEPT: &str = "Accept: application/vnd.oci.image.manifest.v1+json\r\n";

/// Writes a request's head.
pub(crate) fn head(out: &mut Vec<u8>, method: &str, path: &str, headers: &str, length: Option<usize>) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}");
    let _ = match length {
        Some(length) => write!(out, "Content-Length: {length}\r\n\r\n"),
        None => write!(out, "\r\n"),
    };
}

/// A connection that is kept alive.
pub(crate) struct Client {
    stream: TcpStream,
    response: ResponseReader,
    buffer: Vec<u8>,
    /// Content of the last response, unless it was discarded.
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect_timeout(&address, SILENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        let buffer = vec![0; READ_BUFFER];
        Ok(Self { stream, response: ResponseReader::new(), buffer, body: Vec::new() })
    }

    /// Sends a request and reads the answer, which must have a status of `expected`.
    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        content: &[u8],
        expected: &[u16],
    ) -> Result<(), Failure> {
        let length = (!matches!(method, "GET" | "HEAD" | "DELETE")).then_some(content.len());
        let mut request = Vec::with_capacity(512);
        head(&mut request, method, path, headers, length);
        // One segment for a small request.
        let (first, rest) = content.split_at(content.len().min(64 << 10));
        request.extend_from_slice(first);
        self.stream.write_all(&request)?;
        for piece in rest.chunks(WRITE_PIECE) {
            self.stream.write_all(piece)?;
        }
        self.body.clear();
        self.receive(method == "HEAD", true)?;
        let status = self.response.status();
        if expected.contains(&status) {
            return Ok(());
        }
        let text: String = String::from_utf8_lossy(&self.body).chars().take(200).collect();
        Err(format!("{method} {path} answered {status}: {text}").into())
    }

    /// Gets a path and throws the content away; how many bytes it had.
    pub(crate) fn discard(&mut self, path: &str) -> Result<u64, Failure> {
        let mut request = Vec::with_capacity(512);
        head(&mut request, "GET", path, ACCEPT, None);
        self.stream.write_all(&request)?;
        let received = self.receive(false, false)?;
        match self.response.status() {
            200 => Ok(received),
            status => Err(format!("GET {path} answered {status}").into()),
        }
    }

    /// The same, and the time until the first byte of the content was there.
    pub(crate) fn first_byte(&mut self, path: &str) -> Result<Duration, Failure> {
        let mut request = Vec::with_capacity(512);
        head(&mut request, "GET", path, "", None);
        let started = Instant::now();
        self.stream.write_all(&request)?;
        self.response.reset(false);
        let mut first = None;
        while !self.response.is_done() {
            let n = self.stream.read(&mut self.buffer)?;
            if n == 0 {
                return Err("the server closed the connection in the middle of an answer".into());
            }
            self.response.feed(&self.buffer[..n], |_| {
                first.get_or_insert_with(|| started.elapsed());
            })?;
        }
        match (self.response.status(), first) {
            (200, Some(first)) => Ok(first),
            (status, _) => Err(format!("GET {path} answered {status}").into()),
        }
    }

    fn receive(&mut self, to_head: bool, keep: bool) -> Result<u64, Failure> {
        self.response.reset(to_head);
        let mut received = 0;
        while !self.response.is_done() {
            let n = self.stream.read(&mut self.buffer)?;
            if n == 0 {
                return Err("the server closed the connection in the middle of an answer".into());
            }
            let body = &mut self.body;
            self.response.feed(&self.buffer[..n], |piece| {
                received += piece.len() as u64;
                if keep {
                    body.extend_from_slice(piece);
                }
            })?;
        }
        Ok(received)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.header(name)
    }

    /// Opens an upload; where its content goes.
    pub(crate) fn begin_upload(&mut self, repository: &str) -> Result<String, Failure> {
        self.send("POST", &format!("/v2/{repository}/blobs/uploads/"), "", &[], &[202])?;
        self.location()
    }

    /// Path and query of `Location`, with a separator for one more parameter at its end.
    pub(crate) fn location(&self) -> Result<String, Failure> {
        let location = self.header("location").ok_or("an upload was answered without Location")?;
        let path = match location.split_once("://") {
            Some((_, rest)) => &rest[rest.find('/').unwrap_or(rest.len())..],
            None => location,
        };
        Ok(format!("{path}{}", if path.contains('?') { '&' } else { '?' }))
    }

    /// Pushes a blob with POST and PUT.
    pub(crate) fn push_blob(
        &mut self,
        repository: &str,
        digest: &str,
        content: &[u8],
    ) -> Result<(), Failure> {
        let location = self.begin_upload(repository)?;
        let kind = "Content-Type: application/octet-stream\r\n";
        self.send("PUT", &format!("{location}digest={digest}"), kind, content, &[201])
    }

    /// Pushes a manifest by tag or digest.
    pub(crate) fn push_manifest(&mut self, path: &str, manifest: &str) -> Result<(), Failure> {
        let kind = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
        self.send("PUT", path, kind, manifest.as_bytes(), &[201])
    }
}
