//! From the images of an object to an answer.

use std::collections::HashMap;
use std::future::Future;

use chrono::SecondsFormat;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rreg_oci::{Digest, ImageReference};
use rreg_policy::{Decision, Outcome, Outturn};

use super::answer::Answer;
use super::images::{Images, Place, reference};
use super::request::Request;
use crate::config::ForeignImages;
use crate::hosts::plain;
use crate::mirror::Mirror;

/// Most different images of one object. Each is a question to the database at least.
const MAX_IMAGES: usize = 100;
/// Most tags of one object beside one digest: what would be decided under each is decided for this object alone.
const MAX_TAGS: usize = 8;
/// Images of one object that are asked about at the same time.
const AT_ONCE: usize = 8;

/// Knows images of this registry.
pub(crate) trait Judge: Sync {
    /// Why nothing can be said now. It becomes an HTTP error, and the webhook's `failurePolicy` decides.
    type Failure: Send;

    /// What the image's name means now.
    fn resolve(&self, image: &ImageReference)
    -> impl Future<Output = Result<Resolved, Self::Failure>> + Send;

    /// What is decided about a manifest that was resolved from `image`, or why it is nothing to be let in.
    fn decide(
        &self,
        image: &ImageReference,
        digest: &Digest,
    ) -> impl Future<Output = Result<Result<Decided, String>, Self::Failure>> + Send;

    /// What is decided about an image of which nothing is known, since its upstream does not say: what each policy's
    /// `onError` says.
    fn decide_unanswered(&self, image: &ImageReference, why: &str) -> Decided;
}

/// What an image's name means.
#[derive(Clone, Debug)]
pub(crate) enum Resolved {
    /// This manifest.
    Digest(Digest),
    /// Nothing, and why.
    Unknown(String),
    /// Its upstream does not say, and why.
    Unanswered(String),
}

impl Resolved {
    /// With what to do where it means nothing.
    pub(crate) fn or(self, next: &str) -> Self {
        match self {
            Self::Unknown(why) => Self::Unknown(format!("{why}; {next}")),
            known => known,
        }
    }
}

/// What is decided about an image.
#[derive(Clone, Debug)]
pub(crate) struct Decided {
    /// Digest of the policies that were asked.
    pub(crate) revision: String,
    /// What they say.
    pub(crate) decision: Decision,
}

/// Whose images are judged.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// `policy.registry_hosts`
    pub(crate) hosts: &'a [String],
    /// Whose images are here as copies.
    pub(crate) mirror: &'a Mirror,
    /// `policy.foreign_images`
    pub(crate) foreign: ForeignImages,
}

/// Whose image it is.
enum Owner {
    /// Of this registry, under the name that its repository has here.
    Ours(ImageReference),
    /// Of another.
    Foreign(ImageReference),
    /// Of nobody: its name is none. Says why.
    Nobody(String),
}

impl Scope<'_> {
    fn owner(&self, image: &str) -> Owner {
        // Runtimes take it for the id of an image that a node has, of whatever registry.
        if image.parse::<Digest>().is_ok() {
            return Owner::Nobody("it is the id of an image on a node; write its name".to_owned());
        }
        match reference(image) {
            Ok(image) if self.hosts.iter().any(|host| plain(host) == plain(&image.host)) => {
                Owner::Ours(image)
            }
            // Nodes have it from here, under the host of its upstream (`?ns=`).
            Ok(image) => match self.mirror.named(&image.host, &image.repository) {
                Ok(repository) => Owner::Ours(ImageReference { repository, ..image }),
                Err(_) => Owner::Foreign(image),
            },
            Err(error) => Owner::Nobody(error.to_string()),
        }
    }

    fn foreign(&self, image: &ImageReference) -> String {
        let host = &image.host;
        if self.hosts.is_empty() {
            return format!(
                "image {image} is of {host}, and this registry does not know by which hosts clusters reach it: set \
                 policy.registry_hosts"
            );
        }
        format!(
            "image {image} is of {host}, and nothing is known about images of registries other than {}: copy it there, \
             or pull it through an upstream of that registry (upstreams.ns has the hosts whose images are judged as \
             copies)",
            self.hosts.join(", ")
        )
    }
}

