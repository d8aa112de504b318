//! `/admission/v1/validate` and `/admission/v1/mutate`: what a Kubernetes API server asks before it stores an object.
//!
//! `mutate` pins images of this registry to the digests that their tags have now; `validate` says what is decided about
//! them at [`rreg_policy::Point::Admit`]. Where nothing can be said (the database does not answer, a review cannot be
//! read, the caller has not logged in), the answer is an HTTP error and the webhook's `failurePolicy` decides:
//! `onError` belongs to a policy, and there is none at hand then. `deploy/kubernetes` has the manifests.
//!
//! | room | what is in it |
//! |---|---|
//! | `asker` | who may ask |
//! | `request` | the question, as far as it is read |
//! | `images` | which kinds have pods, where their images are, and whose they are |
//! | `judge` | from images to an answer |
//! | `registry` | what this registry knows of an image |
//! | `person` | whose share it takes |
//! | `rooms` | what reviews have together, and shares of it |
//! | `time` | how long it may take |
//! | `answer` | the answer, with bounds on what is told |

mod answer;
pub(crate) mod asker;
mod images;
mod judge;
mod person;
mod registry;
mod request;
mod rooms;
mod time;

use std::sync::Arc;

use axum::extract::{Request as HttpRequest, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{ALLOW, CONTENT_TYPE};
use http::{Method, StatusCode};
use rreg_oci::ErrorCode;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use self::answer::Answer;
use self::asker::Asker;
use self::judge::Scope;
use self::person::Person;
use self::registry::OfRegistry;
use self::request::{MAX_BODY, Request, ReviewError};
pub(crate) use self::rooms::Rooms;
use self::rooms::TooMany;
use self::time::Times;
use crate::app::App;
use crate::auth::{Context, NotAdmitted, printable};
use crate::body::{IncomingBody, Pace, Unread};
use crate::error::ApiError;
use crate::shares::Source;

/// Which of the two is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    Validate,
    Mutate,
}

/// Answers `/admission/v1/validate`.
pub(crate) async fn validate(State(app): State<Arc<App>>, request: HttpRequest) -> Response {
    serve(&app, request, Question::Validate).await
}

/// Answers `/admission/v1/mutate`.
pub(crate) async fn mutate(State(app): State<Arc<App>>, request: HttpRequest) -> Response {
    serve(&app, request, Question::Mutate).await
}

async fn serve(app: &Arc<App>, request: HttpRequest, question: Question) -> Response {
    let _in_flight = app.metrics.in_flight();
    let seen = app.seen(&request);
    let context = seen.context();
    let answer = answer(app, request, &context, question).await.unwrap_or_else(ApiError::into_kubernetes);
    seen.answered(app, answer)
}

/// Answers every other path below `/admission/`.
pub(crate) async fn elsewhere(State(app): State<Arc<App>>, request: HttpRequest) -> Response {
    let seen = app.seen(&request);
    let why = "reviews are asked at /admission/v1/validate and /admission/v1/mutate, which one path of the settings may \
               follow";
    let error = ApiError::new(StatusCode::NOT_FOUND, ErrorCode::Unsupported, why);
    seen.answered(&app, error.into_kubernetes())
}

async fn answer(
    app: &Arc<App>,
    request: HttpRequest,
    context: &Context,
    question: Question,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    if parts.method != Method::POST {
        let why = "admission reviews are sent by POST";
        let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported, why);
        return Err(error.with_header(ALLOW, "POST"));
    }
    let times = Times::of(&parts.uri, app.admission.config.timeout.0, Instant::now());
    let asker = times.before_the_answer(Asker::of(app, &parts, context)).await??;
    let network = Source::of_address(context.address);
    let _sender = app.reviews.sender(&network)?;
    // A body that does not come takes no place of those that have.
    // Reviews are answered to the end of the server, and longer than slow uploads are waited for.
    let pace = Pace { stopping: CancellationToken::new(), ..app.pace.clone() };
    let body = IncomingBody::new(body, &pace, app.metrics.request_bytes.clone());
    let room = (&app.reviews.bytes, &network);
    let (body, _room) = match body.collect_or_begin(MAX_BODY, room, Some(times.decide)).await {
        Ok(arrived) => arrived,
        Err(Unread { error, beginning }) => {
            return match request::uid_of(&beginning) {
                Some(uid) => Ok(refusal(question, error.message()).into_response(&uid)),
                None => Err(error),
            };
        }
    };
    if body.len() > MAX_BODY
        && let Some(uid) = request::uid_of(&body)
    {
        return Ok(refusal(question, &ReviewError::TooLarge.to_string()).into_response(&uid));
    }
    let request = Request::parse(&body)?;
    let person = Person::of(&request, &asker, network);
    let place = timeout_at(times.decide, app.reviews.place(&person.within, &person.source)).await;
    let _place = match place {
        Ok(Ok(place)) => place,
        Ok(Err(TooMany(why))) => return Ok(refusal(question, why).into_response(&request.uid)),
        Err(_) => {
            let why =
                "too many reviews are being answered; none got free in time (policy.timeout); try again";
            return Ok(refusal(question, why).into_response(&request.uid));
        }
    };
    let answer = judge(app, &request, (asker, &person), (question, times)).await?;
    if !answer.is_allowed() {
        // Its row is on its way, whether or not it is waited for.
        let _ = timeout_at(times.answer, note(app, &request, context, (&answer, &person))).await;
    }
    Ok(answer.into_response(&request.uid))
}

