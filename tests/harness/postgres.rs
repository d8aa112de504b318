//! One PostgreSQL cluster a test run, from Debian's package: socket only, without fsync (durability is tested
//! on rreg's side of it), one database a server.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;

use super::run_dir::{Child, RunDir, wait_until};
use super::tool;

struct Cluster {
    bin: PathBuf,
    socket_dir: PathBuf,
    /// Ended by the run's reaper.
    _server: Child,
}

/// Makes a database and gives its URL, or `None` when PostgreSQL is not installed.
pub(crate) fn database() -> Option<String> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let cluster = CLUSTER.get_or_init(start).as_ref()?;
    let name = format!("rreg_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    tool::run(
        Command::new(cluster.bin.join("createdb"))
            .arg("-h")
            .arg(&cluster.socket_dir)
            .args(["-U", "rreg", &name]),
    );
    Some(format!("postgres://rreg@localhost/{name}?host={}", cluster.socket_dir.display()))
}

/// Debian keeps the server's programs outside `PATH`, one folder a major version.
fn bin() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|dir| dir.join("initdb").exists() && dir.join("createdb").exists())
        .collect();
    found.sort();
    found.pop().or_else(|| tool::find("initdb")?.parent().map(Path::to_owned))
}

/// PostgreSQL refuses to run as root; then it runs as the package's user, or as nobody.
fn user() -> Option<(u32, u32)> {
    let id = |args: &[&str]| {
        let out = Command::new("id").args(args).stderr(Stdio::null()).output().ok()?;
        String::from_utf8(out.stdout).ok()?.trim().parse::<u32>().ok()
    };
    if id(&["-u"])? != 0 {
        return None;
    }
    let name = if id(&["-u", "postgres"]).is_some() { "postgres" } else { "nobody" };
    Some((id(&["-u", name])?, id(&["-g", name])?))
}

fn start() -> Option<Cluster> {
    let Some(bin) = bin() else {
        tool::missing("postgresql (initdb)");
        return None;
    };
    let home = RunDir::get().path().join("pg");
    fs::create_dir(&home).unwrap();
    let user = user();
    let as_user = |program: &str| {
        let mut command = Command::new(bin.join(program));
        command.current_dir(&home).stdin(Stdio::null()).env_remove("PGDATA").env("LC_ALL", "C.UTF-8");
        if let Some((uid, gid)) = user {
            command.uid(uid).gid(gid);
        }
        command
    };
    if let Some((uid, gid)) = user {
        std::os::unix::fs::chown(&home, Some(uid), Some(gid)).unwrap();
    }
    let data = home.join("data");
    tool::run(
        as_user("initdb")
            .args(["--no-sync", "--auth=trust", "--username=rreg", "-E", "UTF8", "-D"])
            .arg(&data),
    );
    let log = fs::File::create(home.join("log")).unwrap();
    let settings = ["listen_addresses=", "fsync=off", "max_connections=500", "shared_buffers=64MB"];
    let mut server = as_user("postgres");
    server.arg("-D").arg(&data).arg("-k").arg(&home).args(settings.iter().flat_map(|s| ["-c", s]));
    server.stdout(log.try_clone().unwrap()).stderr(log);
    // SIGINT is PostgreSQL's fast shutdown: it does not wait for clients to leave.
    let mut server = Child::spawn(&mut server, Signal::INT);
    wait_until("PostgreSQL", || {
        assert!(server.exited().is_none(), "{}", fs::read_to_string(home.join("log")).unwrap_or_default());
        Command::new(bin.join("pg_isready"))
            .arg("-h")
            .arg(&home)
            .args(["-U", "rreg", "-d", "postgres"])
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    });
    Some(Cluster { bin, socket_dir: home, _server: server })
}
