//! Images as this registry has them and as whoever asks may know them.

use std::sync::Arc;

use rreg_auth::Action;
use rreg_oci::{Digest, ImageReference};
use rreg_policy::Point;
use rreg_storage::StorageError;
use tokio::time::{Instant, timeout_at};

use super::asker::Asker;
use super::judge::{Decided, Judge, Resolved};
use super::person::Person;
use crate::app::App;
use crate::error::ApiError;
use crate::mirror::{Meaning, MirrorError};

/// Judges the images of one review.
pub(super) struct OfRegistry {
    app: Arc<App>,
    asker: Asker,
    person: Person,
    /// For all images together: an API server waits for the answer to the whole review.
    deadline: Instant,
}

impl OfRegistry {
    /// Whether digests may be told: who knows no more than a path learns verdicts.
    pub(super) fn tells_digests(&self) -> bool {
        !matches!(self.asker, Asker::Verdicts)
    }

    pub(super) fn new(app: &Arc<App>, (asker, person): (Asker, Person), deadline: Instant) -> Self {
        Self { app: app.clone(), asker, person, deadline }
    }

    /// Why an upstream is not asked for something that is not here.
    fn does_not_fetch(&self) -> Option<&'static str> {
        let Person { source, within, is_proved, .. } = &self.person;
        if matches!(self.asker, Asker::Anybody) {
            return Some("nothing is fetched for a review that anybody may send: pull it first");
        }
        if self.app.reviews.may_fetch(*is_proved, within, source) {
            return None;
        }
        Some(match self.app.admission.config.admission_fetches {
            0 => "nothing is fetched for reviews (policy.admission_fetches): pull it first",
            _ => {
                "so much was fetched for this user of the cluster, or for all, that no more is in this minute \
                 (policy.admission_fetches): pull it first, or try again"
            }
        })
    }

    /// What a name means among the manifests that are here.
    async fn stored(&self, image: &ImageReference) -> Result<Resolved, ApiError> {
        match self.app.storage.metadata().manifest(&image.repository, &image.reference()).await {
            Ok(manifest) => Ok(Resolved::Digest(manifest.digest)),
            Err(
                error @ (StorageError::UnknownRepository(_)
                | StorageError::UnknownManifest { .. }
                | StorageError::DamagedManifest { .. }),
            ) => Ok(Resolved::Unknown(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }
}

/// What an image means that could not be had from its upstream.
fn not_had(error: Arc<MirrorError>) -> Result<Resolved, ApiError> {
    let why = error.briefly().unwrap_or_else(|| error.to_string());
    if error.is_unknown() || error.is_of_content() {
        return Ok(Resolved::Unknown(why));
    }
    // How much is asked for may be chosen by whoever makes the object, so that this is no reason for `onError`.
    if matches!(*error, MirrorError::Full { .. }) {
        return Ok(Resolved::Unknown(why).or("try again"));
    }
    match error.meaning() {
        // Something is wrong here, and nobody else's silence: `onError` does not speak of that.
        None | Some(Meaning::Local) => Err(ApiError::from_shared(error)),
        Some(_) => Ok(Resolved::Unanswered(why)),
    }
}

impl Judge for OfRegistry {
    type Failure = ApiError;

    async fn resolve(&self, image: &ImageReference) -> Result<Resolved, ApiError> {
        let (app, repository) = (&self.app, &image.repository);
        if let Asker::Account(reader) = &self.asker
            && let Err(denied) = app.auth.access.judge(reader, Action::Pull, Some(repository))
        {
            return Ok(Resolved::Unknown(denied.to_string()));
        }
        let Some(copy) = app.mirror.covering(repository) else {
            return Ok(self.stored(image).await?.or("push it first"));
        };
        // What is here may be asked about as often as its upstream's settings have it.
        let here = self.stored(image).await?;
        if (matches!(self.asker, Asker::Anybody) || matches!(here, Resolved::Unknown(_)))
            && let Some(why) = self.does_not_fetch()
        {
            return Ok(here.or(why));
        }
        let reference = image.reference();
        match timeout_at(self.deadline, app.mirror.manifest(app, &copy, &reference)).await {
            Ok(Ok(found)) => Ok(Resolved::Digest(found.manifest.digest)),
            Ok(Err(error)) => {
                tracing::debug!(%repository, %error, "an image of a review cannot be had");
                not_had(error)
            }
            // As when the upstream fails: what it said last, if it ever did. How many images share the time is chosen by
            // whoever makes the object, so that this alone is no reason for `onError`.
            Err(_) if matches!(here, Resolved::Unknown(_)) => {
                let why = format!(
                    "the upstream of {repository} did not say in time (policy.timeout) what {reference} is"
                );
                Ok(match copy.upstream.is_silent(&copy.remote) {
                    true => Resolved::Unanswered(why),
                    false => Resolved::Unknown(why).or("try again"),
                })
            }
            Err(_) => Ok(here),
        }
    }

    async fn decide(
        &self,
        image: &ImageReference,
        digest: &Digest,
    ) -> Result<Result<Decided, String>, ApiError> {
        match self.decided(image, digest).await {
            Ok(decided) => Ok(Ok(decided)),
            // Whoever may push there can keep an image changing, or delete it: that is no failure, which the webhook may
            // ignore.
            Err(
                error @ (StorageError::Conflict
                | StorageError::UnknownManifest { .. }
                | StorageError::DamagedManifest { .. }),
            ) => Ok(Err(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    fn decide_unanswered(&self, image: &ImageReference, why: &str) -> Decided {
        let (revision, decision) = self.app.admission.decide_unanswered(image, why);
        self.app.admission.warned(&decision);
        Decided { revision, decision }
    }
}

impl OfRegistry {
    async fn decided(&self, image: &ImageReference, digest: &Digest) -> Result<Decided, StorageError> {
        let (app, repository) = (&self.app, &image.repository);
        // To decide about a copy is to ask its upstream for signatures.
        let waits = !matches!(self.asker, Asker::Anybody) || app.mirror.covering(repository).is_none();
        let deadline = if waits { self.deadline } else { Instant::now() };
        let decisions = app.admission.decisions_by(app, repository, digest, deadline).await?;
        let decision = decisions.at(Point::Admit, image.digest.is_some()).cloned();
        let none = || StorageError::Undecided("there is none about running it".to_owned());
        let mut decision = decision.ok_or_else(none)?;
        // Beside a digest, the tag says what the image is meant to be, though it may have moved on, or never have meant it.
        if let (Some(_), Some(tag)) = (&image.digest, &image.tag) {
            let by_name =
                app.admission.decided_as(app, repository, digest, (tag, Point::Admit), deadline).await?;
            if by_name.outcome > decision.outcome {
                decision = by_name;
            }
        }
        app.admission.warned(&decision);
        Ok(Decided { revision: decisions.revision, decision })
    }
}

#[cfg(test)]
mod tests {
    use rreg_client::{AuthError, ClientError, ErrorKind};

    use super::*;

    fn failed(kind: ErrorKind) -> Arc<MirrorError> {
        let error = Box::new(ClientError {
            operation: "manifest_get",
            host: "registry.example".into(),
            repository: None,
            doing: "fetching",
            part: None,
            address: None,
            elsewhere: false,
            of_a_cache: false,
            kind: Box::new(kind),
        });
        Arc::new(MirrorError::Upstream { upstream: "up".into(), error })
    }

    #[test]
    fn what_is_wrong_here_is_no_silence_of_an_upstream() {
        for kind in [ErrorKind::Auth(AuthError::Unsendable("x")), ErrorKind::Setup("x".into())] {
            let answer = not_had(failed(kind));
            assert!(answer.is_err(), "{answer:?}");
        }
        assert!(not_had(Arc::new(MirrorError::Ended)).is_err());
        let full = MirrorError::Full { upstream: "up".into(), refused: crate::shares::Refused::All };
        assert!(matches!(not_had(Arc::new(full)), Ok(Resolved::Unknown(_))), "an object may ask for many");
        for error in [failed(ErrorKind::Timeout(30)), Arc::new(MirrorError::Silent { upstream: "up".into() })]
        {
            let answer = not_had(error);
            assert!(matches!(answer, Ok(Resolved::Unanswered(_))), "{answer:?}");
        }
    }
}
