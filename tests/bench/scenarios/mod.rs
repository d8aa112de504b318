//! What is measured. One table of all scenarios; the files beside this one do the measuring.
//!
//! To add one, write a function from [`Run`] to [`Sample`] and a line in [`ALL`].

mod bulk;
mod images;
mod lists;
mod reads;
mod reclaim;
mod start;

use std::path::Path;

use super::fixtures::Fixture;
use super::measure::{Sample, Unit};
use super::peers::{Kind, Peer};
use super::process::Server;
use super::{Bench, Failure};

/// A started server over a filled store.
pub(crate) struct Run<'a> {
    pub(crate) bench: &'a Bench,
    pub(crate) peer: &'a Peer,
    pub(crate) server: &'a Server,
    pub(crate) directory: &'a Path,
}

/// Which servers take part.
#[derive(Clone, Copy)]
pub(crate) enum Who {
    Registries,
    AndNginx,
    AndAxum,
    AndBoth,
    OnlyAxum,
    OnlyRreg,
    /// Those that reclaim in a way that is known here.
    Reclaimers,
}

impl Who {
    pub(crate) fn includes(self, peer: &Peer) -> bool {
        match peer.kind {
            Kind::Nginx => matches!(self, Self::AndNginx | Self::AndBoth),
            Kind::Axum => matches!(self, Self::AndAxum | Self::AndBoth | Self::OnlyAxum),
            Kind::Rreg => !matches!(self, Self::OnlyAxum),
            Kind::Distribution => !matches!(self, Self::OnlyAxum | Self::OnlyRreg),
            Kind::Zot | Kind::Named => !matches!(self, Self::OnlyAxum | Self::OnlyRreg | Self::Reclaimers),
        }
    }
}

