//! A shell into which commands are pasted, one after the other.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::blocks::Pasted;
use crate::harness::{Child, port, wait_until};

/// Stands alone on a line behind what a command has printed, with its exit code.
const DONE: &str = "--done--";
/// What takes longer waits for something that a reader of the document would wait for, too.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) struct Shell {
    _process: Child,
    input: ChildStdin,
    output: Receiver<String>,
    /// Addresses of the document, and those that are free here.
    addresses: Vec<(String, String)>,
}

impl Shell {
    /// In the empty directory `work` of `home`, with the programs in `bin` and no others.
    pub(super) fn start(home: &Path, bin: &Path) -> Self {
        let work = home.join("work");
        std::fs::create_dir(&work).unwrap();
        // Servers that a command has left in the background end with the shell.
        let mut command = Command::new("bash");
        command.args(["--noprofile", "--norc", "-s"]);
        command.current_dir(work).env_clear().env("PATH", bin).env("HOME", home).env("LC_ALL", "C.UTF-8");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Child::spawn(&mut command, Signal::TERM);
        let (mut input, stdout) = (process.take_stdin().unwrap(), process.take_stdout().unwrap());
        input.write_all(b"exec 2>&1; trap 'kill $(jobs -p); wait' EXIT\n").unwrap();
        let (sender, output) = channel();
        thread::spawn(move || {
            let lines = BufReader::new(stdout).lines();
            lines.map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let addresses = ["127.0.0.1:5000", "127.0.0.1:5001"]
            .map(|address| (address.to_owned(), format!("127.0.0.1:{}", port::free())))
            .into();
        Self { _process: process, input, output, addresses }
    }

    /// Starts a server, as in a terminal of its own.
    pub(super) fn serve(&mut self, command: &Pasted) {
        let text = self.here(&command.text);
        let (_, rest) = text.split_once("--listen ").expect("a server that says where it listens");
        let address = rest.split(' ').next().unwrap().to_owned();
        self.input.write_all(format!("{text} </dev/null >/dev/null 2>&1 &\n").as_bytes()).unwrap();
        wait_until("the server", || TcpStream::connect(&address).is_ok());
    }

    /// The text with addresses that are free here. Without the sources, what is run from them is the program itself.
    fn here(&self, text: &str) -> String {
        let text = text.replace("cargo run --release --", "rreg");
        self.addresses.iter().fold(text, |text, (written, here)| text.replace(written, here))
    }

    /// What the command prints.
    ///
    /// # Panics
    /// When it fails and is not said to, or the other way round.
    pub(super) fn run(&mut self, command: &Pasted, place: &str) -> String {
        let text = self.here(&command.text);
        // A program must not read what is pasted behind it.
        let pasted = format!("{{ {text}\n}} </dev/null\nprintf '\\n%s %d\\n' {DONE} $?\n");
        self.input.write_all(pasted.as_bytes()).unwrap();
        let mut said = String::new();
        let status = loop {
            match self.output.recv_timeout(PATIENCE) {
                Ok(line) => match line.strip_prefix(DONE) {
                    Some(status) => break status.trim().to_owned(),
                    None => writeln!(said, "{line}").unwrap(),
                },
                Err(RecvTimeoutError::Timeout) => panic!("{place}: does not end: {text}\n{said}"),
                Err(RecvTimeoutError::Disconnected) => panic!("{place}: ends the shell: {text}\n{said}"),
            }
        };
        assert_eq!(status != "0", command.refused, "{place}: exit code {status}: {text}\n{said}");
        for (written, here) in &self.addresses {
            said = said.replace(here, written);
        }
        said
    }
}

/// Without what differs each time: digests, times, and how far columns are apart.
pub(super) fn plain(text: &str) -> Vec<String> {
    let hex = |c: char| c.is_ascii_hexdigit();
    let word = |word: &str| {
        if let Some((before, digest)) = word.split_once("sha256:") {
            let end = digest.find(|c| !hex(c)).unwrap_or(digest.len());
            return format!("{before}sha256:…{}", digest[end..].trim_start_matches('…'));
        }
        let time =
            word.len() >= 20 && word.ends_with('Z') && word.as_bytes()[4] == b'-' && word.contains('T');
        if time { "TIME".to_owned() } else { word.to_owned() }
    };
    let lines = text.lines().map(|line| line.split_whitespace().map(word).collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect()
}

#[test]
fn what_differs_each_time_is_not_compared() {
    let digest = format!("sha256:{}", "0f".repeat(32));
    let printed = format!("a   {digest} decided 2026-11-21T21:09:54Z\n\nin x@{digest}\n");
    assert_eq!(plain(&printed), ["a sha256:… decided TIME", "in x@sha256:…"]);
    assert_eq!(plain("a sha256:0f0f… decided 2027-01-01T00:00:00Z\nin x@sha256:…"), plain(&printed));
}
