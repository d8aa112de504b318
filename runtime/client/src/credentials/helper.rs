//! Runs `docker-credential-<name> get|store|erase`: the server's name or JSON on standard input, JSON on standard output.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::{Credential, CredentialError};
use crate::body::printable;

/// Longest answer of a helper, in bytes.
const MAX_OUTPUT: u64 = 64 << 10;
/// Helpers may ask the user to unlock a key ring.
const PATIENCE: Duration = Duration::from_secs(120);
/// What a helper prints when it knows nothing, which is no failure.
const NOT_FOUND: &str = "credentials not found";
/// The user name by which a helper says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username", default)]
    user: String,
    #[serde(rename = "Secret", default)]
    secret: String,
}

/// What helper `name` knows about `server`.
pub(super) async fn get(
    name: &str,
    server: &str,
    path: Option<&OsStr>,
) -> Result<Option<Credential>, CredentialError> {
    let failed = |why: &str| CredentialError::Helper { helper: printable(name, 60), why: why.to_owned() };
    let Some(output) = ask(name, "get", server, path).await? else { return Ok(None) };
    let answer: Answer = serde_json::from_slice(&output).map_err(|_| failed("its answer is not JSON"))?;
    Ok(match answer {
        Answer { secret, .. } if secret.is_empty() => None,
        Answer { user, secret } if user == TOKEN_USER => Some(Credential::IdentityToken(secret)),
        Answer { user, secret } => Some(Credential::Password { user, password: secret }),
    })
}

/// Has helper `name` store or erase something.
pub(super) async fn tell(
    name: &str,
    verb: &str,
    input: &str,
    path: Option<&OsStr>,
) -> Result<(), CredentialError> {
    ask(name, verb, input, path).await.map(|_| ())
}

/// What helper `name` answers; `None` where it knows nothing.
async fn ask(
    name: &str,
    verb: &str,
    input: &str,
    path: Option<&OsStr>,
) -> Result<Option<Vec<u8>>, CredentialError> {
    let failed = |why: String| CredentialError::Helper { helper: printable(name, 60), why };
    // The name comes from a file and becomes part of a program's name: it must not become a path.
    if name.is_empty() || !name.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
    {
        return Err(failed("its name may have letters, digits, -, _ and . only".into()));
    }
    let run = tokio::time::timeout(PATIENCE, run(name, verb, input, path)).await;
    let (output, success) = run
        .map_err(|_| failed(format!("no answer in {} seconds", PATIENCE.as_secs())))?
        .map_err(|e| failed(format!("{e}; is it installed and in PATH?")))?;
    if success {
        return Ok(Some(output));
    }
    let text = printable(&String::from_utf8_lossy(&output), 200);
    if text.contains(NOT_FOUND) { Ok(None) } else { Err(failed(text)) }
}

async fn run(name: &str, verb: &str, input: &str, path: Option<&OsStr>) -> std::io::Result<(Vec<u8>, bool)> {
    let mut command = Command::new(format!("docker-credential-{name}"));
    if let Some(path) = path {
        command.env("PATH", path);
    }
    let mut child = command
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read its input fails by its answer, not by ours.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_OUTPUT).read_to_end(&mut output).await?;
    }
    Ok((output, child.wait().await?.success()))
}
