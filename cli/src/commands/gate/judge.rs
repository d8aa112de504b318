//! Looks at images and asks the policies: manifest, evidence and config over the network, each once and together.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::Utc;
use futures_util::{StreamExt as _, stream};
use rreg_oci::{Reference, Tag};
use rreg_policy::{
    EvaluateContext, Evidence, EvidenceFact, Facts, Gathered, ImageFacts, Limits, OfImages, TrustRoot,
    VerifyContext, evaluate, evidence_facts, gather, gather_images, image_facts, sbom_facts,
};
use rreg_runtime::RegistryClient;
use rreg_server::Revocations;

use super::How;
use super::policies::Policies;
use super::report::{Found, Judged, Unchecked};
use crate::connect::Connect;
use crate::content::{RemoteContent, manifest_content};
use crate::exit::Failure;
use crate::named::{Host, ImageName};

/// Images looked at together.
const TOGETHER: usize = 8;

/// Judges images under policies.
pub(crate) struct Judge<'a> {
    policies: &'a Policies,
    roots: Vec<TrustRoot>,
    revocations: Revocations,
    connect: &'a Connect,
    how: How,
    /// Whether an image passes that no policy is about.
    allow_unmatched: bool,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(policies: &'a Policies, connect: &'a Connect, how: How) -> Self {
        let roots = policies.set.trust_roots();
        Self {
            policies,
            roots,
            revocations: Revocations::new(how.revocation.into()),
            connect,
            how,
            allow_unmatched: true,
        }
    }

    /// Whether an image passes that no policy is about. A mistake in `match` must not look like a pass.
    pub(crate) fn allowing_unmatched(self, allow_unmatched: bool) -> Self {
        Self { allow_unmatched, ..self }
    }

    /// All of them, in their order.
    ///
    /// # Errors
    /// What is wrong whatever the image, such as a CA file that cannot be read.
    pub(crate) async fn all(&self, images: &[ImageName]) -> Result<Vec<Judged>, Failure> {
        let mut clients = BTreeMap::<&Host, RegistryClient>::new();
        for image in images {
            if !clients.contains_key(&image.host) {
                clients.insert(&image.host, self.connect.evidence_client(&image.host)?);
            }
        }
        let clients = &clients;
        let work = images.iter().map(|image| async move {
            let result = match clients.get(&image.host) {
                Some(client) => self.in_time(image, client).await,
                None => Err(unchecked("there is no client for its registry")),
            };
            Judged { image: image.to_string(), result }
        });
        Ok(stream::iter(work).buffered(TOGETHER).collect().await)
    }

    async fn in_time(&self, image: &ImageName, client: &RegistryClient) -> Result<Found, Unchecked> {
        let late = Duration::from_secs(self.how.timeout);
        let judged = tokio::time::timeout(late, self.one(image, client)).await;
        judged.unwrap_or_else(|_| {
            Err(Unchecked {
                why: format!("nothing was decided within {} seconds", self.how.timeout),
                hint: Some("give it more time with --timeout".into()),
            })
        })
    }

    /// What is not asked about an image that is named by its digest alone.
    fn unasked(&self) -> Option<String> {
        let about_tags = self.policies.set.policies().iter().filter(|policy| !policy.matches.tags.is_empty());
        let names: Vec<&str> = about_tags.map(|policy| policy.name.as_str()).collect();
        (!names.is_empty()).then(|| {
            format!(
                "policies about tags were not asked ({}): the image was named by its digest alone",
                names.join(", ")
            )
        })
    }

    async fn one(&self, image: &ImageName, client: &RegistryClient) -> Result<Found, Unchecked> {
        let reference = image.reference();
        let fetched = client.fetch_manifest(&image.repository, &reference);
        let (fetched, tag) = tokio::join!(fetched, self.second_name(image, client));
        let (fetched, tag) = (fetched.map_err(failed)?, tag?);
        let manifest = manifest_content(fetched);
        let (tags, said) = match (tag, reference) {
            (Some((tag, digest)), _) if digest == manifest.digest => (vec![tag.to_string()], None),
            // What was written counts too: the image is meant to be that.
            (Some((tag, digest)), _) => (
                vec![tag.to_string()],
                Some(format!("the tag {tag} names {digest} now; it was asked as {tag} all the same")),
            ),
            (None, Reference::Tag(tag)) => (vec![tag.to_string()], None),
            (None, Reference::Digest(_)) => match &image.tag {
                Some(tag) => (
                    vec![tag.to_string()],
                    Some(format!("the tag {tag} is gone; it was asked as {tag} all the same")),
                ),
                None => (Vec::new(), self.unasked()),
            },
        };
        let content = RemoteContent { client: client.clone(), repository: image.repository.clone() };
        let limits = Limits::default();
        let host = canonical(image.host.name());
        let repository = image.repository.as_str();
        let (stated, gathered) = tokio::join!(
            image_facts(&content, &host, repository, &tags, &manifest, &[], &limits),
            gather(&content, &manifest, &[], &limits),
        );
        let (mut facts, mut incomplete) = stated.map_err(|error| unchecked(error.to_string()))?;
        facts.pinned = Some(image.digest.is_some());
        incomplete.extend(gathered.incomplete.iter().cloned());
        let platforms = facts.platforms.clone();
        let gathered = Gathered { incomplete: incomplete.clone(), ..gathered };
        let asks = self.policies.set.asks_of_images() && !facts.images.is_empty();
        let of_images = if asks { Some(gather_images(&content, &manifest, &limits).await) } else { None };
        incomplete.extend(of_images.iter().flat_map(|of| of.incomplete.iter().cloned()));
        let facts = self.facts(facts, gathered, of_images, &limits).await;
        let context = EvaluateContext { now: Utc::now(), last_good: None };
        let decision = evaluate(&self.policies.set, &facts, self.how.at.point(), &context);
        if decision.policies.is_empty() && !self.allow_unmatched {
            let at = self.how.at.point().word();
            return Err(Unchecked {
                why: format!("no policy is about it at the point {at}, so nothing was asked"),
                hint: Some(
                    "look at match and at in the policies, or let such images pass with --allow-unmatched"
                        .into(),
                ),
            });
        }
        incomplete.extend(said);
        Ok(Found { digest: manifest.digest, platforms, decision, incomplete })
    }

    /// Judges the evidence under the trust roots of the policies, each piece once under each.
    async fn facts(
        &self,
        image: ImageFacts,
        gathered: Gathered,
        of_images: Option<Gathered>,
        limits: &Limits,
    ) -> Facts {
        let Gathered { incomplete, over, unread, evidence: pieces, .. } = gathered;
        let sboms = sbom_facts(&pieces);
        let each = sboms.each.clone();
        let evidence = self.verified(&pieces, limits).await;
        let facts = Facts { evidence, incomplete, over, unread, ..Facts::bare(image, None) };
        let facts = facts.with_sboms(sboms);
        let Some(Gathered { incomplete, over, unread, evidence: pieces, .. }) = of_images else {
            return facts;
        };
        let evidence = self.verified(&pieces, limits).await;
        let of_images = OfImages { evidence, incomplete, over, unread, ..OfImages::default() };
        facts.with_images(of_images, each, sbom_facts(&pieces))
    }

    async fn verified(&self, evidence: &[Evidence], limits: &Limits) -> Vec<EvidenceFact> {
        let now = Utc::now();
        let revocation = self.revocations.about(evidence, &self.roots, limits, now).await;
        evidence_facts(evidence, &self.roots, &VerifyContext { now, limits, revocation: &revocation })
    }

    /// Where an image is named by tag and digest, what the tag names: a tag that names something else says nothing about
    /// the image. `None` where there is only one name, or the registry says that the tag is gone. A tag that cannot be
    /// looked up is no tag that is gone: policies may be about it.
    async fn second_name<'i>(
        &self,
        image: &'i ImageName,
        client: &RegistryClient,
    ) -> Result<Option<(&'i Tag, rreg_oci::Digest)>, Unchecked> {
        let Some(tag) = image.tag.as_ref().filter(|_| image.digest.is_some()) else { return Ok(None) };
        match client.resolve(&image.repository, &Reference::Tag(tag.clone())).await {
            Ok(named) => Ok(Some((tag, named.digest))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => {
                let why = format!("what the tag {tag} names could not be found out: {error}");
                Err(Unchecked { why, hint: error.hint() })
            }
        }
    }
}

/// A host as policies name it: hosts are the same in any case, and Docker Hub has several.
fn canonical(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        _ => host,
    }
}

fn unchecked(why: impl Into<String>) -> Unchecked {
    Unchecked { why: why.into(), hint: None }
}

fn failed(error: rreg_runtime::client::ClientError) -> Unchecked {
    Unchecked { why: error.to_string(), hint: error.hint() }
}
