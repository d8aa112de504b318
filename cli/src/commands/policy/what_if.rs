//! `rreg policy explain --what-if POLICY`: which images of a registry would have another outcome.

use std::path::Path;

use bytes::Bytes;
use rreg_oci::{Glob, Operation};
use rreg_policy::{Outcome, Point};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::commands::gate::policies;
use crate::connect::Connect;
use crate::exit::{Exit, Failure};
use crate::named::Host;
use crate::output::Output;
use crate::text::{plain, table};

/// What a registry answers.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    /// Images that were looked at.
    looked: u64,
    /// Whether these are all.
    complete: bool,
    #[serde(default)]
    not_looked: Vec<String>,
    changes: Vec<Change>,
}

/// An image whose outcome would change.
#[derive(Deserialize, Serialize)]
struct Change {
    repository: String,
    digest: String,
    #[serde(default)]
    tags: Vec<String>,
    before: Outcome,
    after: Outcome,
    /// Of the harder one of both.
    #[serde(default)]
    reason: String,
}

pub(super) async fn run(
    output: &Output,
    file: &Path,
    targets: &[String],
    at: Point,
    connect: &Connect,
) -> Result<Exit, Failure> {
    let (host, globs) = targets_of(targets)?;
    let policy = policies::text(file)?;
    let globs: Vec<String> = globs.iter().map(Glob::to_string).collect();
    let question = json!({"policy": policy, "repositories": globs, "at": at});
    let document = ("application/json", Bytes::from(question.to_string()));
    let answer = connect.client(&host)?.own(Operation::WhatIf, Some(document)).await?;
    let answer: Answer = serde_json::from_slice(&answer)
        .map_err(|e| Failure::new(Exit::Unreachable, format!("{host} did not answer as rreg does: {e}")))?;
    output.result(&answer, || human(&answer))?;
    Ok(if answer.complete { Exit::Ok } else { Exit::Unreachable })
}

/// One registry, and the repositories meant; none for all of them.
fn targets_of(targets: &[String]) -> Result<(Host, Vec<Glob>), Failure> {
    let wrong = |why: String| Failure::new(Exit::Usage, why);
    let (mut host, mut globs, mut all) = (None, Vec::new(), false);
    for target in targets {
        let (named, pattern) = Host::split(target).map_err(wrong)?;
        if *host.get_or_insert_with(|| named.clone()) != named {
            return Err(wrong("one registry at a time can be asked".into()));
        }
        let pattern = pattern.unwrap_or_default();
        match pattern {
            "" => all = true,
            _ => globs.push(pattern.parse().map_err(|e| wrong(format!("{pattern:?} is no pattern: {e}")))?),
        }
    }
    let host = host.ok_or_else(|| wrong("name a registry".into()))?;
    Ok((host, if all { Vec::new() } else { globs }))
}

fn human(answer: &Answer) -> String {
    let rows: Vec<[String; 5]> = (answer.changes.iter())
        .map(|change| {
            let outcome = format!("{} → {}", change.before.word(), change.after.word());
            let tags = change.tags.join(" ");
            [&change.repository, &change.digest, &tags, &outcome, &change.reason].map(|cell| plain(cell))
        })
        .collect();
    let mut text = String::new();
    if !rows.is_empty() {
        text.push_str(&table(["REPOSITORY", "DIGEST", "TAGS", "OUTCOME", "REASON"], &rows));
    }
    let part = if answer.complete { "" } else { "; not all could be looked at" };
    text.push_str(&format!("{} of {} images would change{part}\n", rows.len(), answer.looked));
    text.extend(answer.not_looked.iter().map(|why| format!("  not looked at: {}\n", plain(why))));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_and_patterns() {
        let of = |targets: &[&str]| {
            let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
            let found = targets_of(&targets);
            found.map(|(host, globs)| (host.to_string(), globs.len())).map_err(|failure| failure.exit)
        };
        assert_eq!(of(&["a:5000"]).unwrap(), ("a:5000".to_owned(), 0));
        assert_eq!(of(&["a:5000/prod/**", "a:5000/x"]).unwrap(), ("a:5000".to_owned(), 2));
        assert_eq!(of(&["a/x", "a"]).unwrap(), ("a".to_owned(), 0), "all of them");
        assert_eq!(of(&["a/x", "b/x"]).unwrap_err(), Exit::Usage);
    }
}