/// What is not looked at for its size, or for how much comes at once. Whoever asks the cluster chooses both: that is no
/// failure, which the webhook may ignore.
fn refusal(question: Question, why: &str) -> Answer {
    let mut answer = Answer::default();
    match question {
        Question::Validate => answer.refuse(why),
        Question::Mutate => answer.warn(format!("no image was pinned: {why}")),
    }
    answer
}

impl Answer {
    fn into_response(self, uid: &str) -> Response {
        ([(CONTENT_TYPE, "application/json")], self.into_review(uid).to_string()).into_response()
    }
}

impl Times {
    /// What is done within the time, however the database hangs.
    async fn before_the_answer<T>(self, work: impl Future<Output = T>) -> Result<T, ApiError> {
        timeout_at(self.answer, work).await.map_err(|_| {
            let why = "the registry cannot say in time what may run: its database does not answer, or too slowly (/readyz \
                       says more)";
            ApiError::unavailable(why)
        })
    }
}

async fn judge(
    app: &Arc<App>,
    request: &Request<'_>,
    (asker, person): (Asker, &Person),
    (question, times): (Question, Times),
) -> Result<Answer, ApiError> {
    let policy = &app.admission.config;
    let scope = Scope { hosts: &policy.registry_hosts, mirror: &app.mirror, foreign: policy.foreign_images };
    let judge = OfRegistry::new(app, (asker, person.clone()), times.decide);
    let unpinned = |why: &str| {
        let mut answer = judge::put_back(request, scope);
        answer.warn(format!("no image was pinned: {why}"));
        answer
    };
    match question {
        Question::Validate => {
            let answer = judge::validate(request, scope, &judge, judge.tells_digests());
            times.before_the_answer(answer).await?
        }
        // What is not of this registry, or has a digest, would not be pinned for anybody.
        Question::Mutate if !judge.tells_digests() => Ok(match judge::is_to_be_pinned(request, scope) {
            true => unpinned("the secret of a path is for verdicts; a login (kubeConfigFile) pins"),
            false => judge::put_back(request, scope),
        }),
        // Nothing is refused here. What cannot be asked now is left as it is, and validate says what becomes of it.
        Question::Mutate => {
            let answer = times.before_the_answer(judge::mutate(request, scope, &judge)).await;
            Ok(answer.flatten().unwrap_or_else(|error| unpinned(error.message())))
        }
    }
}

/// Puts a denial where operators look for it. What is only tried changes nothing, and is none.
async fn note(
    app: &Arc<App>,
    request: &Request<'_>,
    context: &Context,
    (answer, person): (&Answer, &Person),
) {
    let Request { uid, kind, operation, namespace, name, user_info, dry_run, .. } = request;
    if *dry_run {
        return;
    }
    app.admission.metrics.denied.inc();
    let [uid, operation, namespace, name, kind, user] =
        [uid, operation, namespace, name, &kind.kind, &user_info.username].map(|text| printable(text));
    let why = answer.message();
    let object = format!("{kind} {namespace}/{name}");
    let Person { source, within, said_by, is_proved } = person;
    let denial = NotAdmitted {
        user: &user,
        source: (within, source),
        said_by: said_by.as_deref(),
        is_proved: *is_proved,
        object: &object,
        why: &why,
    };
    if let Some(row) = app.auth.trail.not_admitted(context, denial) {
        tracing::info!(uid, kind, operation, namespace, name, user, why, is_proved, "not admitted");
        app.auth.trail.record(row).await;
    }
}

impl From<ReviewError> for ApiError {
    fn from(error: ReviewError) -> Self {
        let (status, code) = match error {
            ReviewError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::SizeInvalid),
            _ => (StatusCode::BAD_REQUEST, ErrorCode::Unsupported),
        };
        Self::new(status, code, error.to_string())
    }
}

#[cfg(test)]
mod tests;
