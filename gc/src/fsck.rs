//! Compares rows with objects: what is missing, of the wrong length, damaged, or known to nobody.
//!
//! Runs beside a server: what changes meanwhile is looked at again before it becomes a finding. Memory does not grow
//! with the store: rows come in pages, objects as a stream.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use rreg_oci::Digest;
use rreg_storage::{Content, Storage, StorageError, Stored};

/// Rows and objects looked at in one page.
pub(crate) const PAGE: usize = 500;
/// Contents looked at at once.
pub(crate) const AT_ONCE: usize = 8;

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Lengths only.
    Quick,
    /// Every byte is read and hashed.
    Deep,
}

/// In which way something is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// An object of the blob is not there.
    Missing,
    /// An object, or all together, has another length than the rows say.
    Length,
    /// The bytes have another digest.
    Digest,
    /// No row knows the object.
    Extra,
    /// The record that `--rebuild` needs is not there or, read deep, says something else than the rows.
    /// `rreg fsck --heal` writes it again.
    Record,
    /// A record that no manifest has: a database that is rebuilt would have the manifest again. `rreg fsck --heal` deletes
    /// it where it is sure that nobody wants it.
    ExtraRecord,
    /// An upload in parts that was begun and never ended: its parts are kept and paid for.
    Unfinished,
    /// The store does not give it, though it gives others; or it is a record that cannot be understood.
    Unreadable,
    /// It was found damaged once and is not served. `rreg fsck --heal` serves it again where it is right now.
    Quarantined,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// In which way.
    pub damage: Damage,
    /// Whose bytes; not known for an extra object.
    pub digest: Option<Digest>,
    /// The object, where it is about one.
    pub object: Option<String>,
    /// Length of the object, or of the content.
    pub size: u64,
}

/// What was looked at, and what was found.
#[derive(Clone, Debug, Default)]
pub struct Inspection {
    /// Blobs looked at.
    pub blobs: u64,
    /// Manifests looked at (deep only).
    pub manifests: u64,
    /// Objects in the store.
    pub objects: u64,
    /// Why uploads that were never ended could not be looked for, where the store would have them.
    pub unlisted: Option<String>,
    /// Why one of them could not be aborted, where that was asked for.
    pub unaborted: Option<String>,
    /// Why no object that no row knows was given to the next sweep, where that was asked for: a record that cannot be read
    /// may name any of them.
    pub unreclaimed: Option<String>,
    /// Objects that no row knows and that stay, because records name them: the
    /// database is older than the store, and `rreg fsck --rebuild --merge` restores them.
    pub kept: u64,
    /// Records of manifests that wait to be written: where that lasts, the store does not take them.
    pub waiting: u64,
    /// How many things are not as they should be.
    pub count: u64,
    /// The first of them.
    pub findings: Vec<Finding>,
}

/// What to do with objects that no row knows.
#[derive(Clone, Copy, Debug)]
pub struct Extra {
    /// They count once they are so old: an upload writes its bytes before its row.
    pub after: Duration,
    /// Put them on the list of objects to be deleted. The next sweep does it.
    pub reclaim: bool,
}

/// Looks at everything and names up to `limit` findings.
///
/// # Errors
/// When database or store fail; damage is no error.
pub async fn fsck(
    storage: &Storage,
    depth: Depth,
    extra: Extra,
    limit: usize,
) -> Result<Inspection, StorageError> {
    let (inspection, damaged) = (Inspection::default(), HashSet::new());
    let wanted = HashSet::new();
    let mut look = Look { storage, depth, extra, limit, inspection, damaged, wanted };
    look.blobs().await?;
    if depth == Depth::Deep {
        look.manifests().await?;
    }
    // Before objects, of which those stay that these records name.
    look.records().await?;
    look.objects().await?;
    look.unfinished().await;
    look.inspection.waiting = storage.metadata().count_waiting_records().await?;
    look.quarantine().await?;
    Ok(look.inspection)
}

/// A look at everything, under way.
pub(crate) struct Look<'a> {
    pub(crate) storage: &'a Storage,
    pub(crate) depth: Depth,
    pub(crate) extra: Extra,
    limit: usize,
    inspection: Inspection,
    /// Blobs that were found damaged, whether or not they are named.
    damaged: HashSet<Digest>,
    /// Objects that records name and no row knows: of a database from an old backup they are all that is left of what was
    /// pushed since. Collected where extra objects are to be reclaimed.
    pub(crate) wanted: HashSet<String>,
}

