//! Checks of passwords. One takes tens of milliseconds and 19 MiB, and any stranger can ask for it, so that a few run
//! at a time, on threads that serve nobody else, and few wait.

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;
use rreg_auth::{DUMMY_HASH, Htpasswd, PasswordError, PrincipalName, hash_password, verify_password};
use tokio::sync::Semaphore;

/// Checks at a time: 76 MiB.
const RUNNING: usize = 4;
/// Checks that wait for those.
const WAITING: usize = 64;
/// How long one waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// Too many passwords are being checked.
#[derive(Debug)]
pub(super) struct Busy;

pub(super) struct Passwords {
    htpasswd: Arc<Htpasswd>,
    /// Counts the costly work, which must not depend on who has an account.
    checks: IntCounter,
    running: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Passwords {
    pub(super) fn new(htpasswd: Htpasswd, checks: IntCounter) -> Self {
        Self {
            htpasswd: Arc::new(htpasswd),
            checks,
            running: Arc::new(Semaphore::new(RUNNING)),
            waiting: Semaphore::new(WAITING),
        }
    }

    /// The users of the htpasswd file.
    pub(super) fn file(&self) -> &Htpasswd {
        &self.htpasswd
    }

    /// Whether `password` is right: for `hash` where there is one, else for `name` in the htpasswd file. The same work
    /// is done whether or not there is such a user, so that time does not tell.
    pub(super) async fn check(
        &self,
        hash: Option<String>,
        name: Option<PrincipalName>,
        password: String,
    ) -> Result<bool, Busy> {
        let (file, checks) = (self.htpasswd.clone(), self.checks.clone());
        self.in_turn(move || {
            let stored = verify_password(&password, hash.as_deref().unwrap_or(DUMMY_HASH));
            checks.inc();
            let filed = file.verify(name.as_ref(), &password);
            if hash.is_some() { stored } else { filed }
        })
        .await
    }

    /// The hash to be stored of a new password, or why it cannot be one.
    pub(super) async fn hash(&self, password: String) -> Result<Result<String, PasswordError>, Busy> {
        self.in_turn(move || hash_password(&password, rand::random())).await
    }

    async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let _waiting = self.waiting.try_acquire().map_err(|_| Busy)?;
        let permit = tokio::time::timeout(PATIENCE, self.running.clone().acquire_owned()).await;
        let permit = permit.map_err(|_| Busy)?.map_err(|_| Busy)?;
        let work = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(permit);
            done
        });
        work.await.map_err(|_| Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter() -> IntCounter {
        IntCounter::new("checks", "checks").unwrap()
    }

    #[tokio::test]
    async fn a_stored_hash_goes_before_the_file_and_nobody_gets_in_by_the_dummy() {
        let hash = rreg_auth::hash_password("from the database", [1; 16]).unwrap();
        let file = format!("alice:$2y$04${}", ".".repeat(53));
        let passwords = Passwords::new(Htpasswd::parse(&file).unwrap(), counter());
        let name = || "alice".parse::<PrincipalName>().ok();
        assert!(passwords.file().contains(&name().unwrap()));
        let check = async |hash: Option<&String>, password: &str| {
            passwords.check(hash.cloned(), name(), password.to_owned()).await.unwrap()
        };
        assert!(check(Some(&hash), "from the database").await);
        assert!(!check(Some(&hash), "wrong").await);
        assert!(!check(None, "from the database").await);
        assert!(!check(None, "").await);
    }

    #[tokio::test]
    async fn few_wait() {
        let passwords = Passwords::new(Htpasswd::default(), counter());
        let _all = passwords.waiting.acquire_many(u32::try_from(WAITING).unwrap()).await.unwrap();
        assert!(passwords.check(None, None, String::new()).await.is_err());
    }
}
