//! Requests of rreg's own API, which no other registry answers: whole documents to and fro.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use rreg_oci::Operation;

use super::RegistryClient;
use super::error::ClientError;

impl RegistryClient {
    /// Sends a request of rreg's own API, with a document of a media type where there is one, and gives the answer.
    ///
    /// # Errors
    /// [`ClientError`] when the registry refuses, or knows no such request.
    pub async fn own(
        &self,
        operation: Operation,
        document: Option<(&str, Bytes)>,
    ) -> Result<Bytes, ClientError> {
        let mut request = self.request(operation)?;
        if let Some((media_type, body)) = document {
            request = request.header(CONTENT_TYPE, media_type);
            request.body = body;
        }
        let response = self.send(&request).await?;
        let response = self.expect(&request, response, &[200, 201, 202, 204]).await?;
        self.read(&request.operation, response, self.0.limits.own, "answer").await
    }
}
