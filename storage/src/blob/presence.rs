//! Whether an object is there. One "not found" is believed of no store: it is asked twice, and the store has to be the
//! right one.

use std::ops::Range;
use std::time::Duration;

use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, GetResult, ObjectMeta, ObjectStoreExt as _};

use super::BlobStore;
use crate::error::StorageError;
use crate::metadata::Segment;

/// Before an absence is asked about a second time.
const PAUSE: Duration = Duration::from_millis(250);

/// Whether this is the object with that entity tag, as far as both are told. What comes through a proxy that compresses
/// has a weak one.
pub(super) fn same_tag(found: &GetResult, e_tag: Option<&str>) -> bool {
    fn strong(tag: &str) -> &str {
        tag.strip_prefix("W/").unwrap_or(tag)
    }
    found.meta.e_tag.as_deref().zip(e_tag).is_none_or(|(found, wanted)| strong(found) == strong(wanted))
}

impl BlobStore {
    /// Lets what was wrong for a moment pass. A directory is not wrong for a moment.
    pub(super) async fn pause(&self) {
        if !self.local {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The object's description; `None` where it is not there, which is asked twice and believed of the right store only.
    pub(crate) async fn meta(&self, key: &str) -> Result<Option<ObjectMeta>, StorageError> {
        for last in [false, true] {
            match self.objects.head(&Path::from(key)).await {
                Ok(meta) => return Ok(Some(meta)),
                Err(Error::NotFound { .. }) if last => break,
                Err(Error::NotFound { .. }) => self.pause().await,
                Err(error) => return Err(error.into()),
            }
        }
        self.ping().await?;
        Ok(None)
    }

    /// The same of a segment. That a store says another length than it has is asked twice as well.
    pub(crate) async fn meta_of(&self, segment: &Segment) -> Result<Option<ObjectMeta>, StorageError> {
        let found = self.meta(&segment.key).await?;
        if self.local || found.as_ref().is_none_or(|meta| meta.size == segment.size) {
            return Ok(found);
        }
        self.pause().await;
        self.meta(&segment.key).await
    }

    /// Makes sure that what was written is there.
    ///
    /// # Errors
    /// When it is not, or the store fails.
    pub(crate) async fn must_be_there(&self, segments: &[Segment]) -> Result<(), StorageError> {
        for segment in segments {
            let found = self.meta_of(segment).await?;
            if found.is_none_or(|meta| meta.size != segment.size) {
                let source = format!("{} was written and is not there", segment.key).into();
                return Err(Error::Generic { store: "object store", source }.into());
            }
        }
        Ok(())
    }

    /// Opens this range of a segment; `None` as from [`BlobStore::meta`]. What answers with another range, length or entity
    /// tag than it should is asked twice.
    pub(super) async fn get_of(
        &self,
        segment: &Segment,
        range: &Range<u64>,
        e_tag: Option<&str>,
    ) -> Result<Option<GetResult>, StorageError> {
        let found = self.get(&segment.key, Some(range.clone())).await?;
        let is_right = |found: &GetResult| {
            found.meta.size == segment.size && found.range == *range && same_tag(found, e_tag)
        };
        if self.local || found.as_ref().is_none_or(is_right) {
            return Ok(found);
        }
        self.pause().await;
        self.get(&segment.key, Some(range.clone())).await
    }

    /// Opens the object, or this range of it; `None` as from [`BlobStore::meta`].
    pub(crate) async fn get(
        &self,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<Option<GetResult>, StorageError> {
        let path = Path::from(key);
        let get = || {
            let range = range.clone().map(GetRange::Bounded);
            self.objects.get_opts(&path, GetOptions { range, ..GetOptions::default() })
        };
        match get().await {
            Err(Error::NotFound { .. }) => match self.meta(key).await? {
                Some(_) => Ok(Some(get().await?)),
                None => Ok(None),
            },
            result => Ok(Some(result?)),
        }
    }

    /// Deletes an object. One that is gone already is no error.
    ///
    /// # Errors
    /// When the store fails, or is not the right one: there an object is not gone, only out of sight.
    pub async fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.must_be_ours().await?;
        let path = Path::from(key);
        match self.objects.delete(&path).await {
            Err(Error::NotFound { .. }) => match self.meta(key).await? {
                Some(_) => Ok(self.objects.delete(&path).await?),
                None => Ok(()),
            },
            result => Ok(result?),
        }
    }
}
