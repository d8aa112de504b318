//! Revocation lists and OCSP answers, fetched once and remembered for a while.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::Utc;
use futures_util::{StreamExt as _, stream};
use rreg_policy::notation::{Answer, Fetch, MAX_CRL, MAX_OCSP, Revocation};

use crate::config::RevocationCheck;

/// Answers older than this are fetched again, those that say for themselves how long they hold included.
const KEPT: Duration = Duration::from_secs(3600);
/// Most addresses that one verification may need.
const MAX_FETCHES: usize = 32;
/// Fetched at once.
const AT_ONCE: usize = 4;

/// What is known of revocation.
pub(super) struct Revocations(Mutex<Revocation>);

impl Revocations {
    pub(super) fn new(check: RevocationCheck) -> Self {
        Self(Mutex::new(match check {
            RevocationCheck::Off => Revocation::off(),
            RevocationCheck::Strict => Revocation::check(),
            RevocationCheck::Lenient => Revocation::check().accepting_unknown(),
        }))
    }

    /// As far as it is known now.
    pub(super) fn known(&self) -> Revocation {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fetches what a verification wants, so that it is known from then on. That something cannot be had is known then,
    /// too.
    pub(super) async fn fetch(&self, wanted: Vec<Fetch>) {
        let fetched = stream::iter(wanted.into_iter().take(MAX_FETCHES)).map(|fetch| async move {
            let body = match &fetch {
                Fetch::Crl { url } => rreg_client::fetch(url, None, MAX_CRL).await,
                Fetch::Ocsp { url, request } => {
                    let post = ("application/ocsp-request", request.clone());
                    rreg_client::fetch(url, Some(post), MAX_OCSP).await
                }
            };
            (fetch, Answer { body, fetched_at: Utc::now() })
        });
        let fetched: Vec<_> = fetched.buffer_unordered(AT_ONCE).collect().await;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.forget_before(Utc::now() - KEPT);
        for (fetch, answer) in fetched {
            known.insert(fetch, answer);
        }
    }
}
