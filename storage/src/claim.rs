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

/// What is wanted of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// To serve what is in it.
    Serve,
    /// To restore a database from it: an empty one takes its name once that is done.
    Rebuild,
    /// To begin anew beside what is in it: an empty database takes its name.
    Adopt,
}

impl Storage {
    /// Makes sure that database and object store belong together, by the marker that the store has.
    ///
    /// # Errors
    /// [`StorageError::Setting`] when the store is another registry's or none of any, or the database is only in part
    /// rebuilt; a failure of either.
    pub async fn claimed(mut self, claim: Claim) -> Result<Self, StorageError> {
        let adopt = claim != Claim::Serve;
        let installation = self.metadata.installation().await?;
        let unfinished = installation.as_ref().is_some_and(|it| it.being_rebuilt);
        if unfinished && claim == Claim::Serve {
            return Err(StorageError::Setting(
                "this database was to be rebuilt from the object store, and that has not ended: run `rreg fsck --rebuild` \
                 again, or `rreg fsck --adopt` to begin with what there is"
                    .to_owned(),
            ));
        }
        let (known, found) = (installation.map(|it| it.name), self.blobs.marker().await?);
        let is_new = known.is_none();
        let name = match (known, found) {
            // Compared below.
            (Some(known), Some(found)) => {
                if claim == Claim::Adopt {
                    self.mark_again(&known, &found).await?;
                }
                known
            }
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
            (None, Some(found)) if claim == Claim::Rebuild => self.metadata.begin_rebuild(found).await?,
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
                return Err(wrong(
                    "its marker is empty or that of another registry; if somebody wrote over the marker and the store is \
                     this database's all the same, `rreg fsck --adopt` writes it anew",
                ));
            }
            Owner::Nobody => return Err(wrong("its marker is gone a moment after it was written")),
        }
        if unfinished && claim == Claim::Adopt {
            self.metadata.end_rebuild(name.clone()).await?;
        }
        self.blobs = self.blobs.of_installation(name).held_by(self.metadata.clone());
        // A disk without room, or a store that can only be read, is served. Before the first write it is tried again.
        if let Err(error) = self.blobs.take_over().await {
            tracing::warn!(%error, "the store could not be taken over from a copy of this database, if there is one");
        }
        Ok(self)
    }

    /// Somebody may have written over the marker of this database's store: it is written anew where the store is known by
    /// what is in it, or the marker says nothing.
    async fn mark_again(&self, known: &str, found: &str) -> Result<(), StorageError> {
        if self.blobs.owner(known).await? == Owner::Others && (self.recognise().await? || found.is_empty()) {
            self.blobs.mark_anew(known).await?;
        }
        Ok(())
    }

    /// Everything that could be restored is: the database is the store's.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn rebuilt(&self) -> Result<(), StorageError> {
        match self.metadata.installation().await? {
            Some(known) => self.metadata.end_rebuild(known.name).await,
            None => Ok(()),
        }
    }

    /// For whoever only reads: nothing is written, and what is missing is believed of this database's store only.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn as_named(mut self) -> Result<Self, StorageError> {
        if let Some(known) = self.metadata.installation().await? {
            self.blobs = self.blobs.of_installation(known.name);
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
