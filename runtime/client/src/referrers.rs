//! What refers to a manifest by its `subject`: by the API, or by the tag schema where there is none.

use std::collections::HashSet;

use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use rreg_oci::{Descriptor, Digest, Operation, Page, Reference, RepositoryName, Tag, media_type};
use serde::{Deserialize, Serialize};

use super::RegistryClient;
use super::error::{ClientError, ErrorKind};
use super::lists::{Next, few};
use super::manifests::FetchedManifest;

/// Most referrers in one list.
const MAX_REFERRERS: usize = 50_000;

/// The part of an image index that lists.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    #[serde(default = "schema_version")]
    schema_version: u32,
    #[serde(default = "index_type")]
    media_type: String,
    /// `null` is none. An answer without the field is no list.
    #[serde(deserialize_with = "few::<_, _, MAX_REFERRERS>")]
    manifests: Vec<Descriptor>,
}

fn schema_version() -> u32 {
    2
}

fn index_type() -> String {
    media_type::OCI_INDEX.into()
}

impl RegistryClient {
    /// All manifests whose subject is `subject`, optionally of one artifact type. An unknown subject has none.
    ///
    /// # Errors
    /// [`ClientError`] when the registry refuses or its answer is not an index.
    pub async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, ClientError> {
        let mut found = match self.referrers_by_api(repository, subject, artifact_type).await {
            Ok(Some(found)) => found,
            Ok(None) => {
                self.fallback_index(repository, subject).await?.map_or(Vec::new(), |index| index.manifests)
            }
            // Whoever refuses the list may have the tag. Where there is none it is not known whether anything refers to it.
            Err(error) if error.status().is_some() => match self.fallback_index(repository, subject).await {
                Ok(Some(index)) => index.manifests,
                Ok(None) | Err(_) => return Err(error),
            },
            Err(error) => return Err(error),
        };
        // Filtering is the registry's choice (`OCI-Filters-Applied`); filtering what it filtered changes nothing.
        found.retain(|d| artifact_type.is_none() || d.artifact_type.as_deref() == artifact_type);
        Ok(found)
    }

    /// The same from both places where referrers are kept, each once: what clients wrote under the referrers tag may
    /// still be nowhere else when a registry has got the API. That a list names a manifest does not make it one about
    /// the subject; a referrers tag that holds no index lists nothing.
    ///
    /// # Errors
    /// [`ClientError`] when the registry refuses or its answer is not an index.
    pub async fn referrers_in_both_forms(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, ClientError> {
        let by_tag = async {
            let reference = Reference::Tag(self.fallback_tag(repository, subject)?);
            match self.fetch_manifest(repository, &reference).await {
                Ok(fetched) if fetched.descriptor.digest == *subject => Ok(Vec::new()),
                Ok(fetched) if fetched.descriptor.media_type == media_type::OCI_INDEX => {
                    let index: Result<Index, _> = serde_json::from_slice(&fetched.bytes);
                    Ok(index.map_or(Vec::new(), |index| index.manifests))
                }
                Ok(_) => Ok(Vec::new()),
                Err(error) if error.is_not_found() => Ok(Vec::new()),
                Err(error) => Err(error),
            }
        };
        let by_api = self.referrers_by_api(repository, subject, None);
        let (by_api, by_tag) = futures_util::future::try_join(by_api, by_tag).await?;
        let mut seen = HashSet::new();
        let all = by_api.into_iter().flatten().chain(by_tag);
        Ok(all.filter(|entry| seen.insert(entry.digest)).collect())
    }

    /// Those that a cache has, where it cannot ask its upstream for the list: a part of them. Other registries answer with
    /// all. None where there is no referrers API.
    ///
    /// # Errors
    /// As of [`Self::referrers`].
    pub async fn cached_referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, ClientError> {
        // RFC 9111, 5.2.1.7.
        let stored = Some(HeaderValue::from_static("only-if-cached"));
        Ok(self.pages_of_referrers(repository, subject, None, stored).await?.unwrap_or_default())
    }

    /// `None` when the registry has no referrers API.
    async fn referrers_by_api(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Option<Vec<Descriptor>>, ClientError> {
        self.pages_of_referrers(repository, subject, artifact_type, None).await
    }

    /// The same, with what is said to caches.
    async fn pages_of_referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&str>,
        caching: Option<HeaderValue>,
    ) -> Result<Option<Vec<Descriptor>>, ClientError> {
        let operation = Operation::Referrers {
            repository: repository.clone(),
            subject: *subject,
            artifact_type: artifact_type.map(str::to_owned),
            page: Page::default(),
        };
        let mut found = Vec::new();
        let mut next = Some(self.request(operation)?.header(ACCEPT, media_type::OCI_INDEX));
        let (mut pages, mut left) = (0, self.0.limits.referrers);
        while let Some(mut request) = next {
            self.count_page(&request, &mut pages)?;
            request.headers.extend(caching.clone().map(|value| (CACHE_CONTROL, value)));
            let response = self.send(&request).await?;
            // What a registry that does not know the path answers.
            if pages == 1 && matches!(response.status().as_u16(), 400 | 404 | 405 | 406 | 501) {
                return Ok(None);
            }
            let response = self.expect(&request, response, &[200]).await?;
            let headers = response.headers().clone();
            // Some servers answer every unknown path with a web page or some JSON, and 200; others give lists a mere format.
            let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).map(media_type::essence);
            let is_index = kind == Some(media_type::OCI_INDEX);
            if !is_index && !media_type::is_format(kind) {
                return Ok(None);
            }
            let bytes = self.read_page(&request, response, &mut left).await?;
            let page = match self.parse_page::<Index>(&request, &headers, &bytes) {
                Err(_) if !is_index && pages == 1 => return Ok(None),
                page => page?,
            };
            found.extend(page.body.manifests);
            self.count_entries(&request, found.len(), MAX_REFERRERS)?;
            next = match page.next {
                Next::None => None,
                Next::Page(next) => Some(*next),
                Next::Same => return Err(self.leads_back(&request)),
            };
        }
        Ok(Some(found))
    }

