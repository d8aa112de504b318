//! `rreg org create|ls|rm|add|remove`

use clap::Subcommand;
use rreg_auth::Role;
use rreg_storage::Membership;
use serde_json::json;

use super::accounts::{Accounts, organisation, principal, unknown};
use super::config::Place;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::text::table;

/// What `rreg org` can do. An organisation is the first part of its repositories' names.
#[derive(Debug, Subcommand)]
pub(crate) enum Org {
    /// Make an organisation without members
    Create {
        /// First part of its repositories' names
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// List organisations, their members and the members' roles
    #[command(name = "list", visible_alias = "ls")]
    Ls {
        #[command(flatten)]
        place: Place,
    },
    /// End all roles in an organisation. Its repositories stay
    #[command(name = "delete", visible_alias = "rm")]
    Rm {
        /// Which
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Give a user or robot a role, in place of the one that they had
    Add {
        /// Organisation
        name: String,
        /// User or robot
        member: String,
        /// reader, writer, maintainer or admin
        role: String,
        #[command(flatten)]
        place: Place,
    },
    /// Take a user's or robot's role away
    Remove {
        /// Organisation
        name: String,
        /// User or robot
        member: String,
        #[command(flatten)]
        place: Place,
    },
}

impl Org {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Create { name, place } => {
                let name = organisation(name)?;
                let accounts = Accounts::open(place).await?;
                let empty = Membership {
                    organisation: name.as_str().to_owned(),
                    principal: String::new(),
                    role: String::new(),
                };
                let event = accounts.event("org create", name.as_str());
                accounts.metadata.set_membership(empty, event).await?;
                accounts.close().await;
                output.done(&json!({"organisation": name.as_str()}), || format!("organisation {name}\n"))
            }
            Self::Ls { place } => list(output, place).await,
            Self::Rm { name, place } => {
                let name = organisation(name)?;
                let accounts = Accounts::open(place).await?;
                let event = accounts.event("org rm", name.as_str());
                if !accounts.metadata.end_membership(name.as_str(), None, event).await? {
                    return Err(unknown("organisation", name.as_str()));
                }
                accounts.close().await;
                output.done(&json!({"removed": name.as_str()}), || format!("removed organisation {name}\n"))
            }
            Self::Add { name, member, role, place } => add(output, name, member, role, place).await,
            Self::Remove { name, member, place } => {
                let (name, member) = (organisation(name)?, principal(member)?);
                let accounts = Accounts::open(place).await?;
                let event = accounts.event("org remove", format!("{name} {member}"));
                let who = Some(member.as_str());
                if !accounts.metadata.end_membership(name.as_str(), who, event).await? {
                    return Err(unknown("member", &format!("{member} in organisation {name}")));
                }
                accounts.close().await;
                let value = json!({"organisation": name.as_str(), "removed": member.as_str()});
                output.done(&value, || format!("{member} has no role in {name} any more\n"))
            }
        }
    }
}

async fn add(output: &Output, name: &str, member: &str, role: &str, place: &Place) -> Result<Exit, Failure> {
    let (name, member, role) = (organisation(name)?, principal(member)?, role.parse::<Role>()?);
    let accounts = Accounts::open(place).await?;
    if !accounts.exists(&member).await? {
        return Err(unknown("user or robot", member.as_str()).hint("make one with `rreg user create`"));
    }
    let membership = Membership {
        organisation: name.as_str().to_owned(),
        principal: member.as_str().to_owned(),
        role: role.as_str().to_owned(),
    };
    let event = accounts.event("org add", format!("{name} {member} {role}"));
    accounts.metadata.set_membership(membership, event).await?;
    accounts.close().await;
    let value = json!({"organisation": name.as_str(), "member": member.as_str(), "role": role.as_str()});
    output.done(&value, || format!("{member} is {role} in {name}\n"))
}

async fn list(output: &Output, place: &Place) -> Result<Exit, Failure> {
    let accounts = Accounts::open(place).await?;
    let all = accounts.metadata.memberships(None).await?;
    let value: Vec<_> = all
        .iter()
        .map(|m| json!({"organisation": m.organisation, "member": m.principal, "role": m.role}))
        .collect();
    output.result(&json!({"memberships": value}), || {
        let rows: Vec<_> =
            all.iter().map(|m| [m.organisation.clone(), m.principal.clone(), m.role.clone()]).collect();
        table(["ORGANISATION", "MEMBER", "ROLE"], &rows)
    })
}
