//! Which images would have another outcome under another policy.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use rreg_oci::Glob;
use rreg_policy::{Facts, Outcome, Point, Policy};
use rreg_storage::{StorageError, Undecided};
use serde_json::{Value, json};

use super::active::Asked;
use super::decide;
use super::facts::{self, Looked};
use crate::app::App;

/// Manifests read at once.
const PAGE: usize = 50;
/// Most manifests that one request looks at, and most changes that it tells.
const MAX_LOOKED: u64 = 1_000_000;
const MAX_CHANGES: usize = 10_000;

/// Evaluates every image of the repositories that `globs` name (all, where there are none) under the policies that
/// hold, and under them with `new` in place of those of its names.
pub(crate) async fn what_if(
    app: &Arc<App>,
    new: Vec<Policy>,
    globs: &[Glob],
    at: Point,
) -> Result<Value, StorageError> {
    let active = app.admission.active();
    let mut policies: Vec<Policy> = active.policies.clone();
    policies.retain(|policy| new.iter().all(|other| other.name != policy.name));
    policies.extend(new);
    let then = active.with(policies);
    let (mut after, mut looked, mut changes, mut not_looked) = (0, 0u64, Vec::new(), Vec::new());
    let complete = loop {
        let page = app.storage.metadata().judged_manifests(after, PAGE).await?;
        let Some((last, _)) = page.last() else { break true };
        after = *last;
        for (_, about) in &page {
            if !globs.is_empty() && !globs.iter().any(|glob| glob.matches(about.repository.as_str())) {
                continue;
            }
            if looked >= MAX_LOOKED || changes.len() >= MAX_CHANGES {
                break;
            }
            looked += 1;
            let now = Utc::now();
            // Facts under the roots of both: what one of them trusts, the other may not.
            let (held, asked) = (active.asked(&about.repository), then.asked(&about.repository));
            let both = asked.also(&held);
            let facts = match decide::known_facts(about, &both, now) {
                Some(facts) => facts,
                None => match facts::of_stored(app, about, &both, now).await {
                    Ok(Looked::Subject(facts)) => *facts,
                    Ok(Looked::Evidence(_)) => continue,
                    Err(decide::Failure::Storage(StorageError::UnknownManifest { .. })) => continue,
                    Err(failure) => {
                        not_looked.push(format!("{}@{}: {failure}", about.repository, about.digest));
                        continue;
                    }
                },
            };
            changes.extend(change(about, facts, (&held, &asked), at, now));
        }
        if looked >= MAX_LOOKED || changes.len() >= MAX_CHANGES {
            break false;
        }
    };
    let complete = complete && not_looked.is_empty();
    not_looked.truncate(100);
    Ok(json!({"looked": looked, "complete": complete, "notLooked": not_looked, "changes": changes}))
}

fn change(
    about: &Undecided,
    mut facts: Facts,
    (held, then): (&Asked, &Asked),
    at: Point,
    now: DateTime<Utc>,
) -> Option<Value> {
    let good = decide::good_of(about);
    facts.image.pinned = Some(true);
    let before = held.decide(&facts, at, now, &good);
    let after = then.decide(&facts, at, now, &good);
    (before.outcome != after.outcome).then(|| {
        let reason = if after.outcome == Outcome::Allow { before.message() } else { after.message() };
        json!({
            "repository": about.repository.as_str(),
            "digest": about.digest,
            "tags": facts.image.tags,
            "before": before.outcome,
            "after": after.outcome,
            "reason": reason,
        })
    })
}
