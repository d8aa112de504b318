//! Upload sessions in which nothing has arrived yet, where this process is the only one (SQLite).
//!
//! Most sessions get all their bytes in the request that closes them. A row for each would cost two commits that
//! protect nothing: a session that is lost with the process holds no bytes, and its client begins again. The first
//! bytes that stay in a session bring its row. On PostgreSQL another replica may get the next request, so there the
//! row comes at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rreg_oci::{Algorithm, RepositoryName, UploadId};
use tokio::sync::Notify;

use super::MetadataStore;

/// Sessions kept here, about 200 bytes each; further ones get their row at once.
const MOST: usize = 10_000;

/// A session without bytes.
#[derive(Clone, Debug)]
pub(super) struct EmptySession {
    pub(super) repository: RepositoryName,
    pub(super) algorithm: Algorithm,
    /// Milliseconds since the Unix epoch.
    opened_at: i64,
    /// A request is about to give it bytes or to end it.
    claimed: bool,
}

/// All sessions without bytes.
#[derive(Debug, Default)]
pub(super) struct EmptySessions {
    all: Mutex<HashMap<UploadId, EmptySession>>,
    /// Somebody has let go of a session.
    released: Notify,
}

/// What a request finds that wants a session for itself.
pub(super) enum Claim {
    /// It is not here: its row has to say.
    Absent,
    /// Another request has it.
    Busy,
    /// It belongs to this request.
    Held(Held),
}

impl EmptySessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<UploadId, EmptySession>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a new session; `false` when there are too many.
    pub(super) fn open(
        &self,
        id: UploadId,
        repository: &RepositoryName,
        algorithm: Algorithm,
        opened_at: i64,
    ) -> bool {
        let mut all = self.lock();
        let room = all.len() < MOST;
        if room {
            let session =
                EmptySession { repository: repository.clone(), algorithm, opened_at, claimed: false };
            all.insert(id, session);
        }
        room
    }

    /// The algorithm of a session of this repository.
    pub(super) fn algorithm(&self, repository: &RepositoryName, id: &UploadId) -> Option<Algorithm> {
        self.lock().get(id).filter(|session| session.repository == *repository).map(|s| s.algorithm)
    }

    /// Takes the session of this repository for the caller alone.
    pub(super) fn claim(self: &Arc<Self>, repository: &RepositoryName, id: &UploadId) -> Claim {
        match self.lock().get_mut(id) {
            Some(session) if session.repository == *repository => {
                if std::mem::replace(&mut session.claimed, true) {
                    Claim::Busy
                } else {
                    Claim::Held(Held { sessions: self.clone(), id: *id })
                }
            }
            _ => Claim::Absent,
        }
    }

    /// Forgets sessions that were opened before `before`; returns how many.
    pub(super) fn expire(&self, before: i64) -> usize {
        let mut all = self.lock();
        let count = all.len();
        all.retain(|_, session| session.claimed || session.opened_at >= before);
        count - all.len()
    }

    /// Takes all sessions out.
    pub(super) fn drain(&self) -> Vec<(UploadId, EmptySession)> {
        self.lock().drain().collect()
    }
}

/// A claimed session. Unless it is ended, it is free again when this is dropped. It travels with the write: who asked
/// for that may be gone before it is done.
pub(super) struct Held {
    sessions: Arc<EmptySessions>,
    id: UploadId,
}

impl Held {
    /// The session has a row now, or its blob.
    pub(super) fn end(&self) {
        self.sessions.lock().remove(&self.id);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(session) = self.sessions.lock().get_mut(&self.id) {
            session.claimed = false;
        }
        self.sessions.released.notify_waiters();
    }
}

impl MetadataStore {
    /// Takes the session for this request, if it is one without a row; waits for another request that has it.
    pub(super) async fn claim(&self, repository: &RepositoryName, id: &UploadId) -> Option<Held> {
        let empty = self.empty.as_ref()?;
        loop {
            // Made before the look, so that a release right after it is not missed.
            let released = empty.released.notified();
            match empty.claim(repository, id) {
                Claim::Absent => return None,
                Claim::Held(held) => return Some(held),
                Claim::Busy => released.await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RepositoryName {
        text.parse().unwrap()
    }

    #[test]
    fn a_claim_is_exclusive_and_ends_with_its_holder() {
        let (sessions, id) = (Arc::new(EmptySessions::default()), UploadId::random());
        assert!(sessions.open(id, &name("a"), Algorithm::Sha256, 1));
        assert!(matches!(sessions.claim(&name("b"), &id), Claim::Absent));
        let Claim::Held(held) = sessions.claim(&name("a"), &id) else { panic!("free") };
        assert!(matches!(sessions.claim(&name("a"), &id), Claim::Busy));
        assert_eq!(sessions.expire(2), 0, "a session in use stays");
        drop(held);
        let Claim::Held(held) = sessions.claim(&name("a"), &id) else { panic!("free again") };
        held.end();
        assert!(sessions.algorithm(&name("a"), &id).is_none());
    }

    #[test]
    fn there_is_a_most() {
        let sessions = EmptySessions::default();
        for _ in 0..MOST {
            assert!(sessions.open(UploadId::random(), &name("a"), Algorithm::Sha512, 1));
        }
        assert!(!sessions.open(UploadId::random(), &name("a"), Algorithm::Sha512, 1));
        assert_eq!(sessions.expire(2), MOST);
        assert!(sessions.open(UploadId::random(), &name("a"), Algorithm::Sha512, 1));
    }
}
