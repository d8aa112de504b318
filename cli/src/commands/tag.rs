//! `rreg tag history REPOSITORY[:TAG]`: what became of tags, from the registry's own database.

use clap::Subcommand;
use rreg_oci::{Digest, RepositoryName, Tag as TagName};
use rreg_storage::TagChange;
use serde::Serialize;

use super::config::Place;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::text::{plain, table};

/// What `rreg tag` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Tag {
    /// Show who moved which tag when, from which digest to which, the latest change first
    History(History),
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
        let Self::History(history) = self;
        let config = history.place.load()?;
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

/// Milliseconds since the Unix epoch as RFC 3339 in UTC. The civil date is Howard Hinnant's `civil_from_days`
/// ("chrono-Compatible Low-Level Date Algorithms").
pub(crate) fn timestamp(ms: i64) -> String {
    let (days, rest) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hours, minutes, seconds) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59Z"),
            (1_735_689_600_000, "2025-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(timestamp(ms), text);
        }
    }

    #[test]
    fn targets() {
        assert_eq!(target("a/b").unwrap(), ("a/b".parse().unwrap(), None));
        assert_eq!(target("a/b:1.0").unwrap().1, Some("1.0".parse().unwrap()));
        assert!(target("A").is_err() && target("a:").is_err());
    }
}
