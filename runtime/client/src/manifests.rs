//! Manifests: resolve, fetch verified, push, delete.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use reqwest::{Response, StatusCode};
use rreg_oci::{
    Algorithm, Descriptor, Digest, Manifest, ManifestError, ManifestLimits, Operation, Reference,
    RepositoryName, Tag, media_type,
};

use super::RegistryClient;
use super::error::{ClientError, ErrorKind};
use super::transport::Request;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// A manifest's bytes with the descriptor they were verified against.
#[derive(Clone, Debug)]
pub struct FetchedManifest {
    /// Type, digest and size.
    pub descriptor: Descriptor,
    /// The bytes, untouched.
    pub bytes: Bytes,
}

impl FetchedManifest {
    /// A manifest made here, named by its SHA-256.
    pub fn new(media_type: impl Into<String>, bytes: Bytes) -> Self {
        let descriptor = Descriptor::new(media_type, Digest::sha256(&bytes), bytes.len() as u64);
        Self { descriptor, bytes }
    }

    /// The structure.
    ///
    /// # Errors
    /// [`ManifestError`] when it is none that can be copied.
    pub fn parse(&self) -> Result<Manifest, ManifestError> {
        Manifest::parse(Some(&self.descriptor.media_type), &self.bytes, &ManifestLimits::default())
    }
}

