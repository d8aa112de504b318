//! SIGHUP ends no server: what can be read again is, and the log says what.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::image::Image;
use crate::harness::{Backend, Child, Registry, RunDir, wait_until};

const SIGNED: &str = "
apiVersion: rreg/v1
kind: Policy
name: by-digest
at: [pull]
onError: deny
require: [{image: {digestOnly: true}}]
";

/// Waits until the log has this, `times` times.
async fn logged(registry: &Registry, text: &str, times: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let log = || fs::read_to_string(registry.home().join("log")).unwrap();
    while log().matches(text).count() < times {
        assert!(Instant::now() < deadline, "{text}: {}", registry.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_reads_policies_again_and_ends_nothing() {
    let home = RunDir::get().subdir("reload-");
    let settings = [("RREG_POLICY__DIRECTORY", home.path().to_str().unwrap())];
    let Some(mut registry) = Registry::start_with(Backend::SqliteDirectory, &settings).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    api.push(&repository, &Image::layered("reload", 1), Some("v1")).await;
    registry.hang_up();
    logged(&registry, "SIGHUP: read again: policies; all other settings need a restart", 1).await;
    api.get_manifest(&repository, "v1").expect(200).await;

    // What is there is read before the next word of the log, without waiting for it to be noticed.
    fs::write(home.path().join("all.yaml"), SIGNED).unwrap();
    registry.hang_up();
    logged(&registry, "SIGHUP: read again", 2).await;
    api.get_manifest(&repository, "v1").refused(403, "DENIED").await;

    // What cannot be read is told, and what was read before holds.
    fs::write(home.path().join("all.yaml"), "kind: Nothing\n").unwrap();
    registry.hang_up();
    logged(&registry, "SIGHUP: policies cannot be read; those read before go on to hold", 1).await;
    api.get_manifest(&repository, "v1").refused(403, "DENIED").await;
    // One after the other, also while the server stops.
    for _ in 0..20 {
        registry.hang_up();
    }
    api.get("/v2/").expect(200).await;
    assert!(registry.stop().success());
}

/// With TLS: the files of the certificate too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_says_that_tls_was_read_again() {
    let home = RunDir::get().subdir("reload-");
    crate::admission::listener::authority(home.path());
    let file = |name: &str| home.path().join(name).display().to_string();
    let (cert, key) = (file("server.pem"), file("server.key"));
    let settings = [("RREG_SERVER__TLS__CERT", cert.as_str()), ("RREG_SERVER__TLS__KEY", key.as_str())];
    let Some(mut registry) = Registry::start_with(Backend::SqliteDirectory, &settings).await else { return };
    registry.hang_up();
    logged(&registry, "SIGHUP: read again: policies, TLS files", 1).await;
    logged(&registry, "TLS files reloaded", 1).await;
    fs::write(Path::new(&key), "no key").unwrap();
    registry.hang_up();
    logged(&registry, "changed TLS files are unusable; the old ones stay", 1).await;
    assert!(registry.stop().success());
}

/// From its first moment on: whoever starts it may hang up before it listens.
#[test]
fn a_hangup_ends_no_server_that_starts() {
    let home = RunDir::get().subdir("reload-");
    let database = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://x:y@{}/z", database.local_addr().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_rreg"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(home.path().join("data"));
    command.env_clear().env("HOME", home.path()).env("RREG_DATABASE__URL", url);
    command.env("RREG_STORAGE__BACKEND", "s3").env("RREG_STORAGE__S3__BUCKET", "b");
    command.env("RREG_STORAGE__S3__REGION", "r").env("RREG_STORAGE__S3__ENDPOINT", "https://127.0.0.1:1");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut server = Child::spawn(&mut command, Signal::TERM);
    // It waits for its database's first word.
    let (connection, _) = database.accept().unwrap();
    server.send(Signal::HUP);
    drop((connection, database));
    wait_until("it gives up", || server.exited().is_some());
    // By itself: who is ended by a signal has no exit code.
    assert!(server.exited().unwrap().code().is_some());
}
