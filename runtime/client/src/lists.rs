//! Lists in pages: tags and repositories.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::marker::PhantomData;

use bytes::Bytes;
use http::HeaderMap;
use http::header::LINK;
use reqwest::{Response, Url};
use rreg_oci::{Operation, Page, RepositoryName};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::error::{ClientError, ErrorKind};
use super::transport::Request;
use super::{RegistryClient, endpoint};

/// Entries asked for in one page. Registries may give fewer.
const PAGE: u64 = 1000;
/// Most names in one list: short ones take many times their bytes in memory.
const MAX_NAMES: usize = 1_000_000;

/// One page and where the next one is.
pub(crate) struct PageOf<T> {
    pub(crate) body: T,
    pub(crate) next: Next,
}

/// What a page says of the next one.
pub(crate) enum Next {
    /// Nothing: it is the last.
    None,
    Page(Box<Request>),
    /// That it is this page again.
    Same,
}

#[derive(Deserialize)]
struct Names {
    /// `null` is none. An answer without the field is no list.
    #[serde(alias = "repositories", alias = "tags", deserialize_with = "few::<_, _, MAX_NAMES>")]
    names: Vec<String>,
}

/// A list of at most `MAX` entries, of which no more than those are read. `null` is none.
pub(crate) fn few<'de, D: Deserializer<'de>, T: Deserialize<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct Few<T, const MAX: usize>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Few<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MAX} entries, or null")
        }

        fn visit_unit<E>(self) -> Result<Vec<T>, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Vec<T>, A::Error> {
            let mut all = Vec::new();
            while let Some(entry) = entries.next_element()? {
                if all.len() == MAX {
                    return Err(A::Error::custom(format!("it has more than {MAX} entries")));
                }
                all.push(entry);
            }
            Ok(all)
        }
    }
    deserializer.deserialize_any(Few::<T, MAX>(PhantomData))
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
        // Of what was seen only hashes are kept, under keys that no registry knows: of 128 bits no two are the same.
        let (first, second) = (RandomState::new(), RandomState::new());
        let (mut names, mut seen) = (Vec::new(), HashSet::new());
        let mut next = Some(self.request(operation)?);
        let (mut pages, mut left) = (0, self.0.limits.list);
        let mut is_by_name = false;
        while let Some(request) = next {
            self.count_page(&request, &mut pages)?;
            let page = self.page::<Names>(&request, &mut left).await?;
            let found = page.body.names;
            let (before, is_empty, is_full) = (names.len(), found.is_empty(), found.len() as u64 == PAGE);
            let is_new = |name: &String| seen.insert((first.hash_one(name), second.hash_one(name)));
            names.extend(found.into_iter().filter(is_new));
            self.count_entries(&request, names.len(), MAX_NAMES)?;
            let has_more = names.len() > before;
            // Some registries name the wrong page, others none though they gave no more than they were asked for.
            let goes_on = match page.next {
                Next::Page(next) if has_more || is_empty => {
                    is_by_name = false;
                    Some(*next)
                }
                Next::Page(_) | Next::Same if is_by_name && !has_more => {
                    return Err(self.leads_back(&request));
                }
                Next::None if !(has_more && is_full) => None,
                _ => match names.last() {
                    Some(last) => {
                        is_by_name = true;
                        Some(after(&request, last))
                    }
                    None => return Err(self.leads_back(&request)),
                },
            };
            next = goes_on;
        }
        Ok(names)
    }

    pub(crate) fn leads_back(&self, request: &Request) -> ClientError {
        let why = "the Link header leads back to the same page".into();
        self.error(&request.operation, ErrorKind::Protocol(why))
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

    /// Fails once a list has more entries than allowed: the beginning of a list is not the list.
    pub(crate) fn count_entries(
        &self,
        request: &Request,
        entries: usize,
        most: usize,
    ) -> Result<(), ClientError> {
        if entries > most {
            let why = format!("the list has more than {most} entries");
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
            None => Next::None,
            Some(link) => self.next_page(request, link).map_err(protocol)?,
        };
        Ok(PageOf { body, next })
    }

    /// Only the registry itself is asked for further pages, and never twice for the same one in a row.
    fn next_page(&self, request: &Request, link: &str) -> Result<Next, String> {
        let url: Url = request.url.join(link).map_err(|e| format!("the Link header is no URL: {e}"))?;
        let base = &self.0.base;
        if url.host() != base.host() && !endpoint::same_origin(&url, base) {
            return Err("the Link header leads to another host".into());
        }
        // Registries behind proxies name the scheme, port and path by which the proxy knows them; what counts is where to go
        // on.
        let mut moved = request.url.clone();
        moved.set_query(url.query());
        Ok(if moved == request.url {
            Next::Same
        } else {
            Next::Page(Box::new(Request { url: moved, ..request.clone() }))
        })
    }
}

/// The page after `last` (distribution-spec, "Content Discovery").
fn after(request: &Request, last: &str) -> Request {
    let mut url = request.url.clone();
    url.query_pairs_mut().clear().append_pair("n", &PAGE.to_string()).append_pair("last", last);
    Request { url, ..request.clone() }
}

/// Whether a parameter of a link is `rel="next"`, or has that among other relations, in whatever quotes.
fn is_next(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return false };
    let relations = value.trim().trim_matches(['"', '\'']);
    name.trim().eq_ignore_ascii_case("rel")
        && relations.split_whitespace().any(|it| it.eq_ignore_ascii_case("next"))
}

/// The target of `Link: <target>; rel="next"` (RFC 8288).
fn next_link(headers: &HeaderMap) -> Option<&str> {
    headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()).find_map(|value| {
        let mut rest = value;
        while let Some((_, after)) = rest.split_once('<') {
            let (target, after) = after.split_once('>')?;
            let parameters = after.split('<').next().unwrap_or_default();
            if parameters.split([';', ',']).any(is_next) {
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
        for odd in ["<x>; rel='next'", "<x>;REL = \"Last  Next\"", "<x>; title=y;rel=\" next \", <y>"] {
            assert_eq!(next(odd).unwrap(), "x", "{odd}");
        }
        for none in
            ["", "<x", r#"<x>; rel="nextprev""#, r#"<x>; title="next""#, r#"<x>; rel="prev""#, "x; rel=next"]
        {
            assert_eq!(next(none), None, "{none}");
        }
    }
}
