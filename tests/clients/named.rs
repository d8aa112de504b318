//! `https://` and `http://` before a host, in every command that takes a registry, a repository or an image.

use std::fs;

use super::{Home, shapes};
use crate::harness::{Backend, Registry, tool};

const RREG: &str = env!("CARGO_BIN_EXE_rreg");

/// Runs `rreg` and gives its exit code with all that it said.
fn said(home: &Home, args: &[&str]) -> (Option<i32>, String) {
    let mut command = home.command(RREG);
    let output = tool::output(command.args(args));
    (output.status.code(), tool::describe(&command, &output))
}

fn succeed(home: &Home, args: &[&str]) {
    let (code, said) = said(home, args);
    assert_eq!(code, Some(0), "{said}");
}

/// What every client command does with a registry, named by `host`, which may have a scheme.
fn walk(home: &Home, host: &str, flags: &[&str]) {
    let [(_, image), ..] = shapes("named");
    let layout = home.layout("image", &image).display().to_string();
    let name = format!("{host}/team/app:v1");
    let copy = format!("{host}/team/copy:v1");
    let archive = home.path("back.tar").display().to_string();
    fs::write(home.path("key.pub"), PUBLIC).unwrap();
    let policy = home.path("policy.yaml").display().to_string();
    fs::write(&policy, POLICY).unwrap();
    let key = home.path("key.pub").display().to_string();
    let pattern = format!("{host}/team/**");
    let commands: &[&[&str]] = &[
        &["push", &layout, &name],
        &["cp", &name, &copy],
        &["ls", host],
        &["ls", &format!("{host}/")],
        &["ls", &format!("{host}/team/app")],
        &["ls", "--referrers", &name],
        &["inspect", &name],
        &["pull", &name, &archive],
        &["tree", &name],
        &["gate", &name, "--policy", &policy],
        &["trust", "put", host, "team.pub", &key],
        &["trust", "list", host],
        &["policy", "put", host, &policy],
        &["policy", "list", host],
        &["policy", "get", host, "named"],
        &["policy", "explain", &pattern, "--what-if", &policy],
        &["policy", "delete", host, "named"],
        &["trust", "delete", host, "team.pub"],
        &["rm", &copy],
    ];
    for command in commands {
        succeed(home, &[command, flags].concat());
    }
}

const POLICY: &str = "
apiVersion: rreg/v1
kind: Policy
name: named
match: {repos: [\"team/**\"]}
at: [run]
mode: audit
require:
  - image: {denyPorts: 22}
";

const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEWvXxKpMvyxXr7RdWWJGd2C0bhfWn
qIjU9IUOPpOBuSG7UOxE9IJEtXxpsFVVJ4UWjnYUpLFmXQyqU7DGDoYkOw==
-----END PUBLIC KEY-----
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheme_is_understood_everywhere() {
    let Some(registry) = Registry::start(Backend::SqliteDirectory).await else { return };
    let home = Home::for_programs(&[]).unwrap();
    walk(&home, registry.address(), &[]);
    walk(&home, &format!("http://{}", registry.address()), &[]);
    // It decides for its host, whatever the flag says, and it is told what was tried.
    let (code, said) = said(&home, &["ls", &format!("https://{}", registry.address())]);
    assert_eq!(code, Some(2), "{said}");
    let (tried, hint) =
        (format!("tried https://{}", registry.address()), format!("write http://{}", registry.address()));
    assert!(said.contains(&tried) && said.contains(&hint), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loopback_address_speaks_tls_when_asked() {
    let home = Home::for_programs(&[]).unwrap();
    crate::admission::listener::authority(&home.path("."));
    let file = |name: &str| home.path(name).display().to_string();
    let (cert, key, ca) = (file("server.pem"), file("server.key"), file("ca.pem"));
    let tls = [("RREG_SERVER__TLS__CERT", cert.as_str()), ("RREG_SERVER__TLS__KEY", &key)];
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &tls).await else { return };
    let host = registry.address().replace("127.0.0.1", "localhost");
    walk(&home, &format!("https://{host}"), &["--ca-file", &ca]);
    // Who names an authority means TLS.
    walk(&home, &host, &["--ca-file", &ca]);
    // Without a scheme http is tried on this machine; the way out is named, and it is the right one.
    let (code, text) = said(&home, &["ls", &host]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains(&format!("tried http://{host}")), "{text}");
    assert!(text.contains(&format!("write https://{host}")) && !text.contains("--plain-http"), "{text}");
    let (code, text) = said(&home, &["ls", &format!("https://{host}")]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("--ca-file") && text.contains(&format!("tried https://{host}")), "{text}");
}

#[test]
fn what_is_no_scheme_of_registries_is_said() {
    let home = Home::for_programs(&[]).unwrap();
    for args in [&["inspect", "docker://127.0.0.1:1/a:b"][..], &["ls", "oci://127.0.0.1:1"]] {
        let (code, said) = said(&home, args);
        assert_eq!(code, Some(64), "{said}");
        assert!(said.contains("write 127.0.0.1:1"), "{said}");
    }
    let (code, said) = said(&home, &["ls", "127.0.0.1:1"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("tried http://127.0.0.1:1") && said.contains("a registry runs there"), "{said}");
}
