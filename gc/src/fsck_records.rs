//! The records that [`crate::rebuild`] needs: for each manifest one that says what the rows say, and no others.

use std::pin::pin;

use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use rreg_storage::{ListedRecord, Storage, StorageError};

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
        let mut extra = pin!(extra_records(self.storage));
        while let Some(record) = extra.next().await {
            let record = record?;
            if self.extra.reclaim {
                self.wanted.extend(self.storage.objects_of_record(&record).await?);
            }
            let (digest, object, size) = (Some(record.digest), Some(record.key), record.size);
            self.found(Finding { damage: Damage::ExtraRecord, digest, object, size });
        }
        Ok(())
    }
}

/// The records whose manifest no row knows.
fn extra_records(storage: &Storage) -> impl Stream<Item = Result<ListedRecord, StorageError>> + '_ {
    let pages = storage.blobs().list_records().chunks(PAGE).then(move |page| async move {
        let page = page.into_iter().collect::<Result<_, _>>()?;
        storage.extra_records(page).await
    });
    pages.map_ok(|found| stream::iter(found.into_iter().map(Ok))).try_flatten()
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
    let mut extra = pin!(extra_records(storage));
    while let Some(record) = extra.next().await {
        healed += usize::from(storage.drop_record(&record?).await?);
    }
    Ok(healed)
}
