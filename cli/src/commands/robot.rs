//! `rreg robot create|ls|rm`

use clap::Subcommand;
use rreg_auth::Role;
use rreg_storage::{Membership, expiry_in};
use serde_json::json;

use super::accounts::{Accounts, fresh_token, lifetime, organisation, principal, unknown};
use super::config::Place;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::text::{table, timestamp};

/// What `rreg robot` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Robot {
    /// Make a robot account and print its token, once
    Create {
        /// Lower-case letters, digits and . _ - @
        name: String,
        /// Organisation that it works in
        #[arg(long, value_name = "ORGANISATION", requires = "role")]
        org: Option<String>,
        /// Its role there: reader, writer, maintainer or admin
        #[arg(long, requires = "org")]
        role: Option<String>,
        /// Let it administer the whole registry
        #[arg(long)]
        admin: bool,
        /// How long the token is good, such as 90d
        #[arg(long, value_name = "DURATION", default_value = "365d", value_parser = lifetime)]
        expires: u64,
        #[command(flatten)]
        place: Place,
    },
    /// List robot accounts
    #[command(name = "list", visible_alias = "ls")]
    Ls {
        #[command(flatten)]
        place: Place,
    },
    /// Remove a robot account, its token and its roles
    #[command(name = "delete", visible_alias = "rm")]
    Rm {
        /// Which
        name: String,
        #[command(flatten)]
        place: Place,
    },
}

impl Robot {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Create { name, org, role, admin, expires, place } => {
                let member = org.as_deref().zip(role.as_deref());
                create(output, (name, *admin), member, *expires, place).await
            }
            Self::Ls { place } => list(output, place).await,
            Self::Rm { name, place } => {
                let name = principal(name)?;
                let accounts = Accounts::open(place).await?;
                let event = accounts.event("robot rm", name.as_str());
                if !accounts.metadata.delete_principal(name.as_str(), "robot", event).await? {
                    return Err(unknown("robot", name.as_str()));
                }
                accounts.close().await;
                output.done(&json!({"removed": name.as_str()}), || format!("removed robot {name}\n"))
            }
        }
    }
}

async fn create(
    output: &Output,
    (name, admin): (&str, bool),
    member: Option<(&str, &str)>,
    expires: u64,
    place: &Place,
) -> Result<Exit, Failure> {
    let name = principal(name)?;
    let member = match member {
        Some((org, role)) => Some((organisation(org)?, role.parse::<Role>()?)),
        None => None,
    };
    let accounts = Accounts::open(place).await?;
    let expires_at = expiry_in(expires);
    let (token, credential) = fresh_token(Some(expires_at));
    let taken = accounts.htpasswd.contains(&name);
    let event = accounts.event("robot create", name.as_str());
    let metadata = &accounts.metadata;
    if taken || !metadata.create_principal(name.as_str(), "robot", admin, credential, event).await? {
        let why = format!("the name {name} is taken by a user, a robot or the htpasswd file");
        return Err(Failure::new(Exit::Refused, why));
    }
    if let Some((org, role)) = member {
        let (organisation, role) = (org.as_str().to_owned(), role.as_str().to_owned());
        let event = accounts.event("org add", format!("{organisation} {name} {role}"));
        let membership = Membership { organisation, principal: name.as_str().to_owned(), role };
        accounts.metadata.set_membership(membership, event).await?;
    }
    accounts.close().await;
    let until = timestamp(expires_at);
    let value = json!({"robot": name.as_str(), "token": token.expose(), "expires": until});
    output.result(&value, || {
        format!("robot {name}, token (shown once, good until {until}): {}\n", token.expose())
    })
}

async fn list(output: &Output, place: &Place) -> Result<Exit, Failure> {
    let accounts = Accounts::open(place).await?;
    let robots = accounts.metadata.principals("robot").await?;
    let expires = |at: Option<i64>| at.map(timestamp);
    let value: Vec<_> = robots
        .iter()
        .map(|robot| {
            json!({"name": robot.name, "created": timestamp(robot.created_at), "expires": expires(robot.expires_at)})
        })
        .collect();
    output.result(&json!({"robots": value}), || {
        let rows: Vec<_> = robots
            .iter()
            .map(|robot| {
                let until = expires(robot.expires_at).unwrap_or_else(|| "never".to_owned());
                [robot.name.clone(), timestamp(robot.created_at), until]
            })
            .collect();
        table(["NAME", "CREATED", "EXPIRES"], &rows)
    })
}
