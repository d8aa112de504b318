//! Whose store it is: database and object store belong together, or nothing is done.

use crate::Storage;
use crate::blob::Owner;
use crate::error::StorageError;

/// Objects that are looked for in a store without a marker.
const SAMPLE: usize = 5;

fn wrong(why: &str) -> StorageError {
    StorageError::Setting(format!(
        "the object store does not belong to this database: {why}. Look at storage.* and database.url: another bucket \
         or prefix, a directory that is not mounted, or a database that is not this store's"
    ))
}

impl Storage {
    /// Makes sure that database and object store belong together, by the marker that the store has. `adopt`: an empty
    /// database takes the store's name, to be rebuilt from it.
    ///
    /// # Errors
    /// [`StorageError::Setting`] when the store is another registry's or none of any; a failure of either.
    pub async fn claimed(mut self, adopt: bool) -> Result<Self, StorageError> {
        let (known, found) = (self.metadata.installation().await?, self.blobs.marker().await?);
        let is_new = known.is_none();
        let name = match (known, found) {
            // Compared below.
            (Some(known), Some(_)) => known,
            (Some(known), None) => {
                // A database whose content is all in its rows recognises nothing, and any empty store would do for it.
                if !self.recognise().await? && !adopt && !self.metadata.is_empty().await? {
                    return Err(wrong(
                        "it has no marker, and nothing of what this database knows is in it; if it is the right one, `rreg \
                         fsck --adopt` marks it",
                    ));
                }
                self.blobs.mark(&known).await?;
                known
            }
            (None, Some(found)) if adopt || self.recognise().await? => {
                self.metadata.name_installation(found).await?
            }
            (None, Some(_)) => {
                return Err(wrong(
                    "it has the marker of a registry, and this database knows of none; `rreg fsck --rebuild` restores a \
                     database that is lost, `rreg fsck --adopt` begins anew",
                ));
            }
            (None, None) => {
                self.recognise().await?;
                // The name first: replicas that start together agree on one, and a crash in between leaves a database
                // whose name is written at the next start.
                let name = self.metadata.name_installation(uuid::Uuid::new_v4().to_string()).await?;
                self.blobs.mark(&name).await?;
                name
            }
        };
        match self.blobs.owner(&name).await? {
            Owner::Us => {}
            Owner::Others => {
                // It was taken for the store of nobody, or its marker was read wrongly: later starts must be free to
                // see what it is.
                if is_new {
                    self.metadata.unname_installation(name).await?;
                }
                return Err(wrong("its marker is that of another registry"));
            }
            Owner::Nobody => return Err(wrong("its marker is gone a moment after it was written")),
        }
        self.blobs = self.blobs.of_installation(name);
        Ok(self)
    }

    /// For whoever only reads: nothing is written, and what is missing is believed of this database's store only.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn as_named(mut self) -> Result<Self, StorageError> {
        if let Some(name) = self.metadata.installation().await? {
            self.blobs = self.blobs.of_installation(name);
        }
        Ok(self)
    }

    /// Whether objects that the database knows are in the store; `false` where it knows none.
    async fn recognise(&self) -> Result<bool, StorageError> {
        let known = self.metadata.some_objects(SAMPLE).await?;
        for segment in &known {
            if self.blobs.size_of(&segment.key).await? == Some(segment.size) {
                return Ok(true);
            }
        }
        if known.is_empty() {
            Ok(false)
        } else {
            Err(wrong("none of the objects that the database knows is in it"))
        }
    }
}
