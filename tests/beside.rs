//! Commands beside the server: they find the registry that is meant, or say where they looked, and leave nothing behind.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::harness::image::Image;
use crate::harness::{Backend, Registry, RunDir, postgres, tool};

/// Every command that works on the registry's own database or store.
const COMMANDS: [&[&str]; 27] = [
    &["user", "create", "root", "--admin"],
    &["user", "ls"],
    &["user", "rm", "root"],
    &["user", "passwd", "root"],
    &["robot", "create", "ci"],
    &["robot", "ls"],
    &["robot", "rm", "ci"],
    &["org", "create", "team"],
    &["org", "ls"],
    &["org", "rm", "team"],
    &["org", "add", "team", "root", "reader"],
    &["org", "remove", "team", "root"],
    &["can", "anonymous", "pull", "team/app"],
    &["audit"],
    &["audit", "--export", "jsonl"],
    &["gc", "plan"],
    &["gc", "run"],
    &["gc", "why", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
    &["fsck"],
    &["fsck", "--deep", "--heal"],
    &["fsck", "--reclaim-extra"],
    &["fsck", "--rebuild"],
    &["fsck", "--adopt"],
    &["tag", "history", "team/app"],
    &["tag", "rule", "list"],
    &["tag", "rule", "add", "releases"],
    &["tag", "rule", "rm", "releases"],
];

fn run(directory: &Path, args: &[&str], settings: &[(&str, &str)]) -> (Command, Output) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rreg"));
    command.args(args).current_dir(directory).env_clear().env("HOME", directory);
    command.envs(settings.iter().copied());
    let output = tool::output(&mut command);
    (command, output)
}

/// Nothing is made, and what was looked at is said.
fn finds_none(directory: &Path, args: &[&str], settings: &[(&str, &str)], place: &str) {
    let before = fs::read_dir(directory).unwrap().count();
    let (command, output) = run(directory, args, settings);
    let what = tool::describe(&command, &output);
    assert_eq!(output.status.code(), Some(78), "{what}");
    for part in [place, "RREG_CONFIG", "--config", "--data", "rreg serve", "rreg init"] {
        assert!(what.contains(part), "{part} is not in {what}");
    }
    assert!(output.stdout.is_empty(), "{what}");
    assert_eq!(fs::read_dir(directory).unwrap().count(), before, "{what}");
}

#[test]
fn only_serve_and_init_make_a_registry() {
    let home = RunDir::get().subdir("beside-");
    let elsewhere = home.path().join("elsewhere").display().to_string();
    for args in COMMANDS {
        let default = home.path().join("rreg-data").display().to_string();
        finds_none(home.path(), args, &[], &default);
        finds_none(home.path(), &[args, &["--data", &elsewhere]].concat(), &[], &elsewhere);
    }
    let file = home.path().join("rreg.toml");
    fs::write(&file, format!("storage.data = {elsewhere:?}\n")).unwrap();
    let named = [("RREG_CONFIG", file.to_str().unwrap())];
    finds_none(home.path(), &["audit"], &named, &format!("file {}", file.display()));
    finds_none(home.path(), &["audit"], &named, &elsewhere);
    finds_none(
        home.path(),
        &["audit"],
        &[("RREG_STORAGE__DATA", "nowhere")],
        "environment variable RREG_STORAGE__DATA",
    );
    finds_none(home.path(), &["audit"], &[("RREG_DATABASE__URL", "sqlite://other.db")], "other.db");
}

#[test]
fn an_empty_postgresql_database_stays_empty() {
    let Some(url) = postgres::database() else { return };
    let home = RunDir::get().subdir("beside-");
    let settings = [("RREG_DATABASE__URL", url.as_str())];
    for _ in 0..2 {
        for args in [&["user", "create", "root"][..], &["audit"], &["gc", "plan"], &["fsck"]] {
            finds_none(home.path(), args, &settings, "the PostgreSQL database");
        }
    }
    for _ in 0..2 {
        let (command, output) = run(home.path(), &["init"], &settings);
        assert!(output.status.success(), "{}", tool::describe(&command, &output));
    }
    let (command, output) = run(home.path(), &["audit"], &settings);
    assert!(output.status.success(), "{}", tool::describe(&command, &output));
}