/// Where rreg is to be, against the medians of the same run.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// So many times as good as the best other registry.
    Best(f64),
    /// So many times as good as one server.
    Peer(&'static str, f64),
    /// So many times as good as the best other registry in another scenario.
    BestIn(&'static str, f64),
    /// At least so much.
    AtLeast(f64),
    /// At most so much.
    AtMost(f64),
    /// As good as rreg itself in another scenario.
    OwnIn(&'static str),
}

/// One thing to measure.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: Unit,
    pub(crate) fixture: Fixture,
    pub(crate) who: Who,
    pub(crate) targets: &'static [Target],
    pub(crate) run: fn(&Run) -> Result<Sample, Failure>,
}

const fn scenario(
    name: &'static str,
    title: &'static str,
    unit: Unit,
    (fixture, who): (Fixture, Who),
    targets: &'static [Target],
    run: fn(&Run) -> Result<Sample, Failure>,
) -> Scenario {
    Scenario { name, title, unit, fixture, who, targets, run }
}

/// What runs. How many "many" are, for rreg and for its peers, is in `scale.rs`.
pub(crate) const ALL: &[Scenario] = {
    use Fixture::{Catalog, Empty, Large, Small, Tags};
    use Target::{AtLeast, AtMost, Best, BestIn, OwnIn, Peer};
    use Unit::{
        BlobsPerSecond, ImagesPerSecond, Mebibytes, MegabytesPerSecond, Milliseconds, RequestsPerSecond,
        Times,
    };
    use Who::{AndAxum, AndBoth, AndNginx, OnlyAxum, OnlyRreg, Reclaimers, Registries};
    &[
        scenario(
            "raw",
            "GET of 700 bytes from a bare handler, 32 connections",
            RequestsPerSecond,
            (Small, OnlyAxum),
            &[],
            reads::manifest_by_tag,
        ),
        scenario(
            "manifest-tag",
            "manifest GET by tag, 32 connections",
            RequestsPerSecond,
            (Small, AndAxum),
            &[Best(2.5)],
            reads::manifest_by_tag,
        ),
        scenario(
            "manifest-tag-1",
            "manifest GET by tag, 1 connection",
            RequestsPerSecond,
            (Small, AndAxum),
            &[],
            reads::manifest_by_tag_alone,
        ),
        scenario(
            "manifest-digest",
            "manifest GET by digest, 32 connections",
            RequestsPerSecond,
            (Small, Registries),
            &[Best(3.0)],
            reads::manifest_by_digest,
        ),
        scenario(
            "many-tags-hot",
            "manifest GET by one tag of many, 32 connections",
            RequestsPerSecond,
            (Tags, Registries),
            &[BestIn("manifest-tag", 2.5)],
            reads::one_of_many_tags,
        ),
        scenario(
            "many-tags-any",
            "manifest GET by any tag of many, 32 connections",
            RequestsPerSecond,
            (Tags, Registries),
            &[BestIn("manifest-tag", 2.5)],
            reads::any_of_many_tags,
        ),
        scenario(
            "blob-head",
            "blob HEAD, 32 connections",
            RequestsPerSecond,
            (Small, Registries),
            &[Best(1.8)],
            reads::blob_head,
        ),
        scenario(
            "blob-get",
            "blob GET 4 KiB, one blob, 32 connections",
            RequestsPerSecond,
            (Small, AndNginx),
            &[Best(3.0)],
            reads::blob_get,
        ),
        scenario(
            "blob-get-any",
            "blob GET 4 KiB, any of many blobs, 32 connections",
            RequestsPerSecond,
            (Small, AndNginx),
            &[Best(3.0)],
            reads::blob_get_any,
        ),
        scenario(
            "pull",
            "pull of a large blob, in page cache",
            MegabytesPerSecond,
            (Large, AndBoth),
            &[Peer("nginx", 1.3), Best(1.4)],
            bulk::pull,
        ),
        scenario(
            "pull-cold",
            "pull of a large blob, not in page cache",
            MegabytesPerSecond,
            (Large, AndNginx),
            &[],
            bulk::pull_cold,
        ),
        scenario(
            "push",
            "push of a large blob, POST and PUT",
            MegabytesPerSecond,
            (Empty, Registries),
            &[Best(1.3)],
            bulk::push,
        ),
        scenario(
            "push-chunks",
            "push of a large blob, chunks of 16 MiB",
            MegabytesPerSecond,
            (Empty, Registries),
            &[Best(1.3)],
            bulk::push_chunks,
        ),
        scenario(
            "images",
            "push of small images (5 objects), 8 clients",
            ImagesPerSecond,
            (Empty, Registries),
            &[Peer("zot", 3.0)],
            images::push,
        ),
        scenario(
            "start",
            "start to first 200, empty store",
            Milliseconds,
            (Empty, Registries),
            &[AtMost(50.0)],
            start::first_answer,
        ),
        scenario(
            "start-full",
            "start to first 200, store with many tags",
            Milliseconds,
            (Tags, Registries),
            &[AtMost(50.0)],
            start::first_answer,
        ),
        scenario(
            "memory-idle",
            "resident memory when idle",
            Mebibytes,
            (Empty, Registries),
            &[AtMost(15.0)],
            start::idle_memory,
        ),
        scenario(
            "tags-list",
            "tags/list?n=100 anywhere among many tags, p99",
            Milliseconds,
            (Tags, Registries),
            &[AtMost(20.0)],
            lists::tags,
        ),
        scenario(
            "catalog",
            "_catalog?n=100 anywhere among many repositories, p99",
            Milliseconds,
            (Catalog, Registries),
            &[AtMost(20.0)],
            lists::catalog,
        ),
        scenario(
            "delete",
            "delete by digest of a manifest with 10 tags, few other tags",
            Milliseconds,
            (Small, Registries),
            &[],
            lists::delete_among_few,
        ),
        scenario(
            "delete-many",
            "delete by digest of a manifest with 10 tags, many other tags",
            Milliseconds,
            (Tags, Registries),
            &[OwnIn("delete")],
            lists::delete_among_many,
        ),
        scenario(
            "reclaim",
            "reclaim of blobs of 33 KiB: rreg under pushes, distribution stopped",
            BlobsPerSecond,
            (Empty, Reclaimers),
            &[AtLeast(1000.0)],
            reclaim::blobs,
        ),
        scenario(
            "push-reclaim",
            "p99 of blob pushes of 4 KiB while blobs are reclaimed, against without",
            Times,
            (Empty, OnlyRreg),
            &[AtMost(1.2)],
            reclaim::pushes_beside,
        ),
    ]
};
