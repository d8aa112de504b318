//! Compares rows with objects: what is missing, of the wrong length, damaged, or known to nobody.
//!
//! Runs beside a server: what changes meanwhile is looked at again before it becomes a finding. Memory does not grow
//! with the store: rows come in pages, objects as a stream.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use rreg_oci::Digest;
use rreg_storage::{Content, Storage, StorageError, Stored};

/// Rows and objects looked at in one page.
const PAGE: usize = 500;
/// Contents looked at at once.
const AT_ONCE: usize = 8;

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
    /// An upload in parts that was begun and never ended: its parts are kept and paid for.
    Unfinished,
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
    /// How many things are not as they should be.
    pub count: u64,
    /// The first of them.
    pub findings: Vec<Finding>,
}

impl Inspection {
    fn found(&mut self, finding: Finding, limit: usize) {
        self.count += 1;
        if self.findings.len() < limit {
            self.findings.push(finding);
        }
    }
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
    let mut inspection = Inspection::default();
    check_blobs(storage, depth, limit, &mut inspection).await?;
    if depth == Depth::Deep {
        check_manifests(storage, limit, &mut inspection).await?;
    }
    check_objects(storage, extra, limit, &mut inspection).await?;
    check_unfinished(storage, extra, limit, &mut inspection).await;
    check_records(storage, depth, limit, &mut inspection).await?;
    check_quarantine(storage, limit, &mut inspection).await?;
    Ok(inspection)
}

/// Not every store lists them, and not everybody may: no reason to say nothing of the rest.
async fn check_unfinished(storage: &Storage, extra: Extra, limit: usize, inspection: &mut Inspection) {
    let blobs = storage.blobs();
    let found = match blobs.unfinished(extra.after).await {
        Ok(found) => found,
        Err(error) => {
            inspection.unlisted = Some(error.to_string());
            return;
        }
    };
    for upload in found {
        if extra.reclaim
            && let Err(error) = blobs.abort(&upload).await
        {
            inspection.unlisted = Some(error.to_string());
        }
        let object = Some(upload.key);
        inspection.found(Finding { damage: Damage::Unfinished, digest: None, object, size: 0 }, limit);
    }
}

async fn check_records(
    storage: &Storage,
    depth: Depth,
    limit: usize,
    inspection: &mut Inspection,
) -> Result<(), StorageError> {
    let mut after = -1;
    while let Some(page) = storage.inspect_records(after, PAGE, depth == Depth::Deep, false).await? {
        after = page.last;
        for (repository, digest) in page.wrong {
            let object = Some(repository.to_string());
            inspection
                .found(Finding { damage: Damage::Record, digest: Some(digest), object, size: 0 }, limit);
        }
    }
    Ok(())
}

/// Reads every record and writes again those that are wrong. Gives how many those were.
///
/// # Errors
/// When database or store fail.
pub async fn heal_records(storage: &Storage) -> Result<usize, StorageError> {
    let (mut after, mut wrong) = (-1, 0);
    while let Some(page) = storage.inspect_records(after, PAGE, true, true).await? {
        after = page.last;
        wrong += page.wrong.len();
    }
    crate::write_records(storage).await?;
    Ok(wrong)
}

