//! `rreg login`, `rreg logout`, `rreg whoami`: the credentials that Docker, podman and rreg share.

use std::convert::Infallible;
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use rreg_runtime::client::{Credential, CredentialError, Kept, Keychain};
use serde_json::json;

use crate::connect::Connect;
use crate::exit::{Exit, Failure};
use crate::named::Host;
use crate::output::Output;
use crate::password;
use crate::text::{GOOD, NAME, paint, plain};

#[derive(Args, Debug)]
pub(crate) struct Login {
    /// [http[s]://]host[:port]
    #[arg(value_name = "REGISTRY")]
    host: Host,
    /// User or robot; asked for at a terminal where it is not given
    #[arg(long, short, value_name = "NAME")]
    username: Option<String>,
    /// Read the password or token from standard input; without this it is asked for at the terminal
    #[arg(long)]
    password_stdin: bool,
    /// Refused: it is here to say why
    #[arg(long, short, hide = true, value_name = "PASSWORD")]
    password: Option<Refused>,
    #[command(flatten)]
    connect: Connect,
}

/// A password on the command line, of which nothing is kept.
#[derive(Clone, Copy, Debug)]
struct Refused;

impl FromStr for Refused {
    type Err = Infallible;

    fn from_str(_: &str) -> Result<Self, Infallible> {
        Ok(Self)
    }
}

#[derive(Args, Debug)]
pub(crate) struct Logout {
    /// [http[s]://]host[:port]
    #[arg(value_name = "REGISTRY")]
    host: Host,
}

#[derive(Args, Debug)]
pub(crate) struct Whoami {
    /// [http[s]://]host[:port]
    #[arg(value_name = "REGISTRY")]
    host: Host,
    #[command(flatten)]
    connect: Connect,
}

impl From<CredentialError> for Failure {
    fn from(error: CredentialError) -> Self {
        Self::new(Exit::Input, error.to_string())
    }
}

impl Login {
    /// The registry is asked before anything is kept.
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        if self.password.is_some() {
            let why = "a password on the command line can be read by everybody on this machine, and stays in the history";
            return Err(Failure::new(Exit::Usage, why).hint("--password-stdin reads it from standard input"));
        }
        let user = match &self.username {
            Some(user) => user.clone(),
            None if self.password_stdin => {
                return Err(Failure::new(Exit::Usage, "--password-stdin needs --username"));
            }
            None => password::ask_name("User: ")?,
        };
        if user.is_empty() || user.contains(':') {
            return Err(Failure::new(Exit::Usage, "a user's name has no colon and is not empty"));
        }
        let password =
            if self.password_stdin { password::from_stdin()? } else { password::ask_secret("Password: ")? };
        if password.is_empty() {
            return Err(Failure::new(Exit::Usage, "the password is empty"));
        }
        let credential = Credential::Password { user: user.clone(), password: password.clone() };
        let client = self.connect.client_with(&self.host, Keychain::fixed(credential))?;
        if let Err(error) = client.ping().await {
            return Err(refused(error.into(), &self.host));
        }
        if !client.asks_for_login().await {
            let value = json!({"registry": self.host.name(), "user": user, "kept": null});
            return output
                .done(&value, || format!("{} asks nobody for a login; nothing was kept\n", self.host));
        }
        let kept = Keychain::from_environment().keep(self.host.name(), &user, &password).await?;
        let place = match &kept {
            Kept::File(path) => path.display().to_string(),
            Kept::Helper(name) => format!("docker-credential-{name}"),
        };
        output.done(&json!({"registry": self.host.name(), "user": user, "kept": place}), || {
            let how = match kept {
                Kept::File(_) => ", readable for this user, not encrypted",
                Kept::Helper(_) => "",
            };
            format!(
                "{} at {} as {}\n       kept in {place}{how}\n",
                paint(GOOD, "logged in"),
                self.host,
                plain(&user)
            )
        })
    }
}

/// The registry takes neither this user nor password, or it could not be asked.
fn refused(failure: Failure, host: &Host) -> Failure {
    if failure.exit == Exit::Denied {
        failure.hint(format!("{host} does not take this name with this password; nothing was kept"))
    } else {
        failure
    }
}

impl Logout {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        let found = Keychain::from_environment().forget(self.host.name()).await?;
        output.done(&json!({"registry": self.host.name(), "removed": found}), || {
            if found {
                format!("logged out of {}\n", self.host)
            } else {
                format!("nothing was kept for {}\n", self.host)
            }
        })
    }
}

impl Whoami {
    /// Asks the registry too: what is kept may be old.
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        let keychain = Arc::new(Keychain::from_environment());
        let Some(credential) = keychain.find(self.host.name(), None).await? else {
            let client = self.connect.client_with(&self.host, Keychain::empty())?;
            let asked = client.ping().await;
            if asked.is_ok() && !client.asks_for_login().await {
                let value = json!({"registry": self.host.name(), "user": null});
                return output
                    .result(&value, || format!("anonymous: {} asks nobody for a login\n", self.host));
            }
            return Err(Failure::new(Exit::Denied, format!("nobody is logged in at {}", self.host))
                .hint(format!("`rreg login {}`", self.host.url())));
        };
        self.connect.client(&self.host)?.ping().await.map_err(|error| {
            let failure = Failure::from(error);
            if failure.exit == Exit::Denied {
                failure.hint(format!("what is kept is not taken any more: `rreg login {}`", self.host.url()))
            } else {
                failure
            }
        })?;
        let user = match &credential {
            Credential::Password { user, .. } => Some(plain(user)),
            Credential::IdentityToken(_) | Credential::RegistryToken(_) => None,
        };
        output.result(&json!({"registry": self.host.name(), "user": user}), || match &user {
            Some(user) => format!("{}\n", paint(NAME, user)),
            None => "whoever the token that is kept belongs to\n".to_owned(),
        })
    }
}
