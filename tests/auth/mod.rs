//! Login, roles, tokens and the audit trail, from outside.

/// Makes two tests of each `async fn name(backend: Backend)`.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite_directory() {
                super::$name($crate::harness::Backend::SqliteDirectory).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres_s3() {
                super::$name($crate::harness::Backend::PostgresS3).await;
            }
        }
    )*};
}
use on_both;

mod administration;
mod audit;
mod bootstrap;
mod cves;
mod issuer;
mod oidc;
mod private;
mod proxies;
mod rules;
mod strangers;
mod tokens;

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::http::{Call, base64, basic};
use crate::harness::{Backend, Registry, tool};

/// Passwords of the users below.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// A registry that asks who is calling, with an administrator `root`, members `reader`, `writer` and `maintainer` of the
/// organisation `team`, and `stranger`, who writes to the organisation `other`.
pub(crate) struct Team(pub(crate) Registry);

impl Team {
    pub(crate) async fn start(backend: Backend, settings: &[(&'static str, &str)]) -> Option<Self> {
        let mut all = vec![("RREG_AUTH__MODE", "local"), ("RREG_AUTH__PUBLIC", "public/*")];
        all.extend(settings);
        let team = Self(Registry::start_with(backend, &all).await?);
        team.user(&["root", "--admin"]);
        for name in ["reader", "writer", "maintainer"] {
            team.user(&[name]);
            team.rreg(&["org", "add", "team", name, name]);
        }
        team.user(&["stranger"]);
        team.rreg(&["org", "add", "other", "stranger", "maintainer"]);
        Some(team)
    }

    /// Runs a command beside the server.
    pub(crate) fn rreg(&self, args: &[&str]) -> Value {
        let text = tool::run(self.0.command(args).args(["--output", "json"]));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{args:?}: {e}: {text}"))
    }

    fn user(&self, args: &[&str]) {
        let mut command = self.0.command(&["user", "create", "--password-stdin"]);
        pipe(command.args(args), PASSWORD);
    }
}

/// Runs `command` with `input` on its standard input.
fn pipe(command: &mut Command, input: &str) {
    use std::io::Write as _;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{command:?}");
}

/// As one of the team's users, or nobody.
fn by<'a>(call: Call<'a>, name: &str) -> Call<'a> {
    if name == "anonymous" { call } else { call.header("authorization", &basic(name, PASSWORD)) }
}

/// A token for `name` (nobody, where that is "anonymous").
async fn token(team: &Team, name: &str, scopes: &[&str]) -> String {
    let scopes: String = scopes.iter().map(|scope| format!("&scope={scope}")).collect();
    let api = team.0.api();
    let answer = by(api.get(format!("/v2/token?service=rreg{scopes}")), name).expect(200).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.json()["token"].as_str().unwrap().to_owned()
}

/// Holding a token.
fn bearing<'a>(call: Call<'a>, token: &str) -> Call<'a> {
    call.header("authorization", &format!("Bearer {token}"))
}