async fn check_blobs(
    storage: &Storage,
    depth: Depth,
    limit: usize,
    inspection: &mut Inspection,
) -> Result<(), StorageError> {
    let mut after = -1;
    loop {
        let page = storage.metadata().stored_blobs(after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.row;
        let mut checks =
            stream::iter(&page).map(|stored| check(storage, stored, depth)).buffer_unordered(AT_ONCE);
        while let Some(finding) = checks.next().await {
            inspection.blobs += 1;
            if let Some(finding) = finding? {
                inspection.found(finding, limit);
            }
        }
    }
}

/// One blob. Whatever is found is looked for again in rows read anew: it may have been deleted, or replaced by a good
/// copy, since the page was read.
async fn check(storage: &Storage, stored: &Stored, depth: Depth) -> Result<Option<Finding>, StorageError> {
    let Some(_) = examine(storage, stored, depth).await? else { return Ok(None) };
    match storage.metadata().stored_blob(&stored.digest).await? {
        Some(now) => examine(storage, &now, depth).await,
        None => Ok(None),
    }
}

async fn examine(storage: &Storage, stored: &Stored, depth: Depth) -> Result<Option<Finding>, StorageError> {
    let finding = |damage, object: Option<&str>, size| {
        let object = object.map(str::to_owned);
        Ok(Some(Finding { damage, digest: Some(stored.digest), object, size }))
    };
    let Content::Objects(objects) = &stored.content else {
        return if stored.is_good() { Ok(None) } else { finding(Damage::Digest, None, stored.size) };
    };
    for object in objects {
        match storage.blobs().size_of(&object.key).await? {
            None => return finding(Damage::Missing, Some(&object.key), object.size),
            Some(size) if size != object.size => return finding(Damage::Length, Some(&object.key), size),
            Some(_) => {}
        }
    }
    if objects.iter().map(|object| object.size).sum::<u64>() != stored.size {
        return finding(Damage::Length, None, stored.size);
    }
    if depth == Depth::Deep {
        let keys: Vec<&str> = objects.iter().map(|object| object.key.as_str()).collect();
        match storage.blobs().digest_of(&keys, stored.digest.algorithm()).await? {
            None => return finding(Damage::Missing, keys.first().copied(), stored.size),
            Some(found) if found != stored.digest => {
                return finding(Damage::Digest, keys.first().copied(), stored.size);
            }
            Some(_) => {}
        }
    }
    Ok(None)
}

async fn check_manifests(
    storage: &Storage,
    limit: usize,
    inspection: &mut Inspection,
) -> Result<(), StorageError> {
    let mut after = -1;
    loop {
        // Bodies are up to some megabytes each.
        let page = storage.metadata().stored_manifests(after, PAGE / 25).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.row;
        for stored in &page {
            inspection.manifests += 1;
            if !stored.is_good() {
                let (digest, size) = (Some(stored.digest), stored.size);
                inspection.found(Finding { damage: Damage::Digest, digest, object: None, size }, limit);
            }
        }
    }
}

/// What is damaged is named already; what is quarantined besides is not served either.
async fn check_quarantine(
    storage: &Storage,
    limit: usize,
    inspection: &mut Inspection,
) -> Result<(), StorageError> {
    let mut after = -1;
    loop {
        let page = storage.metadata().quarantined(after, PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = *last;
        for (_, digest) in page {
            if !inspection.findings.iter().any(|finding| finding.digest == Some(digest)) {
                let size = storage.metadata().stored_blob(&digest).await?.map_or(0, |stored| stored.size);
                let found = Finding { damage: Damage::Quarantined, digest: Some(digest), object: None, size };
                inspection.found(found, limit);
            }
        }
    }
}

async fn check_objects(
    storage: &Storage,
    extra: Extra,
    limit: usize,
    inspection: &mut Inspection,
) -> Result<(), StorageError> {
    let mut pages = Box::pin(storage.blobs().list().chunks(PAGE));
    while let Some(page) = pages.next().await {
        let mut old = Vec::new();
        for object in page {
            let object = object?;
            inspection.objects += 1;
            if object.age >= extra.after {
                old.push(object);
            }
        }
        let keys: Vec<&str> = old.iter().map(|object| object.key.as_str()).collect();
        let known = storage.metadata().known_objects(&keys).await?;
        for object in old.into_iter().filter(|object| !known.contains(&object.key)) {
            // An object that was reclaimed since it was listed has lost its row and itself.
            if storage.blobs().size_of(&object.key).await?.is_some() {
                if extra.reclaim {
                    storage.metadata().reclaim_object(object.key.clone()).await?;
                }
                let (object, size) = (Some(object.key), object.size);
                inspection.found(Finding { damage: Damage::Extra, digest: None, object, size }, limit);
            }
        }
    }
    Ok(())
}
