//! Upload sessions in which nothing has arrived yet, where this process is the only one (SQLite).
//!
//! Most sessions get all their bytes in the request that closes them. A row for each would cost two commits that
//! protect nothing: a session that is lost with the process holds no bytes, and its client begins again. The first
//! bytes that stay in a session bring its row. On PostgreSQL another replica may get the next request, so there the
//! row comes at once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rreg_oci::{Algorithm, RepositoryName, UploadId};

use super::MetadataStore;
use crate::error::StorageError;

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
pub(super) struct EmptySessions(Mutex<HashMap<UploadId, EmptySession>>);

/// What a request finds that wants a session for itself.
pub(super) enum Claim<'a> {
    /// It is not here: its row has to say.
    Absent,
    /// Another request has it.
    Busy,
    /// It belongs to this request.
    Held(Held<'a>),
}

impl EmptySessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<UploadId, EmptySession>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    pub(super) fn claim(&self, repository: &RepositoryName, id: &UploadId) -> Claim<'_> {
        match self.lock().get_mut(id) {
            Some(session) if session.repository == *repository => {
                if std::mem::replace(&mut session.claimed, true) {
                    Claim::Busy
                } else {
                    Claim::Held(Held { sessions: self, id: *id })
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

/// A claimed session. Unless it is ended, it is free again when this is dropped.
pub(super) struct Held<'a> {
    sessions: &'a EmptySessions,
    id: UploadId,
}

impl Held<'_> {
    /// The session has a row now, or its blob.
    pub(super) fn end(self) {
        self.sessions.lock().remove(&self.id);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.sessions.lock().get_mut(&self.id) {
            session.claimed = false;
        }
    }
}

impl MetadataStore {
    /// Takes the session for this request, if it is one without a row.
    ///
    /// # Errors
    /// [`StorageError::UnknownUpload`] when another request is ending it.
    pub(super) fn claim(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
    ) -> Result<Option<Held<'_>>, StorageError> {
        match self.empty.as_ref().map_or(Claim::Absent, |empty| empty.claim(repository, id)) {
            Claim::Absent => Ok(None),
            Claim::Busy => Err(StorageError::UnknownUpload(*id)),
            Claim::Held(held) => Ok(Some(held)),
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
        let (sessions, id) = (EmptySessions::default(), UploadId::random());
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
