//! Does what was planned.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rreg_oci::{Descriptor, Tag};

use super::error::TransferError;
use super::plan::{Node, Plan};
use super::progress::{BlobOutcome, Metered};
use super::{Origin, Report, Target, Transfer};
use crate::image::{IMAGE_NAME, REF_NAME};

/// Blobs, then manifests that others refer to, then the root with its tags.
pub(super) async fn apply(transfer: &Transfer, plan: &Plan) -> Result<Report, TransferError> {
    let mut report = Report { blobs_external: plan.external, ..Report::default() };
    let bytes = plan.blobs.iter().map(|blob| blob.size).fold(0, u64::saturating_add);
    transfer.progress.planned(plan.blobs.len(), bytes);
    let jobs = transfer.jobs.max(1);
    let mut moving =
        stream::iter(plan.blobs.iter().map(|blob| copy_blob(transfer, blob))).buffer_unordered(jobs);
    while let Some((size, outcome)) = moving.try_next().await? {
        match outcome {
            BlobOutcome::Copied => {
                report.blobs_copied += 1;
                report.bytes_copied += size;
            }
            BlobOutcome::Mounted => report.blobs_mounted += 1,
            BlobOutcome::Present => report.blobs_present += 1,
        }
    }
    for wave in plan.waves() {
        let tagged = wave.iter().map(|node| (node, plan.tags_of(&node.manifest.descriptor.digest)));
        let missing = tagged.filter(|(node, tags)| !node.present || !tags.is_empty());
        let puts = missing
            .map(|(node, tags)| async move { transfer.target.put_manifest(&node.manifest, &tags).await });
        stream::iter(puts).buffer_unordered(jobs).try_collect::<()>().await?;
    }
    for (tag, manifest) in plan.joined() {
        transfer.target.put_manifest(manifest, std::slice::from_ref(tag)).await?;
    }
    if let Some(root) = plan.nodes.get(&plan.root) {
        let tags: Vec<Tag> = transfer.tags.iter().cloned().chain(plan.tags_of(&plan.root)).collect();
        if !root.present || !tags.is_empty() {
            transfer.target.put_manifest(&root.manifest, &tags).await?;
        }
        report.root = Some(root.manifest.descriptor.clone());
    }
    if let Target::Layout(layout) = &transfer.target {
        let (layout, entries) = (layout.clone(), entries(transfer, plan));
        let finished = tokio::task::spawn_blocking(move || layout.finish(entries)).await;
        finished.map_err(|e| TransferError::Interrupted(e.to_string()))??;
    }
    report.manifests_present = plan.nodes.values().filter(|node| node.present).count();
    report.manifests_copied = plan.nodes.len() - report.manifests_present;
    report.cosign_tags = plan.tagged.len();
    report.referrers_left_out = plan.left_out.len();
    report.evidence_unknown = plan.unknown;
    report.referrers = plan.nodes.values().filter(|node| node.referrer).count();
    Ok(report)
}

async fn copy_blob(transfer: &Transfer, blob: &Descriptor) -> Result<(u64, BlobOutcome), TransferError> {
    let outcome = if transfer.target.has_blob(blob).await? {
        BlobOutcome::Present
    } else {
        let inner = transfer.origin.blob(blob)?;
        let source = Metered { inner, descriptor: blob.clone(), progress: Arc::clone(&transfer.progress) };
        transfer.target.put_blob(blob, &source, &transfer.origin).await?
    };
    transfer.progress.finished(blob, outcome);
    Ok((blob.size, outcome))
}

/// What `index.json` has to name: the root under each tag, and what is about it, which nothing else points to.
fn entries(transfer: &Transfer, plan: &Plan) -> Vec<Descriptor> {
    let Some(root) = plan.nodes.get(&plan.root) else { return Vec::new() };
    let plain = &root.manifest.descriptor;
    let named = |tag: &Tag, descriptor: &Descriptor| Descriptor {
        annotations: Some([(REF_NAME.to_owned(), tag.to_string())].into()),
        ..descriptor.clone()
    };
    let whole = |tag: &Tag| {
        let mut entry = named(tag, plain);
        if let Origin::Registry { client, repository } = &transfer.origin {
            let name = format!("{}/{repository}:{tag}", client.host());
            entry.annotations.get_or_insert_default().insert(IMAGE_NAME.to_owned(), name);
        }
        entry
    };
    let mut entries: Vec<_> = transfer.tags.iter().map(whole).collect();
    if entries.is_empty() {
        entries.push(plain.clone());
    }
    let referrer = |node: &&Node| node.referrer && node.parsed.subject.is_some();
    let mut referrers: Vec<_> =
        plan.nodes.values().filter(referrer).map(|n| n.manifest.descriptor.clone()).collect();
    referrers.sort_by_key(|d| d.digest);
    entries.extend(referrers);
    entries.extend(plan.tags.iter().map(|(tag, manifest)| named(tag, &manifest.descriptor)));
    entries
}
