//! `rreg gc`: what is reclaimed, and why something is not.

use clap::Subcommand;
use rreg_gc::{Candidate, Plan, Report, Schedule};
use rreg_oci::{Digest, RepositoryName};
use rreg_server::{Config, Made};
use rreg_storage::{Holder, Presence, ReviewKind, StorageError};
use serde::Serialize;
use serde_json::json;

use super::config::Place;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::text::{NAME, fields, paint, size, table, timestamp};

/// What `rreg gc` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Gc {
    /// Show what would be reclaimed now, and what waits for its time; changes nothing, and runs beside a server
    Plan {
        /// Name at most so many
        #[arg(long, value_name = "N", default_value_t = 1000)]
        limit: usize,
        #[command(flatten)]
        place: Place,
    },
    /// Reclaim what is due now, as the server does by itself every reclaim.period
    Run {
        #[command(flatten)]
        place: Place,
    },
    /// Show where a digest is, and what keeps it there
    Why {
        /// Of a blob or a manifest
        #[arg(value_name = "DIGEST")]
        digest: Digest,
        #[command(flatten)]
        place: Place,
    },
}

impl Gc {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Plan { limit, place } => {
                let config = place.existing(Made::Rows).await?;
                let storage = rreg_server::open_to_read(&config).await?;
                let plan = rreg_gc::plan(&storage, &config.reclaim_schedule(), *limit).await;
                storage.metadata().close().await;
                show_plan(output, &plan?)
            }
            Self::Run { place } => {
                let config = place.existing(Made::Content).await?;
                let opened = rreg_server::open(&config).await.map_err(|error| match error {
                    StorageError::Held(_) => Failure::from(error).hint(
                        "a running server reclaims by itself every reclaim.period, and `rreg gc plan` shows what is due; \
                         to do it at once stop the server first",
                    ),
                    error => error.into(),
                })?;
                let report = rreg_gc::sweep(&opened.storage, &config.reclaim_schedule()).await;
                let recorded = rreg_gc::write_records(&opened.storage).await;
                opened.storage.metadata().close().await;
                recorded?;
                show_report(output, report?)
            }
            Self::Why { digest, place } => {
                let config = place.existing(Made::Rows).await?;
                let storage = rreg_server::open_to_read(&config).await?;
                let presences = storage.metadata().presences(digest).await;
                storage.metadata().close().await;
                show_presences(output, &config, digest, &presences?)
            }
        }
    }
}

#[derive(Serialize)]
struct CandidateView<'a> {
    kind: &'static str,
    repository: &'a str,
    digest: Digest,
    bytes: u64,
    /// When it goes, where that is not now.
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<String>,
}

impl<'a> CandidateView<'a> {
    fn new(candidate: &'a Candidate, due_at: Option<i64>) -> Self {
        Self {
            kind: candidate.kind.as_str(),
            repository: candidate.repository.as_str(),
            digest: candidate.digest,
            bytes: candidate.bytes,
            due_at: due_at.map(timestamp),
        }
    }
}

fn show_plan(output: &Output, plan: &Plan) -> Result<Exit, Failure> {
    let now = plan.candidates.iter().map(|candidate| CandidateView::new(candidate, None));
    let candidates: Vec<_> = now.collect();
    let later = plan.pending.iter().map(|p| CandidateView::new(&p.candidate, Some(p.due_at)));
    let pending: Vec<_> = later.collect();
    let value = json!({
        "count": plan.count,
        "bytes": plan.bytes,
        "kept": plan.kept,
        "objects": plan.objects,
        "candidates": candidates,
        "pending": pending,
        "pending_more": plan.pending_more,
    });
    output.result(&value, || {
        let rows: Vec<_> = candidates
            .iter()
            .chain(&pending)
            .map(|c| {
                let when = c.due_at.clone().unwrap_or_else(|| "now".to_owned());
                [when, c.kind.to_owned(), size(c.bytes), c.repository.to_owned(), c.digest.to_string()]
            })
            .collect();
        let listed = if rows.is_empty() {
            String::new()
        } else {
            table(["GOES", "KIND", "SIZE", "REPOSITORY", "DIGEST"], &rows) + "\n"
        };
        let left_out = plan.count - candidates.len();
        let more = if left_out > 0 { format!(" ({left_out} not listed)") } else { String::new() };
        let bytes = plan.pending.iter().map(|pending| pending.candidate.bytes).fold(0, u64::saturating_add);
        let more_later = if plan.pending_more { " or more" } else { "" };
        let later = format!("{}{more_later}, {}", pending.len(), size(bytes));
        let summary = fields(&[
            ("to reclaim", format!("{}{more}, {}", plan.count, size(plan.bytes))),
            ("later, unless it is used again", later),
            ("due but in use", plan.kept.to_string()),
            ("objects to delete", plan.objects.to_string()),
        ]);
        listed + &summary
    })
}

