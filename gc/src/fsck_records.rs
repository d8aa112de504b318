//! The records that [`crate::rebuild`] needs: for each manifest one that says what the rows say, and no others.

use std::collections::HashSet;

use futures_util::StreamExt as _;
use rreg_storage::{Storage, StorageError};

use crate::Depth;
use crate::fsck::{Damage, Finding, Look, PAGE};

impl Look<'_> {
    /// What is missing or says something else, and what no manifest has.
    pub(crate) async fn records(&mut self) -> Result<(), StorageError> {
        let (mut after, read) = (-1, self.depth == Depth::Deep);
        while let Some(page) = self.storage.inspect_records(after, PAGE, read, false).await? {
            after = page.last;
            for (repository, digest) in page.wrong {
                let object = Some(repository.to_string());
                self.found(Finding { damage: Damage::Record, digest: Some(digest), object, size: 0 });
            }
        }
        let mut listed = Box::pin(self.storage.blobs().list_records().chunks(PAGE));
        while let Some(page) = listed.next().await {
            let page = page.into_iter().collect::<Result<_, _>>()?;
            for record in self.storage.extra_records(page).await? {
                let (digest, object, size) = (Some(record.digest), Some(record.key), record.size);
                self.found(Finding { damage: Damage::ExtraRecord, digest, object, size });
            }
        }
        Ok(())
    }
}

/// The objects that records name whose manifest no row knows: of a database from an old backup they are all that is left
/// of what was pushed since. As many as those records have.
///
/// # Errors
/// When database or store fail, or such a record cannot be read.
pub(crate) async fn wanted(storage: &Storage) -> Result<HashSet<String>, StorageError> {
    let mut wanted = HashSet::new();
    let mut listed = Box::pin(storage.blobs().list_records().chunks(PAGE));
    while let Some(page) = listed.next().await {
        let page = page.into_iter().collect::<Result<_, _>>()?;
        for record in storage.extra_records(page).await? {
            wanted.extend(storage.objects_of_record(&record).await?);
        }
    }
    Ok(wanted)
}

/// Reads every record and writes again those that are wrong; deletes those that no manifest has, where it is sure that
/// nobody wants them. Gives how many those were.
///
/// # Errors
/// When database or store fail.
pub async fn heal_records(storage: &Storage) -> Result<usize, StorageError> {
    let (mut after, mut healed) = (-1, 0);
    while let Some(page) = storage.inspect_records(after, PAGE, true, true).await? {
        after = page.last;
        healed += page.wrong.len();
    }
    crate::write_records(storage).await?;
    let mut listed = Box::pin(storage.blobs().list_records().chunks(PAGE));
    while let Some(page) = listed.next().await {
        let page = page.into_iter().collect::<Result<_, _>>()?;
        for record in storage.extra_records(page).await? {
            healed += usize::from(storage.drop_record(&record).await?);
        }
    }
    Ok(healed)
}
