//! What an answer says beside its content.

use reqwest::Response;
use rreg_oci::Operation;

use super::transport::Request;

/// What a registry warns of (distribution-spec, "Warnings": code 299, agent `-`); older ones of ours named themselves.
pub(crate) fn warnings(response: &Response) -> Vec<String> {
    let headers = response.headers().get_all(http::header::WARNING);
    let texts = headers.iter().take(20).filter_map(|value| {
        let (_agent, text) = value.to_str().ok()?.strip_prefix("299 ")?.split_once(' ')?;
        let text = text.trim().strip_prefix('"')?.strip_suffix('"')?;
        Some(text.chars().filter(|c| *c != '\\').take(2000).collect())
    });
    texts.collect()
}

/// Whether the registry has led to a place that refuses to give a blob.
pub(crate) fn is_old_address(request: &Request, response: &Response) -> bool {
    let is_blob = matches!(request.operation, Operation::BlobGet { .. } | Operation::BlobHead { .. });
    is_blob && *response.url() != request.url && matches!(response.status().as_u16(), 400 | 403 | 410)
}

/// Whether it is the answer of a cache that could not ask its upstream (RFC 7234, 5.5: warnings 111 and 112).
pub(crate) fn is_of_a_cache(response: &Response) -> bool {
    let mut texts =
        response.headers().get_all(http::header::WARNING).iter().filter_map(|it| it.to_str().ok());
    texts.any(|text| text.starts_with("111 ") || text.starts_with("112 "))
}
