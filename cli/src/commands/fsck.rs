//! `rreg fsck`: whether the store holds what the database says; and the database from the store, if it is lost.

use clap::Args;
use rreg_gc::{Damage, Depth, Extra, Finding, Inspection, Rebuild, Rebuilt};
use rreg_oci::Digest;
use rreg_server::Made;
use rreg_server::config::HumanDuration;
use serde::Serialize;
use serde_json::json;

use super::config::Place;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::text::{fields, size, table};

#[derive(Args, Debug)]
pub(crate) struct Fsck {
    /// Read and hash every byte, instead of comparing lengths only
    #[arg(long)]
    deep: bool,
    /// Objects that no row knows count once they are so old: an upload writes its bytes before its row
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    extra_after: HumanDuration,
    /// Have objects that no row knows deleted by the next sweep, and abort uploads to the store that were never ended:
    /// what crashes leave behind. With the embedded database stop the server before
    #[arg(long)]
    reclaim_extra: bool,
    /// Take the store for that of this database, which is empty, and restore nothing: to begin anew beside what is in it
    #[arg(long, conflicts_with = "rebuild")]
    adopt: bool,
    /// Read what is quarantined, and serve again what is right; write again records that are wrong, and delete those
    /// whose manifest is known to have been deleted. With the embedded database stop the server before; a running one
    /// reads what is quarantined by itself every minute
    #[arg(long)]
    heal: bool,
    /// Name at most so many findings
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: usize,
    /// Restore the rows of blobs, manifests and tags from the records in the object store, for a database that is
    /// lost or from an old backup. Nothing is deleted. Stop the server before
    #[arg(long)]
    rebuild: bool,
    /// Rebuild although rows contradict the records: of two values of a tag the later stays, everything else as the
    /// rows have it. What was deleted since the database was saved, or in the last seconds, comes back
    #[arg(long, requires = "rebuild")]
    merge: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Serialize)]
struct FindingView<'a> {
    damage: &'static str,
    digest: Option<Digest>,
    object: Option<&'a str>,
    bytes: u64,
}

impl<'a> From<&'a Finding> for FindingView<'a> {
    fn from(finding: &'a Finding) -> Self {
        let damage = match finding.damage {
            Damage::Missing => "missing",
            Damage::Length => "length",
            Damage::Digest => "digest",
            Damage::Extra => "extra",
            Damage::Quarantined => "quarantined",
            Damage::Record => "record",
            Damage::ExtraRecord => "extra-record",
            Damage::Unfinished => "unfinished",
            Damage::Unreadable => "unreadable",
        };
        Self { damage, digest: finding.digest, object: finding.object.as_deref(), bytes: finding.size }
    }
}

impl Fsck {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        let config = if self.rebuild || self.adopt {
            self.place.lost().await?
        } else {
            self.place.existing(Made::Content).await?
        };
        let depth = if self.deep { Depth::Deep } else { Depth::Quick };
        if self.rebuild {
            let opened = rreg_server::open_to_rebuild(&config).await?;
            let rebuilt = rreg_gc::rebuild(&opened.storage, depth, self.merge, self.limit).await;
            opened.storage.metadata().close().await;
            return match rebuilt? {
                Rebuild::Done(rebuilt) => show_rebuilt(output, &rebuilt),
                Rebuild::Refused(contradictions) => Err(refused(&contradictions)),
                Rebuild::Nothing => Err(Failure::new(
                    Exit::Refused,
                    "the object store lists nothing, not even the marker that it has, so nothing was restored: something \
                     answers in its place, or it may not be listed",
                )),
            };
        }
        if self.adopt {
            let opened = rreg_server::open_to_adopt(&config).await?;
            opened.storage.metadata().close().await;
            return output
                .done(&json!({"adopted": true}), || "the store is that of this database now\n".to_owned());
        }
        let HumanDuration(after): HumanDuration = self.extra_after;
        let extra = Extra { after, reclaim: self.reclaim_extra };
        let inspection = if self.reclaim_extra || self.heal {
            let opened = rreg_server::open(&config).await?;
            if self.heal {
                if let (_, Some(error)) = opened.storage.heal_all(-1, usize::MAX).await? {
                    return Err(error.into());
                }
                rreg_gc::heal_records(&opened.storage).await?;
            }
            inspect(&opened.storage, depth, extra, self.limit).await
        } else {
            inspect(&rreg_server::open_to_read(&config).await?, depth, extra, self.limit).await
        };
        show(output, depth, &inspection?)
    }
}

async fn inspect(
    storage: &rreg_storage::Storage,
    depth: Depth,
    extra: Extra,
    limit: usize,
) -> Result<Inspection, Failure> {
    let inspection = rreg_gc::fsck(storage, depth, extra, limit).await;
    storage.metadata().close().await;
    Ok(inspection?)
}

