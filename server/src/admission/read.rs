//! Reading policies again, and what becomes of it when they cannot be read: those read before go on to hold.

use std::sync::{Arc, PoisonError};

use super::{Active, Admission, LoadError};

/// Most characters of why policies cannot be read that `/readyz` tells.
const MAX_WHY: usize = 300;

impl Admission {
    /// The policies that hold now.
    pub(crate) fn active(&self) -> Arc<Active> {
        self.active.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the policies again now, for whoever has just changed them or sees that somebody has. Those that cannot be
    /// read change nothing.
    pub(crate) async fn reload(&self) -> Result<(), LoadError> {
        // One after another: what was read earlier must not take the place of what was read later.
        let _turn = self.reading.lock().await;
        let read = Active::load(&self.storage, self.config.directory.as_deref()).await;
        let active = match read {
            Ok(active) => active,
            // That says nothing about the policies.
            Err(error @ LoadError::Storage(_)) => return Err(error),
            Err(error) => {
                self.note_broken(Some(&error));
                return Err(error);
            }
        };
        self.note_broken(None);
        let changed = active.revision != self.active().revision;
        *self.active.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(active);
        if changed {
            self.wake.notify_waiters();
        }
        Ok(())
    }

    /// Why the policies that there are now cannot be read, in one line, while those read before go on to hold.
    pub(crate) fn broken(&self) -> Option<String> {
        self.broken.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn note_broken(&self, error: Option<&LoadError>) {
        let why = error.map(|error| rreg_oci::visible(&error.to_string()).take(MAX_WHY).collect());
        let mut broken = self.broken.write().unwrap_or_else(PoisonError::into_inner);
        if let (None, Some(error)) = (&*broken, error) {
            tracing::error!(%error, "policies cannot be read; those read before go on to hold");
        }
        self.metrics.broken.set(error.is_some().into());
        *broken = why;
    }
}
