//! The audit trail: rows for writes, logins and denials.
//!
//! The row of a write is stored in the transaction of that write ([`allowed`] makes it). Logins and denials are stored
//! before they are answered, by a task that goes on when the client leaves; those tasks are bounded in number and waited
//! for at a clean end. A row that cannot be stored is logged and counted. Not every denial gets a row ([`Denials`]).

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http::HeaderValue;
use rreg_auth::{Action, Denied, Identity, Permit};
use rreg_oci::{Operation, UploadStart};
use rreg_storage::{AuditEvent, Storage};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::denials::{Denials, Kept, Kind};
use crate::shares::Source;
use crate::telemetry::AuthMetrics;

/// Rows that wait for the database.
const WAITING: usize = 4096;
/// Longest claimed name or reason that is kept, in characters.
const MAX_TEXT: usize = 300;

/// Where a request comes from.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) address: Option<IpAddr>,
    /// Whether the client's connection is encrypted.
    pub(crate) tls: bool,
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

/// An object that a cluster did not take.
pub(crate) struct NotAdmitted<'a> {
    /// Who asked the cluster, as it names them.
    pub(crate) user: &'a str,
    /// Whose share of the trail it is, and in whose.
    pub(crate) source: (&'a Source, &'a Source),
    /// Who says all this, where it is not sure to be an API server.
    pub(crate) said_by: Option<&'a str>,
    /// Whether that is somebody who is known; else anybody may have written it.
    pub(crate) is_proved: bool,
    /// What it was.
    pub(crate) object: &'a str,
    /// Why.
    pub(crate) why: &'a str,
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
    pub(crate) async fn record(&self, event: AuditEvent) {
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

    /// The row that says that a cluster's object was not let in, if it gets one. [`Self::record`] stores it.
    pub(crate) fn not_admitted(&self, context: &Context, denial: NotAdmitted<'_>) -> Option<AuditEvent> {
        let NotAdmitted { user, source, said_by, is_proved, object, why } = denial;
        let (mut object, mut why) = (printable(object), printable(why));
        if let Some(said_by) = said_by {
            object = format!("{object} (by {})", printable(said_by));
        }
        let actor =
            if user.is_empty() { "cluster".to_owned() } else { format!("cluster:{}", printable(user)) };
        let kind = if is_proved { Kind::Review } else { Kind::Unproved };
        match self.keep(kind, source, &format!("{actor}\n{object}\n{why}")) {
            Kept::Row(0) => {}
            Kept::Row(times) => why = format!("{why} (and {times} times since it was told last)"),
            Kept::Same | Kept::TooMany => return None,
        }
        let event = AuditEvent { target: Some(object), ..AuditEvent::new("admission", "denied", why) };
        Some(context.of(actor, event))
    }

    /// Whether this denial is one too many: of its network, or of all.
    fn suppress(&self, context: &Context) -> bool {
        let source = Source::of_address(context.address);
        self.keep(Kind::Request, (&source, &source), "") == Kept::TooMany
    }

    fn keep(&self, kind: Kind, source: (&Source, &Source), text: &str) -> Kept {
        let now = self.started.elapsed();
        let mut denials = self.denials.lock().unwrap_or_else(PoisonError::into_inner);
        if denials.begin(now) {
            let suppressed = std::mem::take(&mut denials.suppressed);
            if suppressed > 0 {
                tracing::warn!(
                    suppressed,
                    "denials beyond what one source may cause are not in the audit trail"
                );
            }
        }
        let kept = denials.keep(kind, source, text, now);
        if kept == Kept::TooMany {
            self.metrics.audit_suppressed.inc();
        }
        kept
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
