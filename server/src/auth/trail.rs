//! The audit trail: rows for writes, logins and denials.
//!
//! The row of a write is stored in the transaction of that write ([`allowed`] makes it). Logins and denials are stored
//! before they are answered, by a task that goes on when the client leaves; those tasks are bounded in number and waited
//! for at a clean end. A row that cannot be stored is logged and counted. Denials cost a stranger nothing, so so many
//! are kept a second, fewer of one network, and the rest is counted.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http::HeaderValue;
use rreg_auth::{Action, Denied, Identity, Permit};
use rreg_oci::{Operation, UploadStart};
use rreg_storage::{AuditEvent, Storage};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::shares::Source;
use crate::telemetry::AuthMetrics;

/// Rows that wait for the database.
const WAITING: usize = 4096;
/// Denials kept in one second, of one network and of all.
const OWN_DENIALS: u64 = 10;
const DENIALS: u64 = 100;
/// Longest claimed name or reason that is kept, in characters.
const MAX_TEXT: usize = 300;

/// Where a request comes from.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) address: Option<IpAddr>,
    pub(crate) request_id: HeaderValue,
}

impl Context {
    pub(super) fn of(&self, actor: String, event: AuditEvent) -> AuditEvent {
        AuditEvent {
            actor,
            address: self.address.map(|address| address.to_string()),
            request_id: self.request_id.to_str().ok().map(str::to_owned),
            ..event
        }
    }
}

pub(crate) struct Trail {
    storage: Storage,
    metrics: AuthMetrics,
    waiting: Arc<Semaphore>,
    tasks: TaskTracker,
    started: Instant,
    denials: Mutex<Denials>,
}

/// The denials of one second.
#[derive(Default)]
struct Denials {
    second: u64,
    /// How many are kept, by network. Not more networks than denials.
    by: HashMap<Source, u64>,
    suppressed: u64,
}

impl Trail {
    pub(super) fn new(storage: Storage, metrics: AuthMetrics) -> Self {
        Self {
            storage,
            metrics,
            waiting: Arc::new(Semaphore::new(WAITING)),
            tasks: TaskTracker::new(),
            started: Instant::now(),
            denials: Mutex::default(),
        }
    }

    /// Stores the row, and returns when it is stored or cannot be.
    async fn record(&self, event: AuditEvent) {
        // Never closed.
        let Ok(place) = Arc::clone(&self.waiting).acquire_owned().await else { return };
        let (storage, failures) = (self.storage.clone(), self.metrics.audit_failures.clone());
        let work = async move {
            if let Err(error) = storage.metadata().audit(vec![event.clone()]).await {
                failures.inc();
                // The log is the trail of last resort.
                tracing::error!(%error, ?event, "an audit event cannot be stored");
            }
            drop(place);
        };
        let _ = self.tasks.spawn(work).await;
    }

    /// Somebody has shown that they are who they say. `how` is by what.
    pub(super) async fn login(&self, context: &Context, identity: &Identity, how: &str) {
        let event = AuditEvent::new("login", "allowed", how);
        self.record(context.of(identity.to_string(), event)).await;
    }

    /// Somebody has shown credentials that are not right. `claimed` is who they said they were.
    pub(super) async fn login_failed(&self, context: &Context, claimed: &str, why: &str) {
        if self.suppress(context) {
            return;
        }
        let event = AuditEvent {
            target: Some(printable(claimed)),
            ..AuditEvent::new("login", "failed", printable(why))
        };
        self.record(context.of(Identity::Anonymous.to_string(), event)).await;
    }

    /// Somebody may not do what they asked for. A request without credentials is how every client finds out where to log
    /// in, and is no denial.
    pub(crate) async fn denied(
        &self,
        context: &Context,
        identity: &Identity,
        operation: &Operation,
        denied: &Denied,
    ) {
        if Action::of(operation) != Action::Ping && !matches!(denied, Denied::Anonymous) {
            self.refused(context, identity, operation, denied.rule()).await;
        }
    }

