//! `rreg user create|ls|rm|passwd`

use clap::Subcommand;
use serde_json::json;

use super::accounts::{Accounts, Password, principal, unknown};
use super::config::Place;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::text::{table, timestamp};
use rreg_server::config::AuthMode;

/// What `rreg user` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum User {
    /// Make a user. Prints a fresh password, unless one comes on standard input
    Create {
        /// Lower-case letters, digits and . _ - @
        name: String,
        /// Let them administer the whole registry
        #[arg(long)]
        admin: bool,
        /// Read the password from standard input
        #[arg(long)]
        password_stdin: bool,
        #[command(flatten)]
        place: Place,
    },
    /// List users
    #[command(name = "list", visible_alias = "ls")]
    Ls {
        #[command(flatten)]
        place: Place,
    },
    /// Remove a user and their roles
    #[command(name = "delete", visible_alias = "rm")]
    Rm {
        /// Whom
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Set a new password. Prints a fresh one, unless one comes on standard input
    Passwd {
        /// Whose
        name: String,
        /// Read the password from standard input
        #[arg(long)]
        password_stdin: bool,
        #[command(flatten)]
        place: Place,
    },
}

impl User {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Create { name, admin, password_stdin, place } => {
                let name = principal(name)?;
                let accounts = Accounts::open(place).await?;
                let password = Password::new(*password_stdin)?;
                let taken = accounts.htpasswd.contains(&name);
                let event = accounts.event("user create", name.as_str());
                let credential = password.credential.clone();
                let made = !taken
                    && accounts
                        .metadata
                        .create_principal(name.as_str(), "user", *admin, credential, event)
                        .await?;
                if !made {
                    let why = format!("the name {name} is taken by a user, a robot or the htpasswd file");
                    return Err(
                        Failure::new(Exit::Refused, why).hint("`rreg user passwd` sets a new password")
                    );
                }
                tell_if_open(&accounts, output);
                accounts.close().await;
                show(output, name.as_str(), password.shown)
            }
            Self::Ls { place } => {
                let accounts = Accounts::open(place).await?;
                let users = accounts.metadata.principals("user").await?;
                let value: Vec<_> = users
                    .iter()
                    .map(|user| json!({"name": user.name, "admin": user.admin, "created": timestamp(user.created_at)}))
                    .collect();
                output.result(&json!({"users": value}), || {
                    let rows: Vec<_> = users
                        .iter()
                        .map(|user| {
                            let admin = if user.admin { "yes" } else { "" };
                            [user.name.clone(), admin.to_owned(), timestamp(user.created_at)]
                        })
                        .collect();
                    table(["NAME", "ADMIN", "CREATED"], &rows)
                })
            }
            Self::Rm { name, place } => {
                let name = principal(name)?;
                let accounts = Accounts::open(place).await?;
                let event = accounts.event("user rm", name.as_str());
                if !accounts.metadata.delete_principal(name.as_str(), "user", event).await? {
                    return Err(unknown("user", name.as_str()));
                }
                accounts.close().await;
                output.done(&json!({"removed": name.as_str()}), || format!("removed user {name}\n"))
            }
            Self::Passwd { name, password_stdin, place } => {
                let name = principal(name)?;
                let accounts = Accounts::open(place).await?;
                let password = Password::new(*password_stdin)?;
                let credential = password.credential.clone();
                let event = accounts.event("user passwd", name.as_str());
                let metadata = &accounts.metadata;
                if !metadata.replace_credentials(name.as_str(), "user", credential, event).await? {
                    return Err(unknown("user", name.as_str()));
                }
                accounts.close().await;
                show(output, name.as_str(), password.shown)
            }
        }
    }
}

/// Who makes a user expects that logins are asked for.
fn tell_if_open(accounts: &Accounts, output: &Output) {
    if accounts.config.auth.mode == AuthMode::Open {
        output.note("this registry asks nobody to log in: its configuration has auth.mode = \"open\"");
    }
}

/// A password that we made must be told; one that we were given must not.
fn show(output: &Output, name: &str, password: Option<String>) -> Result<Exit, Failure> {
    let value = json!({"user": name, "password": password});
    match &password {
        Some(password) => {
            output.result(&value, || format!("user {name}, password (shown once): {password}\n"))
        }
        None => output.done(&json!({"user": name}), || format!("user {name}\n")),
    }
}