impl RegistryClient {
    /// What `reference` stands for now, by a HEAD request where the registry answers one fully.
    ///
    /// # Errors
    /// [`ClientError`], with [`ClientError::is_not_found`] when there is no such manifest.
    pub async fn resolve(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Descriptor, ClientError> {
        let operation =
            Operation::ManifestHead { repository: repository.clone(), reference: reference.clone() };
        let request = self.request(operation)?.header(ACCEPT, media_type::ACCEPT_MANIFESTS);
        let response = self.send(&request).await?;
        if response.status() != StatusCode::METHOD_NOT_ALLOWED {
            let response = self.expect(&request, response, &[200]).await?;
            let digest = self.stated_digest(&request.operation, &response, reference.digest())?;
            let length = header(response.headers(), &CONTENT_LENGTH).and_then(|text| text.parse().ok());
            let kind = header(response.headers(), &CONTENT_TYPE).map(media_type::essence);
            if let (Some(digest), Some(length), Some(kind)) = (digest, length, kind) {
                return Ok(Descriptor::new(kind, digest, length));
            }
        }
        Ok(self.fetch_manifest(repository, reference).await?.descriptor)
    }

    /// Whether the repository has the manifest with this digest.
    ///
    /// # Errors
    /// [`ClientError`] for every answer but yes and no.
    pub async fn manifest_exists(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, ClientError> {
        match self.resolve(repository, &Reference::Digest(*digest)).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Fetches a manifest. By digest it is checked against that; by tag against what the registry states.
    ///
    /// # Errors
    /// [`ClientError`], also when the content does not match.
    pub async fn fetch_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<FetchedManifest, ClientError> {
        let operation =
            Operation::ManifestGet { repository: repository.clone(), reference: reference.clone() };
        let request = self.request(operation)?.header(ACCEPT, media_type::ACCEPT_MANIFESTS);
        let response = self.send(&request).await?;
        let response = self.expect(&request, response, &[200]).await?;
        let operation = &request.operation;
        let expected = match reference.digest() {
            Some(digest) => Some(*digest),
            None => self.stated_digest(operation, &response, None)?,
        };
        let kind = header(response.headers(), &CONTENT_TYPE).map(media_type::essence).map(str::to_owned);
        let bytes = self.read(operation, response, self.0.limits.manifest, "manifest").await?;
        let found = Digest::of(expected.map_or(Algorithm::Sha256, |e| e.algorithm()), &bytes);
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(self.error(operation, ErrorKind::Digest { expected, found }));
        }
        let kind = declared_type(&bytes, kind);
        let kind = kind.ok_or_else(|| {
            self.error(operation, ErrorKind::Protocol("the manifest comes without a media type".into()))
        })?;
        Ok(FetchedManifest { descriptor: Descriptor::new(kind, found, bytes.len() as u64), bytes })
    }

    /// Pushes a manifest under all of `tags`, or by digest alone when there are none. A subject is announced to
    /// registries without a referrers API too (distribution-spec, "Pushing Manifests with Subject").
    ///
    /// # Errors
    /// [`ClientError`] when the registry refuses.
    pub async fn push_manifest(
        &self,
        repository: &RepositoryName,
        manifest: &FetchedManifest,
        tags: &[Tag],
    ) -> Result<(), ClientError> {
        let digest = manifest.descriptor.digest;
        let by_digest = Reference::Digest(digest);
        let headers = match tags {
            // Registries derive a digest from a push by tag; only sha256 is what they all derive.
            [tag] if digest.algorithm() == Algorithm::Sha256 => {
                self.put_manifest(repository, manifest, Reference::Tag(tag.clone()), &[]).await?
            }
            tags => {
                let headers = self.put_manifest(repository, manifest, by_digest, tags).await?;
                self.push_missing_tags(repository, manifest, tags, &headers).await?;
                headers
            }
        };
        if headers.contains_key(&OCI_SUBJECT) {
            return Ok(());
        }
        match manifest.parse() {
            Ok(Manifest { subject: Some(subject), .. }) => {
                self.announce_referrer(repository, &subject.digest, manifest).await
            }
            _ => Ok(()),
        }
    }

    /// `?tag=` is younger than most registries: what they did not acknowledge is pushed tag by tag.
    async fn push_missing_tags(
        &self,
        repository: &RepositoryName,
        manifest: &FetchedManifest,
        tags: &[Tag],
        answer: &HeaderMap,
    ) -> Result<(), ClientError> {
        let made: Vec<&str> = answer
            .get_all(&OCI_TAG)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(',').map(str::trim))
            .collect();
        for tag in tags.iter().filter(|tag| !made.contains(&tag.as_str())) {
            self.put_manifest(repository, manifest, Reference::Tag(tag.clone()), &[]).await?;
        }
        Ok(())
    }

    pub(crate) async fn put_manifest(
        &self,
        repository: &RepositoryName,
        manifest: &FetchedManifest,
        reference: Reference,
        tags: &[Tag],
    ) -> Result<HeaderMap, ClientError> {
        let operation =
            Operation::ManifestPut { repository: repository.clone(), reference, tags: tags.to_vec() };
        let mut request: Request =
            self.request(operation)?.header(CONTENT_TYPE, &manifest.descriptor.media_type);
        request.body = manifest.bytes.clone();
        let response = self.send(&request).await?;
        let response = self.expect(&request, response, &[201]).await?;
        self.stated_digest(&request.operation, &response, Some(&manifest.descriptor.digest))?;
        Ok(response.headers().clone())
    }

    /// Deletes a manifest by digest, or a tag.
    ///
    /// # Errors
    /// [`ClientError`] when the registry refuses.
    pub async fn delete_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<(), ClientError> {
        let operation =
            Operation::ManifestDelete { repository: repository.clone(), reference: reference.clone() };
        let request = self.request(operation)?;
        self.expect(&request, self.send(&request).await?, &[202, 200, 204]).await.map(|_| ())
    }

    /// The digest that the registry states, which must be `expected` if it is of the same algorithm.
    fn stated_digest(
        &self,
        operation: &Operation,
        response: &Response,
        expected: Option<&Digest>,
    ) -> Result<Option<Digest>, ClientError> {
        let Some(text) = header(response.headers(), &CONTENT_DIGEST) else { return Ok(expected.copied()) };
        let found: Digest = text.parse().map_err(|e| {
            self.error(operation, ErrorKind::Protocol(format!("Docker-Content-Digest is no digest: {e}")))
        })?;
        match expected {
            Some(expected) if expected.algorithm() != found.algorithm() => Ok(Some(*expected)),
            Some(expected) if *expected != found => {
                Err(self.error(operation, ErrorKind::Digest { expected: *expected, found }))
            }
            _ => Ok(Some(found)),
        }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The media type of a manifest: the header's, unless that is a mere format and the content knows better.
fn declared_type(bytes: &[u8], header: Option<String>) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Typed {
        #[serde(rename = "mediaType")]
        media_type: Option<String>,
    }
    if !media_type::is_format(header.as_deref()) {
        return header;
    }
    serde_json::from_slice::<Typed>(bytes).ok().and_then(|typed| typed.media_type).or(header)
}
