//! External programs: finding them, running them, and what it means when one is not there.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// Where `name` is on the `PATH`; Debian keeps daemons in `sbin`, which is not on every user's.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// Whether all of `names` are installed.
///
/// # Panics
/// When one is not and the run requires them all (`CI=true` or `RREG_TEST_REQUIRE=1`).
pub(crate) fn have(names: &[&str]) -> bool {
    names.iter().all(|name| {
        let found = find(name).is_some();
        if !found {
            missing(name);
        }
        found
    })
}

/// Says that `what` is missing.
///
/// # Panics
/// When the run requires it.
pub(crate) fn missing(what: &str) {
    let set = |name: &str, value: &str| env::var(name).is_ok_and(|v| v == value);
    assert!(
        !(set("CI", "true") || set("RREG_TEST_REQUIRE", "1")),
        "{what} is not installed and this run requires it; `tests/run` installs what the tests need"
    );
    skip(&format!("{what} is not installed"));
}

/// Says that a test, or a part of one, does not run here.
pub(crate) fn skip(why: &str) {
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    eprintln!("skipped {test}: {why}");
}

/// Runs to the end and gives standard output.
///
/// # Panics
/// When the program fails, with everything that it said.
pub(crate) fn run(command: &mut Command) -> String {
    let output = output(command);
    assert!(output.status.success(), "{}", describe(command, &output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs to the end and gives all of it, success or not.
pub(crate) fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"))
}

/// What was run and what it said, for a failure's message.
pub(crate) fn describe(command: &Command, output: &Output) -> String {
    format!(
        "{command:?}: {}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