/// Whether there is anything to look at. What is deleted does not run any more, and connecting to a pod brings no
/// image.
///
/// # Errors
/// Why the request is refused.
fn images(request: &Request<'_>) -> Result<Images, String> {
    match request.operation.as_str() {
        "DELETE" | "CONNECT" => Ok(Images::none()),
        "CREATE" | "UPDATE" => {
            let images = Images::of(request).map_err(|error| error.to_string())?;
            match images.names().len() {
                0..=MAX_IMAGES => Ok(images),
                many => {
                    Err(format!("{many} different images in one object; at most {MAX_IMAGES} are judged"))
                }
            }
        }
        other => {
            Err(format!("{other:?} is no operation that is known here (CREATE, UPDATE, DELETE, CONNECT)"))
        }
    }
}

/// Answers whether an object may be stored. The digests of images are told where `tells_digests`.
///
/// # Errors
/// The judge's failure.
pub(crate) async fn validate<J: Judge>(
    request: &Request<'_>,
    scope: Scope<'_>,
    judge: &J,
    tells_digests: bool,
) -> Result<Answer, J::Failure> {
    let mut answer = Answer::default();
    let images = match images(request) {
        Ok(images) => images,
        Err(why) => {
            answer.refuse(why);
            return Ok(answer);
        }
    };
    let mut ours = Vec::new();
    for name in images.names() {
        match scope.owner(name) {
            Owner::Ours(image) => ours.push((name, image)),
            Owner::Nobody(why) => answer.refuse(format!("image {name:?} cannot be asked for: {why}")),
            Owner::Foreign(image) => match scope.foreign {
                ForeignImages::Deny => answer.refuse(scope.foreign(&image)),
                ForeignImages::Warn => answer.warn(scope.foreign(&image)),
                ForeignImages::Allow => {}
            },
        }
    }
    if let Some(why) = too_many_tags(ours.iter().map(|(_, image)| image)) {
        answer.refuse(why);
        return Ok(answer);
    }
    // All names before all decisions: past the time for a review an image without a decision has policies that say what
    // becomes of it, and a name without a meaning has none.
    let asked: Vec<_> = ours.iter().map(|(_, image)| judge.resolve(image)).collect();
    let resolved: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    let asked: Vec<_> =
        ours.iter().zip(resolved).map(|((_, image), resolved)| decide(judge, image, resolved)).collect();
    let judged: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    let mut failure = None;
    for ((name, _), judged) in ours.iter().zip(judged) {
        match judged {
            Err(error) => failure = failure.or(Some(error)),
            Ok(judged) => tell(&mut answer, name, judged, tells_digests),
        }
    }
    // What is refused stays so, whatever could not be asked beside it: whoever makes the object chooses both.
    match failure {
        Some(failure) if answer.is_allowed() => Err(failure),
        Some(_) => {
            answer.warn("not every image of this object could be asked about");
            Ok(answer)
        }
        None => Ok(answer),
    }
}

/// Why an object is refused that names one manifest in more ways than anybody needs.
fn too_many_tags<'a>(images: impl Iterator<Item = &'a ImageReference>) -> Option<String> {
    let mut tags: HashMap<_, usize> = HashMap::new();
    for image in images {
        let (Some(digest), Some(_)) = (image.digest, &image.tag) else { continue };
        let many = tags.entry((&image.repository, digest)).or_default();
        *many += 1;
        if *many > MAX_TAGS {
            let repository = &image.repository;
            return Some(format!(
                "{repository}@{digest} is named with more than {MAX_TAGS} different tags in one object"
            ));
        }
    }
    None
}

/// Whether an object has an image of this registry that has no digest yet.
pub(crate) fn is_to_be_pinned(request: &Request<'_>, scope: Scope<'_>) -> bool {
    images(request).is_ok_and(|images| !to_be_pinned(&images, scope).is_empty())
}

/// Images of this registry that have no digest yet, with their names.
fn to_be_pinned<'i>(images: &'i Images, scope: Scope<'_>) -> Vec<(&'i str, ImageReference)> {
    // A Deployment compares its ReplicaSets with its own template: one that is changed is taken for a stranger, and the
    // next is made, without end. Its pods are pinned when they are made, if the Deployment was not.
    if images.is_copy {
        return Vec::new();
    }
    let is_new = |name: &&str| {
        let mut places = images.new.iter().filter(|place| place.image == *name);
        places.any(|place| !images.unpinned.iter().any(|(unpinned, _)| unpinned == place))
    };
    let ours = images.names().into_iter().filter(is_new).filter_map(|name| match scope.owner(name) {
        Owner::Ours(image) if image.digest.is_none() => Some((name, image)),
        _ => None,
    });
    ours.collect()
}

