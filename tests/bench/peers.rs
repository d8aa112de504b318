//! The servers: which are here, and how each is started with plain HTTP, its files in a directory, its log at
//! error.
//!
//! To add one, name its command line in `RREG_BENCH_PEER_<NAME>`, with `{port}` and `{dir}` where they belong.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Failure;
use super::process::{Server, free_port};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Rreg,
    /// distribution, version 2 or 3.
    Distribution,
    Zot,
    /// Static files by `sendfile`.
    Nginx,
    /// A bare axum handler in a process of its own: the machine's limit, not a registry.
    Axum,
    /// By command line.
    Named,
}

/// A server that can be started.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    program: PathBuf,
    /// For [`Kind::Named`].
    arguments: Vec<String>,
}

impl Peer {
    fn new(name: &str, kind: Kind, program: impl Into<PathBuf>) -> Self {
        Self { name: name.to_owned(), kind, program: program.into(), arguments: Vec::new() }
    }

    pub(crate) fn is_registry(&self) -> bool {
        !matches!(self.kind, Kind::Nginx | Kind::Axum)
    }

    /// First line that the program prints about its version.
    pub(crate) fn version(&self) -> String {
        let flag = match self.kind {
            Kind::Axum => return "this program".to_owned(),
            Kind::Named => return self.program.display().to_string(),
            Kind::Nginx => "-v",
            Kind::Rreg | Kind::Distribution | Kind::Zot => "--version",
        };
        let Ok(output) = Command::new(&self.program).arg(flag).output() else { return "unknown".to_owned() };
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("unknown");
        // zot answers with a line of its log; the time in it says nothing.
        let line = line.split_once(r#""message":"#).map_or(line, |(_, rest)| rest);
        line.chars().take(160).collect()
    }

    /// Starts it over `directory`, which keeps its files from start to start.
    pub(crate) fn start(&self, directory: &Path) -> Result<Server, Failure> {
        self.start_as(directory, None, &[])
    }

    /// The same with settings in the environment.
    pub(crate) fn start_with(&self, directory: &Path, settings: &[(&str, &str)]) -> Result<Server, Failure> {
        self.start_as(directory, None, settings)
    }

    /// The same as a pull-through cache of everything that `upstream` has.
    pub(crate) fn start_before(&self, directory: &Path, upstream: SocketAddr) -> Result<Server, Failure> {
        self.start_as(directory, Some(upstream), &[])
    }

    fn start_as(
        &self,
        directory: &Path,
        upstream: Option<SocketAddr>,
        settings: &[(&str, &str)],
    ) -> Result<Server, Failure> {
        let port = free_port()?;
        let data = directory.join("data");
        fs::create_dir_all(&data)?;
        let mut command = Command::new(&self.program);
        command.current_dir(directory);
        // Settings of rreg and of this program: what is measured are the defaults.
        for (key, _) in env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("RREG_")) {
            command.env_remove(key);
        }
        command.envs(settings.iter().copied());
        match self.kind {
            Kind::Rreg => {
                command.args(["serve", "--log-level", "error", "--listen", &format!("127.0.0.1:{port}")]);
                command.arg("--data").arg(&data);
                if let Some(upstream) = upstream {
                    let entry = format!(r#"[{{name="upstream", prefix="", url="http://{upstream}"}}]"#);
                    command.env("RREG_UPSTREAMS", entry);
                }
            }
            Kind::Distribution => {
                let file = directory.join("config.yml");
                let proxy =
                    upstream.map_or_else(String::new, |it| format!("proxy: {{remoteurl: 'http://{it}'}}\n"));
                fs::write(&file, distribution_config(&data, port) + &proxy)?;
                command.arg("serve").arg(file).env("OTEL_TRACES_EXPORTER", "none");
            }
            Kind::Zot => {
                let file = directory.join("config.json");
                fs::write(&file, zot_config(&data, port))?;
                command.arg("serve").arg(file);
            }
            Kind::Nginx => {
                fs::write(data.join("index.html"), "{}")?;
                let file = directory.join("nginx.conf");
                fs::write(&file, nginx_config(directory, &data, port))?;
                command
                    .arg("-p")
                    .arg(directory)
                    .arg("-c")
                    .arg(file)
                    .arg("-e")
                    .arg(directory.join("error.log"));
            }
            Kind::Axum => {
                command.arg(super::RAW_SERVER).arg(port.to_string());
            }
            Kind::Named => {
                let place = |text: &String| {
                    text.replace("{port}", &port.to_string()).replace("{dir}", &data.to_string_lossy())
                };
                command.args(self.arguments.iter().map(place));
            }
        }
        let probe = if self.kind == Kind::Nginx { "/index.html" } else { "/v2/" };
        Server::start(command, port, probe, &directory.join("server.log"))
    }

    /// Deletes what nothing refers to from the store of a stopped distribution that was started in `directory`.
    pub(crate) fn collect_garbage(&self, directory: &Path) -> Result<(), Failure> {
        let mut command = Command::new(&self.program);
        command.arg("garbage-collect").arg(directory.join("config.yml")).env("OTEL_TRACES_EXPORTER", "none");
        let output = command.current_dir(directory).stdin(std::process::Stdio::null()).output()?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let text: String = text.chars().take(200).collect();
        Err(format!("garbage-collect ended with {}: {text}", output.status).into())
    }
}

/// `cache` is as in the configuration file that Debian and the project ship.
fn distribution_config(data: &Path, port: u16) -> String {
    format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage:\n  \
         cache: {{blobdescriptor: inmemory}}\n  filesystem: {{rootdirectory: {:?}}}\n  delete: {{enabled: true}}\n\
         http: {{addr: '127.0.0.1:{port}', secret: bench}}\n",
        data
    )
}

