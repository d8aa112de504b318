//! Rules for immutable tags, for administrators.

use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use rreg_auth::Permit;
use rreg_oci::Glob;
use rreg_oci::{ErrorCode, Operation, Tag};
use rreg_storage::{AuditEvent, TagRule};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, empty, json as json_answer};
use crate::app::App;
use crate::body::IncomingBody;
use crate::error::ApiError;

/// Longest rule, in bytes: three lists of a hundred patterns of 255 bytes.
const MAX_RULE: usize = 100 << 10;

/// What is sent for a rule; its name is in the path.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    repositories: Option<Vec<String>>,
    tags: Option<Vec<String>>,
    except: Option<Vec<String>>,
}

/// A rule as JSON; `source` is where it stands: `configuration` or `database`.
pub fn tag_rule_view(rule: &TagRule, source: &str) -> Value {
    let texts = |globs: &[Glob]| globs.iter().map(Glob::to_string).collect::<Vec<_>>();
    json!({
        "name": rule.name,
        "source": source,
        "repositories": texts(&rule.repositories),
        "tags": texts(&rule.tags),
        "except": texts(&rule.except),
    })
}

pub(super) async fn list(app: &App) -> Answer {
    let metadata = app.storage.metadata();
    let stored = metadata.stored_tag_rules().await?;
    let configured = metadata.configured_tag_rules().iter().map(|rule| tag_rule_view(rule, "configuration"));
    let rules: Vec<Value> =
        configured.chain(stored.iter().map(|rule| tag_rule_view(rule, "database"))).collect();
    Ok(json_answer(Bytes::from(json!({"rules": rules}).to_string())))
}

pub(super) async fn put(app: &App, permit: &Permit, audit: AuditEvent, request: Request) -> Answer {
    let Operation::TagRulePut { rule } = permit.operation() else { return Err(super::wrong_operation()) };
    let body = IncomingBody::new(request.into_body(), &app.pace, app.metrics.request_bytes.clone())
        .collect(MAX_RULE);
    let rule = parse(rule, &body.await?)
        .map_err(|message| ApiError::new(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, message))?;
    let shown = tag_rule_view(&rule, "database");
    app.storage.metadata().put_tag_rule(rule, audit).await?;
    let mut response: Response = json_answer(Bytes::from(shown.to_string()));
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

fn parse(name: &Tag, body: &[u8]) -> Result<TagRule, String> {
    let sent: Sent = serde_json::from_slice(body).map_err(|error| {
        format!("a rule is a JSON object with repositories, tags and except, lists of patterns: {error}")
    })?;
    let globs = |field: &str, texts: Option<Vec<String>>, default: Vec<Glob>| match texts {
        None => Ok(default),
        Some(texts) => texts
            .iter()
            .map(|text| text.parse::<Glob>().map_err(|error| format!("{field}: {text:?}: {error}")))
            .collect(),
    };
    Ok(TagRule {
        name: name.to_string(),
        repositories: globs("repositories", sent.repositories, vec![Glob::all()])?,
        tags: globs("tags", sent.tags, vec![Glob::all()])?,
        except: globs("except", sent.except, Vec::new())?,
    })
}

pub(super) async fn delete(app: &App, permit: &Permit, audit: AuditEvent) -> Answer {
    let Operation::TagRuleDelete { rule } = permit.operation() else { return Err(super::wrong_operation()) };
    if app.storage.metadata().delete_tag_rule(rule.as_str(), audit).await? {
        return Ok(empty(StatusCode::ACCEPTED));
    }
    let configured = app.storage.metadata().configured_tag_rules().iter().any(|r| r.name == rule.as_str());
    Err(if configured {
        let message = format!("rule {rule} stands in the configuration (tags.immutable); change it there");
        ApiError::new(StatusCode::CONFLICT, ErrorCode::Denied, message)
    } else {
        ApiError::new(StatusCode::NOT_FOUND, ErrorCode::NameUnknown, format!("there is no rule {rule}"))
    })
}
