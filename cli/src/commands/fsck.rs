//! `rreg fsck`: whether the store holds what the database says.

use std::time::Duration;

use clap::Args;
use rreg_gc::{Damage, Depth, Finding, Inspection};
use rreg_oci::Digest;
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
    /// Name at most so many findings
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: usize,
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
        };
        Self { damage, digest: finding.digest, object: finding.object.as_deref(), bytes: finding.size }
    }
}

impl Fsck {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        let config = self.place.load()?;
        let storage = rreg_server::open_to_read(&config).await?;
        let depth = if self.deep { Depth::Deep } else { Depth::Quick };
        let HumanDuration(extra_after): HumanDuration = self.extra_after;
        let inspection = inspect(&storage, depth, extra_after, self.limit).await;
        storage.metadata().close().await;
        show(output, depth, &inspection?)
    }
}

async fn inspect(
    storage: &rreg_storage::Storage,
    depth: Depth,
    extra_after: Duration,
    limit: usize,
) -> Result<Inspection, Failure> {
    Ok(rreg_gc::fsck(storage, depth, extra_after, limit).await?)
}

/// Exit code 1 where anything was found.
fn show(output: &Output, depth: Depth, inspection: &Inspection) -> Result<Exit, Failure> {
    let findings: Vec<FindingView<'_>> = inspection.findings.iter().map(FindingView::from).collect();
    let value = json!({
        "deep": depth == Depth::Deep,
        "blobs": inspection.blobs,
        "manifests": inspection.manifests,
        "objects": inspection.objects,
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
    })?;
    Ok(if inspection.count == 0 { Exit::Ok } else { Exit::Refused })
}
