//! `rreg audit`: the trail of writes, logins and denials.

use std::time::Duration;

use clap::{Args, ValueEnum};
use rreg_storage::{AuditEvent, time_ago};
use serde_json::{Value, json};

use super::accounts::{Accounts, lifetime};
use super::config::Place;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::text::{plain, table, timestamp};

/// Events read at a time.
const STEP: u32 = 1000;

#[derive(Args, Debug)]
pub(crate) struct Audit {
    /// Events of the last so long, such as 24h
    #[arg(long, value_name = "DURATION", value_parser = lifetime)]
    since: Option<u64>,
    /// The last so many events; with --since or --export, all of them count
    #[arg(long, short = 'n', default_value_t = 50, value_name = "NUMBER")]
    last: u32,
    /// Write all events to standard output in this form, oldest first
    #[arg(long, value_enum)]
    export: Option<Form>,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// One JSON object a line
    Jsonl,
}

impl Audit {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        let accounts = Accounts::open(&self.place).await?;
        let since = self.since.map(|seconds| time_ago(Duration::from_secs(seconds)));
        if self.export == Some(Form::Jsonl) {
            return export(&accounts, output, since.unwrap_or_default()).await;
        }
        let events = match since {
            None => accounts.metadata.last_audit_events(self.last).await?,
            Some(since) => {
                let mut all = Vec::new();
                loop {
                    let step = accounts.metadata.audit_events(since, all.last(), STEP).await?;
                    if step.is_empty() {
                        break all;
                    }
                    all.extend(step);
                }
            }
        };
        let value: Vec<_> = events.iter().map(json_of).collect();
        output.result(&json!({"events": value}), || {
            let rows: Vec<_> = events.iter().map(row_of).collect();
            table(["TIME", "WHO", "FROM", "WHAT", "OUTCOME", "ON", "RULE"], &rows)
        })
    }
}

async fn export(accounts: &Accounts, output: &Output, since: i64) -> Result<Exit, Failure> {
    let mut last = None;
    loop {
        let step = accounts.metadata.audit_events(since, last.as_ref(), STEP).await?;
        if step.is_empty() {
            return Ok(Exit::Ok);
        }
        let lines: String = step.iter().map(|event| json_of(event).to_string() + "\n").collect();
        output.raw(lines.as_bytes())?;
        last = step.into_iter().next_back();
    }
}

fn json_of(event: &AuditEvent) -> Value {
    json!({
        "id": event.id,
        "time": timestamp(event.at),
        "actor": event.actor,
        "event": event.event,
        "outcome": event.outcome,
        "rule": event.rule,
        "repository": event.repository,
        "target": event.target,
        "address": event.address,
        "requestId": event.request_id,
    })
}

fn row_of(event: &AuditEvent) -> [String; 7] {
    let on: Vec<&str> = event.repository.iter().chain(&event.target).map(String::as_str).collect();
    let from = event.address.clone().unwrap_or_default();
    [
        timestamp(event.at),
        event.actor.clone(),
        from,
        event.event.clone(),
        event.outcome.clone(),
        on.join(" "),
        // A refusal's whole text, longer than all else.
        event.rule.clone(),
    ]
    .map(|cell| plain(&cell))
}