/// Every file and directory below `directory`.
fn below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { [vec![path.clone()], below(&path)].concat() } else { vec![path] })
        .collect()
}

fn assert_owned(directory: &Path, owner: u32) {
    for path in below(directory) {
        assert_eq!(fs::symlink_metadata(&path).unwrap().uid(), owner, "{}", path.display());
    }
}

/// Whom a service might run as.
const SOMEBODY: u32 = 65534;

#[test]
fn before_the_first_start_root_leaves_what_the_service_can_write() {
    let home = RunDir::get().subdir("beside-");
    let root = rustix::process::geteuid().is_root();
    if root {
        chown(home.path(), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    }
    let data = home.path().join("state/data").display().to_string();
    for args in [
        &["init"][..],
        &["init"],
        &["user", "create", "root", "--admin"],
        &["org", "create", "team"],
        &["gc", "run"],
        &["fsck", "--heal"],
        &["user", "ls"],
    ] {
        let (command, output) = run(home.path(), &[args, &["--data", &data]].concat(), &[]);
        assert!(output.status.success(), "{}", tool::describe(&command, &output));
        if root {
            assert_owned(home.path(), SOMEBODY);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn root_keeps_the_owner_of_a_store() {
    if !rustix::process::geteuid().is_root() {
        tool::missing("root, which gives files away,");
        return;
    }
    let Some(mut registry) = Registry::start_with(Backend::SqliteDirectory, &[]).await else { return };
    let repository = registry.repository();
    registry.api().push(&repository, &Image::layered(&repository, 2), Some("v1")).await;
    registry.stop();
    let data = registry.home().join("data");
    let give = |path: &Path| chown(path, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    give(&data);
    below(&data).iter().for_each(|path| give(path));
    // A file of root's under another name is not given away.
    let other = registry.home().join("other");
    fs::write(&other, "root's").unwrap();
    fs::hard_link(&other, data.join("objects/link")).unwrap();
    for args in [&["gc", "run"][..], &["fsck", "--heal"], &["user", "create", "root"]] {
        let output = registry.rreg(args);
        assert!(output.status.code().is_some_and(|code| code <= 1), "{args:?}: {output:?}");
    }
    assert_eq!(fs::metadata(&other).unwrap().uid(), 0);
    fs::remove_file(data.join("objects/link")).unwrap();
    registry.lose_database();
    registry.rreg(&["fsck", "--rebuild"]);
    assert_owned(&data, SOMEBODY);
}

/// What a later version has changed is not touched, and it is said what to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_a_newer_version_is_left_alone() {
    use sqlx::Connection as _;
    for backend in [Backend::SqliteDirectory, Backend::PostgresS3] {
        let Some(mut registry) = Registry::start_with(backend, &[]).await else { continue };
        registry.stop();
        let database = registry.database_url();
        sqlx::any::install_default_drivers();
        let mut conn = sqlx::AnyConnection::connect(&database).await.unwrap();
        let later = "INSERT INTO _sqlx_migrations \
                     SELECT 9999, 'later', installed_on, success, checksum, execution_time FROM _sqlx_migrations \
                     WHERE version = 1";
        sqlx::query(later).execute(&mut conn).await.unwrap();
        conn.close().await.unwrap();
        for args in [&["serve", "--listen", "127.0.0.1:0"][..], &["user", "list"], &["fsck"], &["gc", "run"]]
        {
            let output = registry.rreg(args);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(78), "{args:?}: {said}");
            assert!(said.contains("version 9999") && said.contains("a newer rreg has changed it"), "{said}");
        }
    }
}