fn show_report(output: &Output, report: Report) -> Result<Exit, Failure> {
    let Report { uploads, manifests, blobs, bytes, kept, objects } = report;
    let value = json!({
        "uploads": uploads,
        "manifests": manifests,
        "blobs": blobs,
        "bytes": bytes,
        "kept": kept,
        "objects": objects,
    });
    output.done(&value, || {
        fields(&[
            ("uploads ended", uploads.to_string()),
            ("manifests reclaimed", manifests.to_string()),
            ("blobs reclaimed", format!("{blobs}, {}", size(bytes))),
            ("due but in use", kept.to_string()),
            ("objects deleted", objects.to_string()),
        ])
    })
}

#[derive(Serialize)]
struct PresenceView<'a> {
    repository: &'a RepositoryName,
    kind: &'static str,
    bytes: u64,
    kept_by: Vec<String>,
    /// When it is looked at next, if it is going to be.
    review_at: Option<String>,
}

fn holder(holder: &Holder) -> String {
    match holder {
        Holder::Tag(tag) => format!("tag {tag}"),
        Holder::Index(digest) => format!("index {digest}"),
        Holder::Subject(digest) => format!("subject {digest}"),
        Holder::Manifest(digest) => format!("manifest {digest}"),
    }
}

fn view<'a>(presence: &'a Presence, schedule: &Schedule) -> PresenceView<'a> {
    let after = match presence.kind {
        ReviewKind::Blob => Some(schedule.blobs_after),
        ReviewKind::Manifest => schedule.untagged_after,
    };
    let review_at = presence.queued_at.zip(after).map(|(queued, after)| {
        timestamp(queued.saturating_add(i64::try_from(after.as_millis()).unwrap_or(i64::MAX)))
    });
    let mut kept_by: Vec<String> = presence.holders.iter().map(holder).collect();
    if kept_by.is_empty() && presence.kind == ReviewKind::Manifest && after.is_none() {
        kept_by.push("setting reclaim.untagged_after, which is not set".into());
    }
    let (repository, kind) = (&presence.repository, presence.kind.as_str());
    PresenceView { repository, kind, bytes: presence.size, kept_by, review_at }
}

fn show_presences(
    output: &Output,
    config: &Config,
    digest: &Digest,
    presences: &[Presence],
) -> Result<Exit, Failure> {
    if presences.is_empty() {
        return Err(Failure::new(Exit::Refused, format!("{digest} is in no repository of this registry")));
    }
    let schedule = config.reclaim_schedule();
    let views: Vec<_> = presences.iter().map(|presence| view(presence, &schedule)).collect();
    output.result(&views, || {
        let mut text = String::new();
        for view in &views {
            let place = paint(NAME, view.repository);
            text += &format!("{} in {place}, {}\n", view.kind, size(view.bytes));
            for reason in &view.kept_by {
                text += &format!("  kept by {reason}\n");
            }
            match (&view.review_at, view.kept_by.is_empty()) {
                (Some(at), true) => text += &format!("  nothing keeps it; it goes after {at}\n"),
                (None, true) => text += "  nothing keeps it, and no review is queued\n",
                (_, false) => {}
            }
        }
        text
    })
}
