//! `rreg tag rule list|add|rm`: which tags never move, from the registry's own database. Works beside a running server,
//! which obeys from the next change of a tag on.

use clap::Subcommand;
use rreg_oci::Glob;
use rreg_oci::Tag as RuleName;
use rreg_server::tag_rule_view;
use rreg_storage::TagRule;
use serde_json::{Value, json};

use super::accounts::{Accounts, unknown};
use super::config::Place;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::text::{plain, table};

/// What `rreg tag rule` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Rule {
    /// List the rules for immutable tags, those of the configuration included
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Make tags immutable: where one is, it stays. Replaces the rule of the same name
    #[command(name = "create", visible_aliases = ["add", "put"])]
    Add {
        /// What refusals call it
        #[arg(value_name = "NAME")]
        name: RuleName,
        /// In repositories that match; may be given several times
        #[arg(long = "repository", value_name = "PATTERN", default_value = "**")]
        repositories: Vec<Glob>,
        /// Tags that match; may be given several times
        #[arg(long = "tag", value_name = "PATTERN", default_value = "**")]
        tags: Vec<Glob>,
        /// But not tags that match this; may be given several times
        #[arg(long, value_name = "PATTERN")]
        except: Vec<Glob>,
        #[command(flatten)]
        place: Place,
    },
    /// Remove a rule. Those of the configuration are changed there
    #[command(name = "delete", visible_alias = "rm")]
    Rm {
        /// Which
        #[arg(value_name = "NAME")]
        name: RuleName,
        #[command(flatten)]
        place: Place,
    },
}

impl Rule {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::List { place } => list(output, place).await,
            Self::Add { name, repositories, tags, except, place } => {
                let rule = TagRule {
                    name: name.to_string(),
                    repositories: repositories.clone(),
                    tags: tags.clone(),
                    except: except.clone(),
                };
                let accounts = Accounts::open(place).await?;
                let audit = accounts.event("tag rule add", name.as_str());
                accounts.metadata.put_tag_rule(rule.clone(), audit).await?;
                accounts.close().await;
                output.done(&tag_rule_view(&rule, "database"), || format!("rule {name}\n"))
            }
            Self::Rm { name, place } => {
                let accounts = Accounts::open(place).await?;
                let audit = accounts.event("tag rule rm", name.as_str());
                if !accounts.metadata.delete_tag_rule(name.as_str(), audit).await? {
                    return Err(unknown("rule", name.as_str())
                        .hint("rreg tag rule list shows all; those of the configuration are changed there"));
                }
                accounts.close().await;
                output.done(&json!({"removed": name.as_str()}), || format!("removed rule {name}\n"))
            }
        }
    }
}

fn texts(globs: &[Glob]) -> Vec<String> {
    globs.iter().map(Glob::to_string).collect()
}

async fn list(output: &Output, place: &Place) -> Result<Exit, Failure> {
    let accounts = Accounts::open(place).await?;
    let configured = accounts.config.tags.immutable.rules();
    let stored = accounts.metadata.stored_tag_rules().await;
    accounts.metadata.close().await;
    let stored = stored?;
    let all: Vec<(&TagRule, &str)> = (configured.all().iter().map(|rule| (rule, "configuration")))
        .chain(stored.iter().map(|rule| (rule, "database")))
        .collect();
    let value: Vec<Value> = all.iter().map(|(rule, source)| tag_rule_view(rule, source)).collect();
    output.result(&value, || {
        let rows: Vec<_> = all
            .iter()
            .map(|(rule, source)| {
                let except =
                    if rule.except.is_empty() { "-".to_owned() } else { texts(&rule.except).join(" ") };
                let (repositories, tags) = (texts(&rule.repositories).join(" "), texts(&rule.tags).join(" "));
                [plain(&rule.name), (*source).to_owned(), repositories, tags, except]
            })
            .collect();
        table(["NAME", "FROM", "REPOSITORIES", "TAGS", "EXCEPT"], &rows)
    })
}
