//! `rreg cp SRC DST`, and what push and pull share with it.

use clap::Args;
use rreg_oci::Tag;
use rreg_runtime::client::FetchedManifest;
use rreg_runtime::transfer::{Origin, Platform, Report, Target, Transfer};
use serde::Serialize;

use crate::connect::Connect;
use crate::exit::{Exit, Failure};
use crate::named::ImageName;
use crate::output::Output;
use crate::progress;
use crate::text::{GOOD, NAME, paint, size};

#[derive(Args, Debug)]
pub(crate) struct Cp {
    /// host[:port]/repository[:tag][@digest]
    #[arg(value_name = "SRC")]
    source: ImageName,
    /// Likewise; only a digest means: no tag
    #[arg(value_name = "DST")]
    destination: ImageName,
    #[command(flatten)]
    copying: Copying,
    #[command(flatten)]
    connect: Connect,
}

/// How much of an image to copy, and how fast.
#[derive(Args, Debug)]
pub(crate) struct Copying {
    /// One platform only, os/architecture[/variant]; all by default
    #[arg(long)]
    platform: Option<Platform>,
    /// Leave out what refers to the image (signatures, SBOMs, attestations), also under cosign 2's tags
    #[arg(long)]
    no_referrers: bool,
    /// Transfers at once
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
}

/// The result, as JSON.
#[derive(Serialize)]
struct Copied<'a> {
    source: &'a str,
    destination: String,
    #[serde(flatten)]
    report: &'a Report,
}

impl Cp {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        let (from, to) = self.connect.two(&self.source, &self.destination)?;
        let root = from.fetch_manifest(&self.source.repository, &self.source.reference()).await?;
        let origin = Origin::Registry { client: from, repository: self.source.repository.clone() };
        let target = Target::Registry { client: to, repository: self.destination.repository.clone() };
        let source = self.source.to_string();
        self.copying.run(output, origin, target, root, (&source, &self.destination)).await
    }
}

impl Copying {
    /// Copies to the registry image `names.1`, from what a person calls `names.0`.
    pub(super) async fn run(
        &self,
        output: &Output,
        origin: Origin,
        target: Target,
        root: FetchedManifest,
        names: (&str, &ImageName),
    ) -> Result<Exit, Failure> {
        let image = names.1;
        if let Some(wanted) =
            image.digest.filter(|wanted| *wanted != root.descriptor.digest && self.platform.is_none())
        {
            let found = root.descriptor.digest;
            return Err(Failure::new(
                Exit::Refused,
                format!("{} has the digest {found}, not {wanted}", names.0),
            )
            .hint("a copy keeps the digest; leave the digest out of the destination"));
        }
        let tags = match (&image.tag, &image.digest) {
            (Some(tag), _) => vec![tag.clone()],
            (None, Some(_)) => Vec::new(),
            (None, None) => vec![Tag::latest()],
        };
        let report = self.transfer(output, origin, target, tags).run(root).await?;
        said(output, names.0, image.to_string(), &report)
    }

    pub(super) fn transfer(
        &self,
        output: &Output,
        origin: Origin,
        target: Target,
        tags: Vec<Tag>,
    ) -> Transfer {
        Transfer {
            origin,
            target,
            tags,
            platform: self.platform.clone(),
            referrers: !self.no_referrers,
            jobs: self.jobs.into(),
            progress: progress::watch(output),
        }
    }
}

fn manifests(count: usize) -> &'static str {
    if count == 1 { "manifest" } else { "manifests" }
}

fn blobs(count: usize) -> &'static str {
    if count == 1 { "blob" } else { "blobs" }
}

/// Says what was copied.
pub(super) fn said(
    output: &Output,
    source: &str,
    destination: String,
    report: &Report,
) -> Result<Exit, Failure> {
    output.done(&Copied { source, destination: destination.clone(), report }, || {
        let digest = report.root.as_ref().map(|root| root.digest.to_string()).unwrap_or_default();
        let mut text = format!("{} {destination}\n       {}\n", paint(GOOD, "copied"), paint(NAME, digest));
        let counted = [
            (report.manifests_copied, format!("{} written", manifests(report.manifests_copied))),
            (report.manifests_present, format!("{} already there", manifests(report.manifests_present))),
            (report.referrers, "of these referrers".to_owned()),
            (report.cosign_tags, "of them under cosign's tags".to_owned()),
            (
                report.referrers_left_out,
                "listed referrers left out, not there or about something else".to_owned(),
            ),
            (
                report.evidence_unknown,
                "places of evidence unknown: the cache cannot ask its upstream, so there may be more"
                    .to_owned(),
            ),
            (
                report.blobs_copied,
                format!("{} copied ({})", blobs(report.blobs_copied), size(report.bytes_copied)),
            ),
            (report.blobs_mounted, format!("{} mounted", blobs(report.blobs_mounted))),
            (report.blobs_present, format!("{} already there", blobs(report.blobs_present))),
            (report.blobs_external, "external layers left out".to_owned()),
        ];
        let parts: Vec<_> =
            counted.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        text.push_str(&format!("       {}\n", parts.join(", ")));
        text
    })
}
