//! The records that [`crate::rebuild`] needs: for each manifest one that says what the rows say, and no others.

use std::pin::pin;

use futures_util::{StreamExt as _, stream};
use rreg_storage::{ListedRecord, Storage, StorageError};

use crate::Depth;
use crate::fsck::{AT_ONCE, Damage, Finding, Look, PAGE};

impl Look<'_> {
    /// What is missing or says something else, and what no manifest has.
    pub(crate) async fn records(&mut self) -> Result<(), StorageError> {
        let (mut after, read) = (-1, self.depth == Depth::Deep);
        let (mut right, mut listed) = (None, 0);
        while let Some(page) = self.storage.inspect_records(after, PAGE, read, false).await? {
            after = page.last;
            right = right.or(page.right);
            for (repository, digest) in page.wrong {
                let object = Some(repository.to_string());
                self.found(Finding { damage: Damage::Record, digest: Some(digest), object, size: 0 });
            }
        }
        let mut pages = pin!(self.storage.blobs().list_records().chunks(PAGE));
        while let Some(page) = pages.next().await {
            let page = page.into_iter().collect::<Result<Vec<_>, _>>()?;
            listed += page.len();
            if self.extra.reclaim {
                self.wanted(&page).await?;
            }
            for record in self.storage.extra_records(page).await? {
                let (digest, object, size) = (Some(record.digest), Some(record.key), record.size);
                self.found(Finding { damage: Damage::ExtraRecord, digest, object, size });
            }
        }
        if let (0, Some((repository, digest))) = (listed, right)
            && self.storage.has_record(&repository, &digest).await?
        {
            self.not_to_reclaim("the object store lists no records, though it has some".to_owned());
        }
        Ok(())
    }

    /// Collects what these records name and no row knows, whether or not a row knows the manifest: content may have been
    /// pushed anew since the database was saved.
    async fn wanted(&mut self, page: &[ListedRecord]) -> Result<(), StorageError> {
        let storage = self.storage;
        let mut read = stream::iter(page)
            .map(|record| async move { (record, storage.objects_of_record(record).await) })
            .buffer_unordered(AT_ONCE);
        while let Some((record, named)) = read.next().await {
            match named? {
                Ok(keys) => {
                    let names: Vec<&str> = keys.iter().map(String::as_str).collect();
                    let known = storage.metadata().known_objects(&names).await?;
                    self.wanted.extend(keys.into_iter().filter(|key| !known.contains(key)));
                }
                Err(why) => {
                    self.not_to_reclaim(why);
                    let (digest, object) = (Some(record.digest), Some(record.key.clone()));
                    self.found(Finding { damage: Damage::Unreadable, digest, object, size: record.size });
                }
            }
        }
        Ok(())
    }
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
    let mut pages = pin!(storage.blobs().list_records().chunks(PAGE));
    while let Some(page) = pages.next().await {
        for record in storage.extra_records(page.into_iter().collect::<Result<_, _>>()?).await? {
            healed += usize::from(storage.drop_record(&record).await?);
        }
    }
    Ok(healed)
}
