//! `rreg tag history REPOSITORY[:TAG]`: what became of tags, from the registry's own database. `rreg tag rule`.

use clap::Subcommand;
use rreg_oci::{Digest, RepositoryName, Tag as TagName};
use rreg_server::Made;
use rreg_storage::TagChange;
use serde::Serialize;

use super::config::Place;
use super::tag_rule::Rule;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::text::{plain, table, timestamp};

/// What `rreg tag` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Tag {
    /// Show who moved which tag when, from which digest to which, the latest change first
    History(History),
    /// Which tags never move
    #[command(subcommand)]
    Rule(Rule),
}

#[derive(clap::Args, Debug)]
pub(crate) struct History {
    /// The repository in this registry, and the tag; without one all tags
    #[arg(value_name = "REPOSITORY[:TAG]", value_parser = target)]
    target: (RepositoryName, Option<TagName>),
    /// At most so many changes
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    place: Place,
}

fn target(text: &str) -> Result<(RepositoryName, Option<TagName>), String> {
    let (repository, tag) = match text.split_once(':') {
        Some((repository, tag)) => (repository, Some(tag.parse().map_err(|e| format!("{tag:?}: {e}"))?)),
        None => (text, None),
    };
    Ok((repository.parse().map_err(|e| format!("{repository:?}: {e}"))?, tag))
}

#[derive(Serialize)]
struct Change {
    tag: TagName,
    /// RFC 3339, UTC.
    at: String,
    actor: Option<String>,
    from: Option<Digest>,
    to: Option<Digest>,
}

impl From<TagChange> for Change {
    fn from(change: TagChange) -> Self {
        let TagChange { tag, actor, at, from, to, .. } = change;
        Self { tag, at: timestamp(at), actor, from, to }
    }
}

impl Tag {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        let history = match self {
            Self::History(history) => history,
            Self::Rule(rule) => return rule.run(output).await,
        };
        let config = history.place.existing(Made::Rows).await?;
        let storage = rreg_server::open_to_read(&config).await?;
        let (repository, tag) = &history.target;
        let changes = storage.metadata().tag_history(repository, tag.as_ref(), history.limit).await;
        storage.metadata().close().await;
        let changes: Vec<Change> = changes?.into_iter().map(Change::from).collect();
        output.result(&changes, || {
            let digest = |digest: Option<Digest>| digest.map_or_else(|| "-".to_owned(), |d| d.to_string());
            let rows: Vec<_> = changes
                .iter()
                .map(|c| {
                    let actor = c.actor.as_deref().map_or_else(|| "-".to_owned(), plain);
                    [c.at.clone(), c.tag.to_string(), actor, digest(c.from), digest(c.to)]
                })
                .collect();
            table(["WHEN", "TAG", "WHO", "FROM", "TO"], &rows)
        })
    }
}
