//! Whether the certificates of Notation signatures were revoked: answers that a verification asks for are fetched from
//! the addresses in trusted certificates, and remembered for a while. Nothing else in a verification asks a network.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, stream};
use rreg_policy::notation::{Answer, Fetch, MAX_CRL, MAX_OCSP, Revocation, wanted};
use rreg_policy::{Evidence, EvidenceKind, Limits, TrustRoot, VerifyContext};

use crate::config::RevocationCheck;

/// Answers older than this are fetched again, those that say for themselves how long they hold included.
const KEPT: Duration = Duration::from_secs(3600);
/// An answer may lead to another question: to a responder, to a list, to its delta.
const ROUNDS: usize = 3;
/// Most addresses asked in a round.
const MAX_FETCHES: usize = 32;
/// Fetched at once.
const AT_ONCE: usize = 4;

/// What is known of revocation.
#[derive(Debug)]
pub struct Revocations(Mutex<Revocation>);

impl Revocations {
    /// Nothing yet; `check` says what it means that nothing can be known.
    pub fn new(check: RevocationCheck) -> Self {
        Self(Mutex::new(match check {
            RevocationCheck::Off => Revocation::off(),
            RevocationCheck::Strict => Revocation::check(),
            RevocationCheck::Lenient => Revocation::check().accepting_unknown(),
        }))
    }

    fn known(&self) -> Revocation {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is known when everything was asked that these signatures need under these roots. That something cannot be
    /// had is known then, too.
    pub async fn about(
        &self,
        evidence: &[Evidence],
        roots: &[TrustRoot],
        limits: &Limits,
        now: DateTime<Utc>,
    ) -> Revocation {
        for _ in 0..ROUNDS {
            let revocation = self.known();
            let missing = missing(evidence, roots, &VerifyContext { now, limits, revocation: &revocation });
            if missing.is_empty() {
                return revocation;
            }
            let answers: Vec<_> = stream::iter(missing).map(ask).buffer_unordered(AT_ONCE).collect().await;
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.forget_before(Utc::now() - KEPT);
            for (fetch, answer) in answers {
                known.insert(fetch, answer);
            }
        }
        self.known()
    }
}

fn missing(evidence: &[Evidence], roots: &[TrustRoot], context: &VerifyContext<'_>) -> Vec<Fetch> {
    let mut all = Vec::new();
    for piece in evidence.iter().filter(|piece| piece.kind == EvidenceKind::Notation) {
        for root in roots {
            if let TrustRoot::Notation(trust) = root {
                all.extend(wanted(piece, trust, context));
            }
        }
    }
    all.sort();
    all.dedup();
    all.truncate(MAX_FETCHES);
    all
}

async fn ask(question: Fetch) -> (Fetch, Answer) {
    let body = match &question {
        Fetch::Crl { url } => rreg_client::fetch(url, None, MAX_CRL).await,
        Fetch::Ocsp { url, request } => {
            let post = ("application/ocsp-request", request.clone());
            rreg_client::fetch(url, Some(post), MAX_OCSP).await
        }
    };
    (question, Answer { body, fetched_at: Utc::now() })
}
