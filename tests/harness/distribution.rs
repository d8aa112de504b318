//! The distribution project's registry, which has no referrers API.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

use rustix::process::Signal;

use super::{Child, tool, wait_until};

/// Starts it with everything below `directory`; also gives its address. `None` when it is not installed.
pub(crate) fn start(directory: &Path) -> Option<(Child, String)> {
    let Some(program) = ["registry", "docker-registry"].into_iter().find_map(tool::find) else {
        tool::skip("distribution's registry is not installed");
        return None;
    };
    // Given back at once; nobody else takes it in the moment until it is taken again.
    let port = super::port::free();
    let config = format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage:\n  \
         filesystem: {{rootdirectory: {:?}}}\nhttp: {{addr: '127.0.0.1:{port}', secret: test}}\n",
        directory.join("distribution")
    );
    let file = directory.join("distribution.yml");
    fs::write(&file, config).unwrap();
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .env("OTEL_TRACES_EXPORTER", "none");
    command.arg("serve").arg(file).current_dir(directory);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = Child::spawn(&mut command, Signal::TERM);
    wait_until("distribution", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    Some((child, format!("127.0.0.1:{port}")))
}
