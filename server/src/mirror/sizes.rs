//! Lengths of blobs that are not here.

use std::sync::Arc;

use futures_util::TryFutureExt as _;
use rreg_oci::Digest;

use super::breaker::Part;
use super::error::MirrorError;
use super::{BlobKey, Copy, Flights, Mirror};
use crate::app::App;

/// Lengths that are being asked for.
pub(super) type Sizes = Flights<BlobKey, Result<u64, Arc<MirrorError>>>;

/// Who asks for a length.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A client: the upstream is asked for nothing that is kept.
    Client,
    /// A fill, whose slot is its place.
    Fill,
}

impl Mirror {
    /// The length of a blob. Where no manifest here tells it, the upstream does.
    pub(crate) async fn blob_size(
        &self,
        app: &Arc<App>,
        copy: &Copy,
        digest: &Digest,
        asker: Asker,
    ) -> Result<u64, Arc<MirrorError>> {
        if let Some(size) = self.known_size(app, copy, digest).await? {
            return Ok(size);
        }
        let work = || {
            let (app, copy, digest) = (app.clone(), copy.clone(), *digest);
            async move {
                let size = ask_for_size(&app, &copy, &digest).await?;
                if asker == Asker::Client {
                    app.mirror.count_vain(&copy);
                }
                Ok::<_, MirrorError>(size)
            }
        };
        let key = (copy.local.clone(), *digest);
        let asked = async {
            match asker {
                Asker::Client => self.sizes.ask(app, copy, key, work).await,
                Asker::Fill => self.sizes.join(&app.tasks, key, || work().map_err(Arc::new)).await,
            }
        };
        copy.upstream.within_patience((&copy.remote, Part::Content), false, asked).await
    }

    /// The length, where it is known here. `None`: the upstream may be asked.
    async fn known_size(&self, app: &App, copy: &Copy, digest: &Digest) -> Result<Option<u64>, MirrorError> {
        copy.upstream.permits(&copy.remote)?;
        self.may_ask_for_blob(copy, digest)?;
        if *digest == Digest::of(digest.algorithm(), b"") {
            return Ok(Some(0));
        }
        Ok(app.storage.metadata().awaited_size(&copy.local, digest).await?)
    }
}

/// Asks the upstream, and counts what is asked in vain, whether or not the client still waits for the answer.
async fn ask_for_size(app: &App, copy: &Copy, digest: &Digest) -> Result<u64, MirrorError> {
    let upstream = &copy.upstream;
    let size = upstream.client.blob_size(&copy.remote, digest);
    let size = upstream.ask(&copy.remote, upstream.patience, size).await;
    size.inspect_err(|error| app.mirror.miss(copy, digest, error))
}