    /// A rule of the registry refuses what somebody may ask for: an immutable tag, a mirrored repository.
    pub(crate) async fn refused(
        &self,
        context: &Context,
        identity: &Identity,
        operation: &Operation,
        why: &str,
    ) {
        if !self.suppress(context) {
            let event = about(operation, AuditEvent::new(operation.name(), "denied", printable(why)));
            self.record(context.of(identity.to_string(), event)).await;
        }
    }

    /// Adds that a cluster's object was not let in.
    pub(crate) async fn not_admitted(&self, context: &Context, user: &str, object: &str, why: &str) {
        let event = AuditEvent::new("admission", "denied", printable(why));
        let event = AuditEvent { target: Some(printable(object)), ..event };
        let actor =
            if user.is_empty() { "cluster".to_owned() } else { format!("cluster:{}", printable(user)) };
        self.record(context.of(actor, event)).await;
    }

    /// Whether this denial is one too many: of its network, or of all.
    pub(crate) fn suppress(&self, context: &Context) -> bool {
        let second = self.started.elapsed().as_secs();
        let source = Source::of_address(context.address);
        let mut denials = self.denials.lock().unwrap_or_else(PoisonError::into_inner);
        if denials.second != second {
            if denials.suppressed > 0 {
                let suppressed = denials.suppressed;
                tracing::warn!(
                    suppressed,
                    "denials beyond what one network may cause are not in the audit trail"
                );
            }
            *denials = Denials { second, ..Denials::default() };
        }
        let own = denials.by.get(&source).copied().unwrap_or_default();
        let over = own >= OWN_DENIALS || denials.by.values().sum::<u64>() >= DENIALS;
        if over {
            denials.suppressed += 1;
            self.metrics.audit_suppressed.inc();
        } else {
            denials.by.insert(source, own + 1);
        }
        over
    }

    /// Waits for the rows that are being stored.
    pub(crate) async fn flush(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// A stranger's text, fit for a row.
pub(crate) fn printable(text: &str) -> String {
    rreg_oci::visible(text).take(MAX_TEXT).collect()
}

/// The row of a change that `permit` allows.
pub(crate) fn allowed(permit: &Permit, context: &Context) -> AuditEvent {
    let operation = permit.operation();
    let event = AuditEvent::new(operation.name(), "allowed", permit.rule().to_string());
    context.of(permit.caller().identity.to_string(), about(operation, event))
}

fn about(operation: &Operation, event: AuditEvent) -> AuditEvent {
    let target = match operation {
        Operation::ManifestGet { reference, .. }
        | Operation::ManifestHead { reference, .. }
        | Operation::ManifestPut { reference, .. }
        | Operation::ManifestDelete { reference, .. }
        | Operation::DecisionGet { reference, .. } => Some(reference.to_string()),
        Operation::BlobGet { digest, .. }
        | Operation::BlobHead { digest, .. }
        | Operation::BlobDelete { digest, .. }
        | Operation::UploadCommit { digest, .. }
        | Operation::UploadStart {
            start: UploadStart::Monolithic { digest } | UploadStart::Mount { digest, .. },
            ..
        } => Some(digest.to_string()),
        Operation::Referrers { subject, .. } => Some(subject.to_string()),
        Operation::TagRulePut { rule } | Operation::TagRuleDelete { rule } => {
            Some(format!("tag rule {rule}"))
        }
        Operation::PolicyGet { policy }
        | Operation::PolicyPut { policy }
        | Operation::PolicyDelete { policy } => Some(format!("policy {policy}")),
        Operation::TrustPut { trust } | Operation::TrustDelete { trust } => Some(format!("trust {trust}")),
        Operation::PolicyList
        | Operation::PolicySchema
        | Operation::WhatIf
        | Operation::TrustList
        | Operation::Ping
        | Operation::Catalog { .. }
        | Operation::TagList { .. }
        | Operation::UploadStart { start: UploadStart::Session { .. }, .. }
        | Operation::UploadChunk { .. }
        | Operation::UploadStatus { .. }
        | Operation::UploadCancel { .. }
        | Operation::TagRuleList => None,
    };
    AuditEvent { repository: operation.repository().map(|name| name.as_str().to_owned()), target, ..event }
}
