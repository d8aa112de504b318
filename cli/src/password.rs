//! Passwords of private keys: from standard input, the environment, or a person at the terminal. Never from the command
//! line, where every user of the machine can read them.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use crate::exit::{Exit, Failure};

/// Longest password, in bytes.
const MAX_PASSWORD: u64 = 4096;
/// Where the password is looked for, in this order; the second is cosign's.
const VARIABLES: [&str; 2] = ["RREG_KEY_PASSWORD", "COSIGN_PASSWORD"];

/// Where the password of a private key comes from: standard input, $RREG_KEY_PASSWORD, $COSIGN_PASSWORD, or a prompt.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Password of the private key")]
pub(crate) struct KeyPassword {
    /// Read it from standard input
    #[arg(long, conflicts_with = "no_password")]
    password_stdin: bool,
    /// The key has the empty password, which protects nothing
    #[arg(long)]
    no_password: bool,
}

impl KeyPassword {
    /// For a new key; empty only where that was asked for.
    pub(crate) fn for_new(self) -> Result<String, Failure> {
        if self.no_password {
            return Ok(String::new());
        }
        let password = match self.given()? {
            Some(password) => password,
            None => {
                let password = prompt("Password for the new key: ")?;
                if password != prompt("Once more: ")? {
                    return Err(Failure::new(Exit::Usage, "the two passwords differ"));
                }
                password
            }
        };
        if password.is_empty() {
            return Err(Failure::new(Exit::Usage, "the password is empty")
                .hint("--no-password makes a key that whoever has the file can use"));
        }
        Ok(password)
    }

    /// For a key that is there, without asking anybody; `None` where nothing says it.
    pub(crate) fn for_reading(self) -> Result<Option<String>, Failure> {
        if self.no_password {
            return Ok(Some(String::new()));
        }
        self.given()
    }

    /// Asks whoever sits at the terminal for the password of a key that is there.
    pub(crate) fn ask() -> Result<String, Failure> {
        prompt("Password of the key: ")
    }

    /// Without asking anybody.
    fn given(self) -> Result<Option<String>, Failure> {
        if self.password_stdin {
            return from_stdin().map(Some);
        }
        for name in VARIABLES {
            match std::env::var(name) {
                Ok(password) => return Ok(Some(password)),
                Err(std::env::VarError::NotPresent) => {}
                Err(std::env::VarError::NotUnicode(_)) => {
                    return Err(Failure::new(Exit::Usage, format!("${name} is not UTF-8")));
                }
            }
        }
        Ok(None)
    }
}

pub(crate) fn from_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    let failed = |e| Failure::new(Exit::Input, format!("cannot read the password from standard input: {e}"));
    io::stdin().take(MAX_PASSWORD).read_to_string(&mut text).map_err(failed)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// The terminal's settings, put back when this goes.
struct Quiet(Termios);

impl Quiet {
    /// No echo; and no signals, so that Ctrl-C is a character that ends the question in good order.
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG | LocalModes::ICANON);
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that went away needs no settings.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

/// The password of a key.
fn prompt(question: &str) -> Result<String, Failure> {
    if !is_interactive() {
        return Err(Failure::new(Exit::Input, "the private key needs a password")
            .hint(format!("set ${}, or give it on standard input with --password-stdin", VARIABLES[0])));
    }
    hidden(question)
}

/// A password for a registry.
pub(crate) fn ask_secret(question: &str) -> Result<String, Failure> {
    if is_interactive() {
        return hidden(question);
    }
    Err(Failure::new(Exit::Input, "there is no terminal to ask for the password at")
        .hint("give it on standard input with --password-stdin"))
}

/// A name, which may be seen.
pub(crate) fn ask_name(question: &str) -> Result<String, Failure> {
    if !is_interactive() {
        return Err(Failure::new(Exit::Usage, "--username is needed where there is no terminal"));
    }
    let failed = |e: io::Error| Failure::new(Exit::Input, format!("cannot ask: {e}"));
    let mut to = io::stderr().lock();
    write!(to, "{question}").and_then(|()| to.flush()).map_err(failed)?;
    let mut line = String::new();
    io::stdin().lock().take(MAX_PASSWORD).read_line(&mut line).map_err(failed)?;
    Ok(line.trim().to_owned())
}

fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks without echo.
fn hidden(question: &str) -> Result<String, Failure> {
    let failed = |e: io::Error| Failure::new(Exit::Input, format!("cannot ask for the password: {e}"));
    let mut to = io::stderr().lock();
    write!(to, "{question}").and_then(|()| to.flush()).map_err(failed)?;
    let quiet = Quiet::new().map_err(failed)?;
    let typed = typed(&mut io::stdin().lock());
    drop(quiet);
    writeln!(to).map_err(failed)?;
    typed.map_err(failed)?.ok_or_else(|| Failure::new(Exit::Interrupted, "interrupted"))
}

/// One line, byte by byte; `None` for Ctrl-C.
fn typed(from: &mut impl io::BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    for byte in from.bytes().take(usize::try_from(MAX_PASSWORD).unwrap_or(usize::MAX)) {
        match byte? {
            3 => return Ok(None),
            b'\r' | b'\n' | 4 => break,
            // The whole of a character goes, not its last byte.
            8 | 127 => while line.pop().is_some_and(|last: u8| last & 0xc0 == 0x80) {},
            byte => line.push(byte),
        }
    }
    String::from_utf8(line).map(Some).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.utf8_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_people_type_them() {
        let read = |bytes: &[u8]| typed(&mut { bytes }).ok().flatten();
        assert_eq!(read(b"secret\nrest").as_deref(), Some("secret"));
        assert_eq!(read("sé\u{7f}\u{7f}\u{7f}\u{7f}ab\r".as_bytes()).as_deref(), Some("ab"));
        assert_eq!(read(b"sec\x03"), None);
        assert_eq!(read(b"").as_deref(), Some(""));
    }
}