/// Exit code 1 where anything was found.
fn show(output: &Output, depth: Depth, inspection: &Inspection) -> Result<Exit, Failure> {
    let findings: Vec<FindingView<'_>> = inspection.findings.iter().map(FindingView::from).collect();
    let value = json!({
        "deep": depth == Depth::Deep,
        "blobs": inspection.blobs,
        "manifests": inspection.manifests,
        "objects": inspection.objects,
        "unlisted": inspection.unlisted,
        "unaborted": inspection.unaborted,
        "unreclaimed": inspection.unreclaimed,
        "kept": inspection.kept,
        "waiting": inspection.waiting,
        "count": inspection.count,
        "findings": findings,
    });
    output.result(&value, || {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let rows: Vec<_> = findings
            .iter()
            .map(|f| {
                let digest = or_dash(f.digest.map(|digest| digest.to_string()));
                [f.damage.to_owned(), size(f.bytes), digest, or_dash(f.object.map(str::to_owned))]
            })
            .collect();
        let listed = if rows.is_empty() {
            String::new()
        } else {
            table(["DAMAGE", "SIZE", "DIGEST", "OBJECT"], &rows) + "\n"
        };
        let hashed = if depth == Depth::Deep { "" } else { " (lengths only; --deep reads them)" };
        listed
            + &fields(&[
                ("blobs", format!("{}{hashed}", inspection.blobs)),
                ("objects", inspection.objects.to_string()),
                ("findings", inspection.count.to_string()),
            ])
            + &notes(inspection)
    })?;
    Ok(if inspection.count == 0 { Exit::Ok } else { Exit::Refused })
}

/// What was not done or not looked at, and why.
fn notes(inspection: &Inspection) -> String {
    let unlisted = inspection.unlisted.as_deref().map_or_else(String::new, |why| {
        format!("Uploads that were never ended could not all be looked at: {why}\n")
    });
    let unaborted = inspection.unaborted.as_deref().map_or_else(String::new, |why| {
        format!("Not every upload that was never ended could be aborted: {why}\n")
    });
    let unreclaimed = inspection.unreclaimed.as_deref().map_or_else(String::new, |why| {
        format!(
            "No extra object was given to the next sweep, because a record may name it that cannot be read: {why}\n\
             `rreg fsck --heal` writes records again whose manifest this database knows. If it does not know the \
             manifest, put the record back as it was, or delete it where nothing of it is wanted.\n"
        )
    });
    let kept = match inspection.kept {
        0 => String::new(),
        kept => format!(
            "{kept} extra objects stay, because records name them. If the database is from an old \
             backup, `rreg fsck --rebuild --merge` restores them; else `rreg fsck --heal` deletes the records of \
             what is known to have been deleted.\n"
        ),
    };
    let waiting = match inspection.waiting {
        0 => String::new(),
        waiting => format!(
            "{waiting} records that --rebuild needs wait to be written: a server does it within seconds, if the store \
             takes them.\n"
        ),
    };
    unlisted + &unaborted + &unreclaimed + &kept + &waiting
}

fn refused(contradictions: &[String]) -> Failure {
    let text = format!(
        "the database is not empty and contradicts the store's records, so nothing was changed:\n  {}",
        contradictions.join("\n  ")
    );
    Failure::new(Exit::Refused, text)
        .hint("--merge adds what the database lacks and says what stays as it is")
}

/// Exit code 1 where anything was not restored.
fn show_rebuilt(output: &Output, rebuilt: &Rebuilt) -> Result<Exit, Failure> {
    let incomplete: Vec<_> = rebuilt
        .incomplete
        .iter()
        .map(|i| json!({"repository": i.repository, "manifest": i.manifest, "missing": i.missing}))
        .collect();
    let value = json!({
        "records": rebuilt.records,
        "blobs": rebuilt.blobs,
        "manifests": rebuilt.manifests,
        "tags": rebuilt.tags,
        "count": rebuilt.count,
        "incomplete": incomplete,
        "unreadable": rebuilt.unreadable,
    });
    output.done(&value, || {
        let rows: Vec<_> = rebuilt
            .incomplete
            .iter()
            .map(|i| [i.repository.to_string(), i.manifest.to_string(), i.missing.to_string()])
            .collect();
        let listed = if rows.is_empty() {
            String::new()
        } else {
            table(["REPOSITORY", "MANIFEST", "LACKS"], &rows) + "\n"
        };
        let unreadable: String = rebuilt.unreadable.iter().map(|reason| format!("not a record: {reason}\n")).collect();
        listed
            + &unreadable
            + &fields(&[
                ("records read", rebuilt.records.to_string()),
                ("blobs restored", rebuilt.blobs.to_string()),
                ("manifests restored", rebuilt.manifests.to_string()),
                ("tags restored", rebuilt.tags.to_string()),
                ("not restored", rebuilt.count.to_string()),
            ])
            + "Not in the store: accounts and rules, policies and trusted keys that were put by the API, audit rows, \
               the history of tags, open uploads, and content that no manifest refers to.\n"
    })?;
    Ok(if rebuilt.count == 0 { Exit::Ok } else { Exit::Refused })
}