impl Look<'_> {
    pub(crate) fn found(&mut self, finding: Finding) {
        self.inspection.count += 1;
        if self.inspection.findings.len() < self.limit {
            self.inspection.findings.push(finding);
        }
    }

    /// Nothing that no row knows is to be deleted. The first reason is told.
    pub(crate) fn not_to_reclaim(&mut self, why: String) {
        self.inspection.unreclaimed.get_or_insert(why);
    }

    async fn blobs(&mut self) -> Result<(), StorageError> {
        let (storage, depth, mut after) = (self.storage, self.depth, -1);
        loop {
            let page = storage.metadata().stored_blobs(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.row;
            let mut checks =
                stream::iter(&page).map(|stored| check(storage, stored, depth)).buffer_unordered(AT_ONCE);
            while let Some(finding) = checks.next().await {
                self.inspection.blobs += 1;
                if let Some(finding) = finding? {
                    self.damaged.extend(finding.digest);
                    self.found(finding);
                }
            }
        }
    }

    async fn manifests(&mut self) -> Result<(), StorageError> {
        let mut after = -1;
        loop {
            // Bodies are up to some megabytes each.
            let page = self.storage.metadata().stored_manifests(after, PAGE / 25).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.row;
            for stored in &page {
                self.inspection.manifests += 1;
                if !stored.is_good() {
                    self.found(of(stored, Damage::Digest, None, stored.size));
                }
            }
        }
    }

    async fn objects(&mut self) -> Result<(), StorageError> {
        let (storage, extra) = (self.storage, self.extra);
        let mut pages = Box::pin(storage.blobs().list().chunks(PAGE));
        while let Some(page) = pages.next().await {
            let mut old = Vec::new();
            for object in page {
                let object = object?;
                self.inspection.objects += 1;
                if object.age >= extra.after {
                    old.push(object);
                }
            }
            let keys: Vec<&str> = old.iter().map(|object| object.key.as_str()).collect();
            let known = storage.metadata().known_objects(&keys).await?;
            for object in old.into_iter().filter(|object| !known.contains(&object.key)) {
                // An object that was reclaimed since it was listed has lost its row and itself.
                if storage.blobs().size_of(&object.key).await?.is_some() {
                    if self.wanted.contains(&object.key) {
                        self.inspection.kept += 1;
                    } else if extra.reclaim && self.inspection.unreclaimed.is_none() {
                        storage.metadata().reclaim_object(object.key.clone()).await?;
                    }
                    let (object, size) = (Some(object.key), object.size);
                    self.found(Finding { damage: Damage::Extra, digest: None, object, size });
                }
            }
        }
        // Those that the database knew when this began may have been reclaimed meanwhile.
        if self.inspection.objects == 0
            && self.damaged.is_empty()
            && !storage.metadata().some_objects(1).await?.is_empty()
        {
            let why = "the object store lists nothing, though it has what the database knows: what else is in it cannot be \
                       told";
            return Err(StorageError::Setting(why.to_owned()));
        }
        Ok(())
    }

    /// Not every store lists them, and not everybody may: no reason to say nothing of the rest.
    async fn unfinished(&mut self) {
        let blobs = self.storage.blobs();
        let found = match blobs.unfinished(self.extra.after).await {
            Ok(found) => found,
            Err(error) => {
                self.inspection.unlisted = Some(error.to_string());
                return;
            }
        };
        for upload in found {
            if self.extra.reclaim
                && let Err(error) = blobs.abort(&upload).await
            {
                self.inspection.unaborted = Some(error.to_string());
            }
            let object = Some(upload.key);
            self.found(Finding { damage: Damage::Unfinished, digest: None, object, size: 0 });
        }
    }

    /// What is damaged is counted already; what is quarantined besides is not served either.
    async fn quarantine(&mut self) -> Result<(), StorageError> {
        let mut after = -1;
        loop {
            let page = self.storage.metadata().quarantined(after, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = *last;
            for (_, digest) in page {
                if !self.damaged.contains(&digest)
                    && let Some(stored) = self.storage.metadata().stored_blob(&digest).await?
                {
                    self.found(of(&stored, Damage::Quarantined, None, stored.size));
                }
            }
        }
    }
}

fn of(stored: &Stored, damage: Damage, object: Option<&str>, size: u64) -> Finding {
    Finding { damage, digest: Some(stored.digest), object: object.map(str::to_owned), size }
}

/// One blob. Whatever is found is looked for again in rows read anew: it may have been deleted, or replaced by a good
/// copy, since the page was read.
async fn check(storage: &Storage, stored: &Stored, depth: Depth) -> Result<Option<Finding>, StorageError> {
    let Some(_) = examined(storage, stored, depth).await? else { return Ok(None) };
    match storage.metadata().stored_blob(&stored.digest).await? {
        Some(now) => examined(storage, &now, depth).await,
        None => Ok(None),
    }
}

/// What cannot be read is a finding like any other, if the store is there at all.
async fn examined(storage: &Storage, stored: &Stored, depth: Depth) -> Result<Option<Finding>, StorageError> {
    match examine(storage, stored, depth).await {
        Err(StorageError::Object(error)) => {
            storage.blobs().ping().await?;
            tracing::warn!(%error, digest = %stored.digest, "cannot be read");
            let object = match &stored.content {
                Content::Objects(objects) => objects.first().map(|object| object.key.as_str()),
                _ => None,
            };
            Ok(Some(of(stored, Damage::Unreadable, object, stored.size)))
        }
        found => found,
    }
}

async fn examine(storage: &Storage, stored: &Stored, depth: Depth) -> Result<Option<Finding>, StorageError> {
    let finding = |damage, object, size| Ok(Some(of(stored, damage, object, size)));
    let Content::Objects(objects) = &stored.content else {
        return if stored.is_good() { Ok(None) } else { finding(Damage::Digest, None, stored.size) };
    };
    for object in objects {
        match storage.blobs().size_of(&object.key).await? {
            None => return finding(Damage::Missing, Some(object.key.as_str()), object.size),
            Some(size) if size != object.size => {
                return finding(Damage::Length, Some(object.key.as_str()), size);
            }
            Some(_) => {}
        }
    }
    if objects.iter().map(|object| object.size).sum::<u64>() != stored.size {
        return finding(Damage::Length, None, stored.size);
    }
    if depth == Depth::Deep {
        let keys: Vec<&str> = objects.iter().map(|object| object.key.as_str()).collect();
        let found = storage.blobs().digest_of(&keys, stored.digest.algorithm()).await?;
        if found != Some(stored.digest) {
            let damage = if found.is_none() { Damage::Missing } else { Damage::Digest };
            return finding(damage, keys.first().copied(), stored.size);
        }
    }
    Ok(None)
}
