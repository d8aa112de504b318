//! `rreg key`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::{PASSWORD, command, key_pair, output, person, rreg};
use crate::harness::tool;

#[test]
fn keys_are_made_once_and_kept_secret() {
    let home = person();
    let (private, public) = key_pair(&home, "team");
    let mode = fs::metadata(&private).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(
        fs::read_to_string(&private).unwrap().starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n")
    );
    assert_eq!(rreg(&home, &["key", "public", &private]), fs::read_to_string(&public).unwrap());
    let again = output(&home, &["key", "generate", "team"]);
    assert_eq!(again.status.code(), Some(64), "{again:?}");
    // The public half alone is not replaced either.
    fs::remove_file(&private).unwrap();
    assert_eq!(output(&home, &["key", "generate", "team"]).status.code(), Some(64));
    assert!(!home.path("team.key").exists());
}

#[test]
fn a_password_is_asked_for_and_never_guessed() {
    let home = person();
    let (private, _) = key_pair(&home, "team");
    let with = |name: &str, value: &str, args: &[&str]| {
        let mut command = command(&home, args);
        command.env_remove("RREG_KEY_PASSWORD").env(name, value);
        tool::output(&mut command)
    };
    let show = ["key", "public", &private];
    assert!(with("COSIGN_PASSWORD", PASSWORD, &show).status.success());
    let wrong = with("RREG_KEY_PASSWORD", "wrong", &show);
    assert_eq!(wrong.status.code(), Some(66));
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(said.contains("password is wrong") && !said.contains("PRIVATE KEY-----"), "{said}");
    let none = with("NOTHING", "", &show);
    assert!(String::from_utf8_lossy(&none.stderr).contains("RREG_KEY_PASSWORD"), "{none:?}");
    // An empty password only where somebody says so.
    let empty = with("RREG_KEY_PASSWORD", "", &["key", "generate", "open"]);
    assert_eq!(empty.status.code(), Some(64), "{empty:?}");
    assert!(with("NOTHING", "", &["key", "generate", "open", "--no-password"]).status.success());
    assert!(with("NOTHING", "", &["key", "public", "open.key", "--no-password"]).status.success());
    // Which nobody needs to say again, unless something else was said.
    assert!(with("NOTHING", "", &["key", "public", "open.key"]).status.success());
    assert_eq!(with("RREG_KEY_PASSWORD", "wrong", &["key", "public", "open.key"]).status.code(), Some(66));
}