/// Gives images that were pinned when the object was made their digests again: whoever applies the same file once more
/// changes nothing. Says nothing that is not in the request.
pub(crate) fn put_back(request: &Request<'_>, scope: Scope<'_>) -> Answer {
    let mut answer = Answer::default();
    for (place, pinned) in images(request).into_iter().flat_map(|images| images.unpinned) {
        // Others' images are not pinned here.
        if matches!(scope.owner(&place.image), Owner::Ours(_)) {
            answer.rename(&place, &pinned);
        }
    }
    answer
}

/// What becomes of an image.
enum Judged {
    Decided(Decided),
    /// Decided without its upstream, and why that did not answer.
    Unanswered(Decided, String),
    /// Refused without asking policies, and why.
    Refused(String),
}

async fn decide<J: Judge>(
    judge: &J,
    image: &ImageReference,
    resolved: Result<Resolved, J::Failure>,
) -> Result<Judged, J::Failure> {
    Ok(match resolved? {
        Resolved::Unknown(why) => Judged::Refused(why),
        Resolved::Unanswered(why) => Judged::Unanswered(judge.decide_unanswered(image, &why), why),
        Resolved::Digest(digest) => {
            judge.decide(image, &digest).await?.map_or_else(Judged::Refused, Judged::Decided)
        }
    })
}

/// Puts it into the answer. Whoever may not hear digests gets none, and of an image without one a decision names none.
fn tell(answer: &mut Answer, name: &str, judged: Judged, tells_digests: bool) {
    let without = |Decided { revision, decision }| Decided { revision, decision: decision.without_digests() };
    match judged {
        Judged::Decided(decided) if tells_digests => report(answer, name, &decided, true),
        Judged::Decided(decided) => report(answer, name, &without(decided), false),
        Judged::Unanswered(decided, why) => {
            answer.warn(format!("image {name} could not be asked about: {why}"));
            report(answer, name, &without(decided), false);
        }
        Judged::Refused(why) => {
            let why = if tells_digests { why } else { rreg_policy::without_digests(&why) };
            answer.refuse(format!("image {name} cannot be judged: {why}"));
        }
    }
}

fn report(answer: &mut Answer, name: &str, decided: &Decided, tells_digests: bool) {
    let decision = &decided.decision;
    answer.annotate("policies", &decided.revision);
    if decision.outcome == Outcome::Deny {
        let is_known = !tells_digests || name.contains(&decision.digest.to_string());
        let digest = if is_known { String::new() } else { format!(" ({})", decision.digest) };
        answer.refuse_by(name, &digest, decision);
    }
    for policy in decision.policies.iter().filter(|policy| policy.outcome != Outcome::Deny) {
        if policy.result != Outturn::Pass {
            let what = if policy.outcome == Outcome::Warn { "would be refused" } else { "is allowed though" };
            answer.warn_of(name, what, policy);
        }
        if let Some(time) = policy.last_good {
            let time = time.to_rfc3339_opts(SecondsFormat::Secs, true);
            let policy = &policy.policy;
            answer.warn(format!(
                "image {name}: policy {policy:?} could not be asked now; what it said at {time} was taken"
            ));
        }
    }
}

/// Pins images to what their tags mean now. Nothing is refused here: what cannot be pinned is left as it is, and
/// [`validate`] decides about it.
///
/// # Errors
/// The judge's failure.
pub(crate) async fn mutate<J: Judge>(
    request: &Request<'_>,
    scope: Scope<'_>,
    judge: &J,
) -> Result<Answer, J::Failure> {
    let mut answer = put_back(request, scope);
    let images = match images(request) {
        Ok(images) => images,
        Err(why) => {
            answer.warn(format!("no image was pinned: {why}"));
            return Ok(answer);
        }
    };
    let ours = to_be_pinned(&images, scope);
    let asked: Vec<_> = ours.iter().map(|(_, image)| judge.resolve(image)).collect();
    let resolved: Vec<_> = stream::iter(asked).buffered(AT_ONCE).try_collect().await?;
    for ((name, _), resolved) in ours.iter().zip(resolved) {
        match resolved {
            Resolved::Digest(digest) => {
                let pinned = format!("{name}@{digest}");
                let is_back = |place: &Place| images.unpinned.iter().any(|(back, _)| back == place);
                let places = images.new.iter().filter(|place| place.image == *name && !is_back(place));
                places.for_each(|place| answer.rename(place, &pinned));
            }
            Resolved::Unknown(why) | Resolved::Unanswered(why) => {
                answer.warn(format!("image {name} was not pinned: {why}"));
            }
        }
    }
    Ok(answer)
}