fn zot_config(data: &Path, port: u16) -> String {
    serde_json::json!({
        "distSpecVersion": "1.1.1",
        "storage": { "rootDirectory": data },
        "http": { "address": "127.0.0.1", "port": port.to_string() },
        "log": { "level": "error" },
    })
    .to_string()
}

fn nginx_config(directory: &Path, data: &Path, port: u16) -> String {
    let temporary = |kind: &str| format!("{kind}_temp_path {};", directory.join(kind).display());
    let temporary: String =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].iter().map(|kind| temporary(kind)).collect();
    // Without a user of its own root's workers could not read the directory.
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    format!(
        "{user} daemon off; worker_processes auto; pid {};\nevents {{ worker_connections 1024; }}\n\
         http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; {temporary}\n\
         open_file_cache max=10000; default_type application/octet-stream;\n\
         server {{ listen 127.0.0.1:{port}; root {}; }} }}\n",
        directory.join("nginx.pid").display(),
        data.display(),
    )
}

/// Every server found here; rreg first.
pub(crate) fn discover() -> Result<Vec<Peer>, Failure> {
    let mut peers = vec![Peer::new("rreg", Kind::Rreg, env!("CARGO_BIN_EXE_rreg"))];
    if let Some(program) = in_path("docker-registry") {
        peers.push(Peer::new("docker-registry", Kind::Distribution, program));
    }
    if let Some(program) = in_path("registry").or_else(|| in_go("registry")) {
        peers.push(Peer::new("distribution", Kind::Distribution, program));
    }
    if let Some(program) = env::var_os("RREG_BENCH_ZOT").map(PathBuf::from).or_else(|| in_path("zot")) {
        peers.push(Peer::new("zot", Kind::Zot, program));
    }
    for (key, value) in env::vars() {
        let Some(name) = key.strip_prefix("RREG_BENCH_PEER_") else { continue };
        let mut words = value.split_whitespace().map(str::to_owned);
        let program = words.next().ok_or_else(|| format!("{key} is empty; it takes a command line"))?;
        let mut peer = Peer::new(&name.to_lowercase(), Kind::Named, program);
        peer.arguments = words.collect();
        peers.push(peer);
    }
    if let Some(program) = in_path("nginx") {
        peers.push(Peer::new("nginx", Kind::Nginx, program));
    }
    peers.push(Peer::new("axum", Kind::Axum, env::current_exe()?));
    Ok(peers)
}

/// A program of this name.
pub(crate) fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    // Debian keeps servers in /usr/sbin, which a user's PATH may lack.
    let folders = env::split_paths(&path).chain(["/usr/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Where `go install` puts programs.
pub(crate) fn in_go(name: &str) -> Option<PathBuf> {
    let asked = |what: &str| {
        let output = Command::new("go").args(["env", what]).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (!text.is_empty()).then(|| PathBuf::from(text))
    };
    let folders = [
        env::var_os("GOBIN").map(PathBuf::from),
        asked("GOBIN"),
        asked("GOPATH").map(|path| path.join("bin")),
        env::var_os("HOME").map(|home| Path::new(&home).join("go/bin")),
    ];
    folders.into_iter().flatten().map(|folder| folder.join(name)).find(|file| file.is_file())
}
