//! Lists in pages: tags and repositories.

use bytes::Bytes;
use http::HeaderMap;
use http::header::LINK;
use reqwest::{Response, Url};
use rreg_oci::{Operation, Page, RepositoryName};
use serde::Deserialize;

use super::error::{ClientError, ErrorKind};
use super::transport::Request;
use super::{RegistryClient, endpoint};

/// Entries asked for in one page. Registries may give fewer.
const PAGE: u64 = 1000;

/// One page and where the next one is.
pub(crate) struct PageOf<T> {
    pub(crate) body: T,
    pub(crate) next: Option<Request>,
}

#[derive(Deserialize)]
struct Names {
    #[serde(alias = "repositories", alias = "tags", default)]
    names: Option<Vec<String>>,
}

impl RegistryClient {
    /// All tags of the repository.
    ///
    /// # Errors
    /// [`ClientError`] when the registry refuses, or its list has no end.
    pub async fn tags(&self, repository: &RepositoryName) -> Result<Vec<String>, ClientError> {
        let page = Page { n: Some(PAGE), last: None };
        self.names(Operation::TagList { repository: repository.clone(), page }).await
    }

    /// All repositories that the registry shows us.
    ///
    /// # Errors
    /// [`ClientError`] when the registry refuses, or its list has no end.
    pub async fn catalog(&self) -> Result<Vec<String>, ClientError> {
        self.names(Operation::Catalog { page: Page { n: Some(PAGE), last: None } }).await
    }

    async fn names(&self, operation: Operation) -> Result<Vec<String>, ClientError> {
        let mut names = Vec::new();
        let mut next = Some(self.request(operation)?);
        let (mut pages, mut left) = (0, self.0.limits.list);
        while let Some(request) = next {
            self.count_page(&request, &mut pages)?;
            let page = self.page::<Names>(&request, &mut left).await?;
            names.extend(page.body.names.unwrap_or_default());
            next = page.next;
        }
        Ok(names)
    }

    /// Fails once a list has more pages than allowed.
    pub(crate) fn count_page(&self, request: &Request, pages: &mut usize) -> Result<(), ClientError> {
        *pages += 1;
        if *pages > self.0.limits.pages {
            let why = format!("the list does not end after {} pages", self.0.limits.pages);
            return Err(self.error(&request.operation, ErrorKind::Protocol(why)));
        }
        Ok(())
    }

    async fn page<T: for<'de> Deserialize<'de>>(
        &self,
        request: &Request,
        left: &mut u64,
    ) -> Result<PageOf<T>, ClientError> {
        let response = self.send(request).await?;
        let response = self.expect(request, response, &[200]).await?;
        let headers = response.headers().clone();
        let bytes = self.read_page(request, response, left).await?;
        self.parse_page(request, &headers, &bytes)
    }

    /// A page of a list of which `left` more bytes are accepted.
    pub(crate) async fn read_page(
        &self,
        request: &Request,
        response: Response,
        left: &mut u64,
    ) -> Result<Bytes, ClientError> {
        let (limit, what) = match self.0.limits.page {
            page if page <= *left => (page, "page"),
            _ => (*left, "rest of the list"),
        };
        let bytes = self.read(&request.operation, response, limit, what).await?;
        *left = left.saturating_sub(bytes.len() as u64);
        Ok(bytes)
    }

    pub(crate) fn parse_page<T: for<'de> Deserialize<'de>>(
        &self,
        request: &Request,
        headers: &HeaderMap,
        bytes: &Bytes,
    ) -> Result<PageOf<T>, ClientError> {
        let protocol = |why: String| self.error(&request.operation, ErrorKind::Protocol(why));
        let body =
            serde_json::from_slice(bytes).map_err(|e| protocol(format!("the list is not JSON: {e}")))?;
        let next = match next_link(headers) {
            None => None,
            Some(link) => Some(self.next_page(request, link).map_err(protocol)?),
        };
        Ok(PageOf { body, next })
    }

    /// Only the registry itself is asked for further pages, and never twice for the same one in a row.
    fn next_page(&self, request: &Request, link: &str) -> Result<Request, String> {
        let url: Url = request.url.join(link).map_err(|e| format!("the Link header is no URL: {e}"))?;
        // Proxies that end TLS often leave http in links; the path is what counts.
        let (mut moved, base) = (request.url.clone(), &self.0.base);
        if url.host() != base.host() && !endpoint::same_origin(&url, base) {
            return Err("the Link header leads to another host".into());
        }
        moved.set_path(url.path());
        moved.set_query(url.query());
        if moved == request.url {
            return Err("the Link header leads back to the same page".into());
        }
        Ok(Request { url: moved, ..request.clone() })
    }
}

/// The target of `Link: <target>; rel="next"` (RFC 8288).
fn next_link(headers: &HeaderMap) -> Option<&str> {
    headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()).find_map(|value| {
        let mut rest = value;
        while let Some((_, after)) = rest.split_once('<') {
            let (target, after) = after.split_once('>')?;
            let parameters = after.split('<').next().unwrap_or_default();
            let compact: String = parameters.chars().filter(|c| !c.is_whitespace() && *c != '"').collect();
            if compact.split([';', ',']).any(|p| p.eq_ignore_ascii_case("rel=next")) {
                return Some(target);
            }
            rest = after;
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links() {
        let next = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LINK, text.parse().unwrap());
            next_link(&headers).map(str::to_owned)
        };
        assert_eq!(
            next(r#"</v2/a/tags/list?n=1&last=b>; rel="next""#).unwrap(),
            "/v2/a/tags/list?n=1&last=b"
        );
        assert_eq!(next("<x>; rel=next; title=y").unwrap(), "x");
        assert_eq!(next(r#"<p>; rel="prev", <n>; rel="next""#).unwrap(), "n");
        for none in ["", "<x", r#"<x>; rel="prev""#, "x; rel=next"] {
            assert_eq!(next(none), None, "{none}");
        }
    }
}
