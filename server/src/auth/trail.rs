//! The audit trail: rows for writes, logins and denials, written behind the answers in batches.
//!
//! A row is in the database a moment after the answer; a crash can lose those of that moment. Writes and logins wait
//! for a place in the queue, so none is dropped; denials cost a stranger nothing, so so many are kept a second and the
//! rest is counted.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use http::{HeaderValue, StatusCode};
use rreg_auth::{Action, Denied, Identity, Rule};
use rreg_oci::{Operation, UploadStart};
use rreg_storage::{AuditEvent, Storage};
use tokio::sync::{mpsc, oneshot};

/// Events that wait for the database.
const QUEUE: usize = 4096;
/// Events in one transaction.
const BATCH: usize = 256;
/// Denials kept in one second.
const DENIALS: u64 = 100;
/// Longest claimed name that is kept, in characters.
const MAX_CLAIM: usize = 100;

/// Where a request comes from.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) address: Option<IpAddr>,
    pub(crate) request_id: HeaderValue,
}

enum Message {
    Event(Box<AuditEvent>),
    Flush(oneshot::Sender<()>),
}

pub(crate) struct Trail {
    queue: mpsc::Sender<Message>,
    started: Instant,
    /// The second of the last denial, and how many it has had.
    second: AtomicU64,
    denials: AtomicU64,
    suppressed: AtomicU64,
}

impl Trail {
    pub(super) fn start(storage: Storage) -> Self {
        let (queue, messages) = mpsc::channel(QUEUE);
        tokio::spawn(write(storage, messages));
        Self {
            queue,
            started: Instant::now(),
            second: AtomicU64::new(0),
            denials: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
        }
    }

    async fn record(&self, context: &Context, actor: String, mut event: AuditEvent) {
        event.actor = actor;
        event.address = context.address.map(|address| address.to_string());
        event.request_id = context.request_id.to_str().ok().map(str::to_owned);
        // The writer ends with the process only.
        let _ = self.queue.send(Message::Event(Box::new(event))).await;
    }

    /// Somebody has shown that they are who they say. `how` is by what.
    pub(super) async fn login(&self, context: &Context, identity: &Identity, how: &str) {
        self.record(context, identity.to_string(), AuditEvent::new("login", "allowed", how)).await;
    }

    /// Somebody has shown credentials that are not right. `claimed` is who they said they were.
    pub(super) async fn login_failed(&self, context: &Context, claimed: &str, why: &str) {
        if self.suppress() {
            return;
        }
        let claimed: String =
            claimed.chars().take(MAX_CLAIM).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        let event = AuditEvent { target: Some(claimed), ..AuditEvent::new("login", "failed", why) };
        self.record(context, Identity::Anonymous.to_string(), event).await;
    }

    /// Somebody may not do what they asked for. A first request without credentials to `/v2/` is how every client finds
    /// out where to log in, and is no denial.
    pub(crate) async fn denied(
        &self,
        context: &Context,
        identity: &Identity,
        operation: &Operation,
        denied: &Denied,
    ) {
        if Action::of(operation) == Action::Ping || self.suppress() {
            return;
        }
        let event = about(operation, AuditEvent::new(operation.name(), "denied", denied.rule()));
        self.record(context, identity.to_string(), event).await;
    }

    /// Content was added or removed, if it was: `status` says so.
    pub(crate) async fn written(
        &self,
        context: &Context,
        identity: &Identity,
        operation: &Operation,
        rule: &Rule,
        (status, digest): (StatusCode, Option<&str>),
    ) {
        let mut event = about(operation, AuditEvent::new(operation.name(), "allowed", rule.to_string()));
        if let (Some(target), Some(digest)) = (&mut event.target, digest)
            && target != digest
        {
            target.push('@');
            target.push_str(digest);
        }
        if changes(operation, status) {
            self.record(context, identity.to_string(), event).await;
        }
    }

    fn suppress(&self) -> bool {
        let second = self.started.elapsed().as_secs();
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.denials.store(0, Ordering::Relaxed);
            let suppressed = self.suppressed.swap(0, Ordering::Relaxed);
            if suppressed > 0 {
                tracing::warn!(suppressed, "denials beyond {DENIALS} a second are not in the audit trail");
            }
        }
        let over = self.denials.fetch_add(1, Ordering::Relaxed) >= DENIALS;
        if over {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
        }
        over
    }

    /// Waits until all that was recorded so far is in the database.
    pub(crate) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.queue.send(Message::Flush(done)).await.is_ok() {
            let _ = written.await;
        }
    }
}

/// Whether the answer means that what can be read has changed. Opening, filling and dropping an upload does not.
pub(super) fn changes(operation: &Operation, status: StatusCode) -> bool {
    match operation {
        Operation::ManifestPut { .. }
        | Operation::UploadCommit { .. }
        | Operation::UploadStart { .. }
        | Operation::TagRulePut { .. } => status == StatusCode::CREATED,
        Operation::ManifestDelete { .. } | Operation::BlobDelete { .. } | Operation::TagRuleDelete { .. } => {
            status == StatusCode::ACCEPTED
        }
        Operation::Ping
        | Operation::Catalog { .. }
        | Operation::TagList { .. }
        | Operation::Referrers { .. }
        | Operation::ManifestGet { .. }
        | Operation::ManifestHead { .. }
        | Operation::BlobGet { .. }
        | Operation::BlobHead { .. }
        | Operation::UploadChunk { .. }
        | Operation::UploadStatus { .. }
        | Operation::UploadCancel { .. }
        | Operation::TagRuleList => false,
    }
}

fn about(operation: &Operation, event: AuditEvent) -> AuditEvent {
    let target = match operation {
        Operation::ManifestGet { reference, .. }
        | Operation::ManifestHead { reference, .. }
        | Operation::ManifestPut { reference, .. }
        | Operation::ManifestDelete { reference, .. } => Some(reference.to_string()),
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
        Operation::Ping
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

async fn write(storage: Storage, mut messages: mpsc::Receiver<Message>) {
    let mut batch = Vec::with_capacity(BATCH);
    while messages.recv_many(&mut batch, BATCH).await > 0 {
        let (mut events, mut waiting) = (Vec::new(), Vec::new());
        for message in batch.drain(..) {
            match message {
                Message::Event(event) => events.push(*event),
                Message::Flush(done) => waiting.push(done),
            }
        }
        if !events.is_empty()
            && let Err(error) = storage.metadata().audit(events.clone()).await
        {
            // The log is the trail of last resort.
            tracing::error!(%error, ?events, "audit events cannot be stored");
        }
        for done in waiting {
            let _ = done.send(());
        }
    }
}