    /// The index under the referrers tag, `None` when there is none.
    async fn fallback_index(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Option<Index>, ClientError> {
        let reference = Reference::Tag(self.fallback_tag(repository, subject)?);
        let fetched = match self.fetch_manifest(repository, &reference).await {
            Ok(fetched) => fetched,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        // Where a tag that is named after a digest answers with what has it (GitLab), it lists nothing.
        if fetched.descriptor.digest == *subject {
            return Ok(None);
        }
        serde_json::from_slice(&fetched.bytes).map(Some).map_err(|e| {
            let operation = Operation::ManifestGet { repository: repository.clone(), reference };
            self.error(&operation, ErrorKind::Protocol(format!("the referrers tag holds no index: {e}")))
        })
    }

    fn fallback_tag(&self, repository: &RepositoryName, subject: &Digest) -> Result<Tag, ClientError> {
        subject.referrers_tag().parse().map_err(|_| {
            let operation = Operation::TagList { repository: repository.clone(), page: Page::default() };
            self.error(&operation, ErrorKind::Setup(format!("{subject} has no referrers tag")))
        })
    }

    /// Adds a manifest to its subject's fallback index.
    pub(crate) async fn announce_referrer(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        manifest: &FetchedManifest,
    ) -> Result<(), ClientError> {
        let Ok(parsed) = manifest.parse() else { return Ok(()) };
        let mut entry = manifest.descriptor.clone();
        entry.artifact_type = parsed.artifact_type;
        entry.annotations = Some(parsed.annotations).filter(|a| !a.is_empty());
        self.change_fallback_index(repository, subject, |manifests| {
            let known = manifests.iter().any(|d| d.digest == entry.digest);
            if !known {
                manifests.push(entry);
            }
            !known
        })
        .await
    }

    /// Takes a deleted manifest out of its subject's fallback index, if the registry keeps one.
    ///
    /// # Errors
    /// [`ClientError`] when the registry refuses.
    pub async fn withdraw_referrer(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        deleted: &Digest,
    ) -> Result<(), ClientError> {
        self.change_fallback_index(repository, subject, |manifests| {
            let before = manifests.len();
            manifests.retain(|d| d.digest != *deleted);
            before != manifests.len()
        })
        .await
    }

    /// Read, change, write. Between processes the last writer wins, as the specification has no condition on
    /// a push.
    async fn change_fallback_index(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        change: impl FnOnce(&mut Vec<Descriptor>) -> bool,
    ) -> Result<(), ClientError> {
        let _one_at_a_time = self.0.fallback_index.lock().await;
        let index = self.fallback_index(repository, subject).await?;
        let mut index = index.unwrap_or(Index {
            schema_version: schema_version(),
            media_type: index_type(),
            manifests: Vec::new(),
        });
        if !change(&mut index.manifests) {
            return Ok(());
        }
        let tag = self.fallback_tag(repository, subject)?;
        let reference = Reference::Tag(tag);
        let bytes = serde_json::to_vec(&index).map_err(|e| {
            let operation =
                Operation::ManifestGet { repository: repository.clone(), reference: reference.clone() };
            self.error(&operation, ErrorKind::Setup(e.to_string()))
        })?;
        let manifest = FetchedManifest::new(media_type::OCI_INDEX, bytes.into());
        self.put_manifest(repository, &manifest, reference, &[]).await.map(|_| ())
    }
}
