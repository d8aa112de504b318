//! Whether the certificates of Notation signatures were revoked: answers that a verification asks for are fetched from
//! the addresses in trusted certificates, and kept for the other images of the run.

use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use clap::ValueEnum;
use futures_util::{StreamExt as _, stream};
use rreg_policy::notation::{Answer, Fetch, MAX_CRL, MAX_OCSP, Revocation, wanted};
use rreg_policy::{Evidence, Limits, TrustRoot, VerifyContext};
use rreg_runtime::client::fetch;

/// An answer may lead to another question: to a responder, to a list, to its delta.
const ROUNDS: usize = 3;
/// Most addresses asked in a round.
const MAX_FETCHES: usize = 32;
/// Fetched at once.
const AT_ONCE: usize = 4;

/// What no answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Check {
    /// No answer: it could not be checked
    Strict,
    /// No answer: it counts as not revoked
    Lenient,
    /// Nobody is asked, for places without a network
    Off,
}

/// What is known so far.
pub(super) struct Revocations(Mutex<Revocation>);

impl Revocations {
    pub(super) fn new(check: Check) -> Self {
        Self(Mutex::new(match check {
            Check::Strict => Revocation::check(),
            Check::Lenient => Revocation::check().accepting_unknown(),
            Check::Off => Revocation::off(),
        }))
    }

    fn known(&self) -> Revocation {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is known when everything was asked that these signatures need.
    pub(super) async fn about(
        &self,
        evidence: &[Evidence],
        roots: &[TrustRoot],
        limits: &Limits,
        now: DateTime<Utc>,
    ) -> Revocation {
        for _ in 0..ROUNDS {
            let revocation = self.known();
            let context = VerifyContext { now, limits, revocation: &revocation };
            let missing = missing(evidence, roots, &context);
            if missing.is_empty() {
                return revocation;
            }
            let asked = stream::iter(missing).map(ask).buffer_unordered(AT_ONCE);
            let answers: Vec<_> = asked.collect().await;
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            for (fetch, answer) in answers {
                known.insert(fetch, answer);
            }
        }
        self.known()
    }
}

fn missing(evidence: &[Evidence], roots: &[TrustRoot], context: &VerifyContext<'_>) -> Vec<Fetch> {
    let trusts: Vec<_> = roots
        .iter()
        .filter_map(|root| match root {
            TrustRoot::Notation(trust) => Some(trust),
            _ => None,
        })
        .collect();
    let signatures = evidence.iter().filter(|piece| piece.kind == rreg_policy::EvidenceKind::Notation);
    let mut all: Vec<Fetch> =
        signatures.flat_map(|piece| trusts.iter().flat_map(|trust| wanted(piece, trust, context))).collect();
    all.sort();
    all.dedup();
    all.truncate(MAX_FETCHES);
    all
}

async fn ask(question: Fetch) -> (Fetch, Answer) {
    let body = match &question {
        Fetch::Crl { url } => fetch(url, None, MAX_CRL).await,
        Fetch::Ocsp { url, request } => {
            fetch(url, Some(("application/ocsp-request", request.clone())), MAX_OCSP).await
        }
    };
    (question, Answer { body, fetched_at: Utc::now() })
}
