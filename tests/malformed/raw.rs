//! Bytes in, an answer out, without an HTTP client that would refuse to send nonsense.

use std::net::SocketAddr;
use std::time::Duration;

use rreg_oci::ErrorCode;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::durability::server::Server;

/// Longer than every timeout of [`place`].
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that is impatient with slow clients, and its directory.
pub(super) fn place() -> (TempDir, Server) {
    let data = tempfile::tempdir().unwrap();
    let env = [("RREG_SERVER__HEADER_TIMEOUT", "1s"), ("RREG_SERVER__BODY_IDLE_TIMEOUT", "1s")];
    let server = Server::start(data.path(), &env);
    (data, server)
}

/// One response.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let field = |line: &'_ str| line.split_once(':').is_some_and(|(n, _)| n.eq_ignore_ascii_case(name));
        let line = self.head.lines().skip(1).find(|line| field(line))?;
        Some(line.split_once(':').unwrap().1.trim())
    }

    /// The code of the error body, if the answer is the API's.
    pub(super) fn code(&self) -> Option<String> {
        self.header("docker-distribution-api-version")?;
        let error: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        Some(error["errors"][0]["code"].as_str()?.to_owned())
    }

    /// No 5xx; a refusal by the API has an error body with one of the specification's codes.
    pub(super) fn check(&self, sent: &[u8]) {
        let shown = || String::from_utf8_lossy(&sent[..sent.len().min(400)]).into_owned();
        assert!(self.status < 500, "{} for {}", self.head, shown());
        let ours = self.header("docker-distribution-api-version").is_some();
        let headless = sent.starts_with(b"HEAD ");
        if self.status >= 400 && ours && !headless {
            let code = self.code().unwrap_or_else(|| panic!("{}: no error body for {}", self.head, shown()));
            assert!(ErrorCode::ALL.iter().any(|known| known.as_str() == code), "{code}");
            assert_eq!(self.header("content-type"), Some("application/json"));
        }
    }
}

/// Splits a complete response off the front.
fn take(bytes: &mut Vec<u8>, headless: bool) -> Option<Answer> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.get(9..12)?.parse().ok()?;
    let mut answer = Answer { status, head, body: Vec::new() };
    let length = match answer.header("content-length") {
        Some(text) if !headless => text.parse().unwrap(),
        _ => 0,
    };
    if bytes.len() < end + length {
        return None;
    }
    answer.body = bytes[end..end + length].to_vec();
    bytes.drain(..end + length);
    Some(answer)
}

/// Sends `request` and reads one answer; `None` when the server closes without one.
pub(super) async fn send(address: SocketAddr, request: &[u8]) -> Option<Answer> {
    send_all(address, request, 1).await.pop()
}

/// Sends `request` and reads up to `most` answers, until the connection ends.
pub(super) async fn send_all(address: SocketAddr, request: &[u8], most: usize) -> Vec<Answer> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let headless = request.starts_with(b"HEAD ");
    let mut answers = Vec::new();
    let read = async {
        let (mut bytes, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
        while answers.len() < most {
            match reader.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(read) => bytes.extend_from_slice(&buffer[..read]),
            }
            while let Some(answer) = take(&mut bytes, headless) {
                if answer.status >= 200 {
                    answers.push(answer);
                }
            }
        }
    };
    let write = async {
        // The server may close before it has everything.
        let _ = writer.write_all(request).await;
        std::future::pending::<()>().await;
    };
    let both = async {
        tokio::select! {
            () = read => {}
            () = write => {}
        }
    };
    let shown = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
    assert!(tokio::time::timeout(PATIENCE, both).await.is_ok(), "no answer and no end for {shown}");
    answers.iter().for_each(|answer| answer.check(request));
    answers
}

/// A request without a body.
pub(super) fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n").into_bytes()
}

/// The server runs, answers, and has not panicked.
pub(super) async fn assert_alive(server: &mut Server) {
    assert!(server.is_running());
    let answer = send(server.address, &get("/v2/")).await.unwrap();
    assert_eq!(answer.status, 200);
    let log = server.log();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
}
