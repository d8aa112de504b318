//! Small documents of a host that is no registry: what an issuer of tokens says about itself, and its keys.
//!
//! https, except on loopback; redirects within one origin only; nothing of this machine or link but the host itself.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Response, Url};

use crate::transport::{http_client, location};
use crate::{ClientOptions, body, endpoint, guard};

/// Longest chain of redirects followed.
const MAX_REDIRECTS: usize = 3;

/// Fetches documents that the host of one URL names.
pub struct DocumentClient {
    http: reqwest::Client,
    base: Url,
    patience: Duration,
}

impl DocumentClient {
    /// A client for the documents of `base`'s host, trusting the authorities in `ca_file` beside the system's. Each
    /// document may take as long as `patience`.
    ///
    /// # Errors
    /// When the CA file is unusable, or TLS cannot be set up.
    pub fn new(base: &Url, ca_file: Option<PathBuf>, patience: Duration) -> Result<Self, String> {
        let options = ClientOptions { ca_file, guard_local: true, ..ClientOptions::default() };
        Ok(Self { http: http_client(base, &options)?, base: base.clone(), patience })
    }

    /// The document at `url`, at most `limit` bytes.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub async fn get(&self, url: &Url, limit: u64) -> Result<Bytes, String> {
        let seconds = self.patience.as_secs();
        let fetched = tokio::time::timeout(self.patience, self.fetch(url, limit)).await;
        fetched.unwrap_or_else(|_| Err(format!("no answer within {seconds} seconds")))
    }

    async fn fetch(&self, url: &Url, limit: u64) -> Result<Bytes, String> {
        let response = self.follow(url).await?;
        if !response.status().is_success() {
            return Err(format!("the answer is {}", response.status()));
        }
        let read = body::read(response, limit, self.patience).await.map_err(|e| e.to_string())?;
        read.ok_or_else(|| format!("it is larger than {limit} bytes"))
    }

    async fn follow(&self, first: &Url) -> Result<Response, String> {
        let mut url = first.clone();
        for _ in 0..=MAX_REDIRECTS {
            self.permits(&url)?;
            let response = self.http.get(url.clone()).send().await.map_err(|e| body::transport_text(&e))?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let next = location(&response, &url)?;
            if !endpoint::same_origin(&url, &next) {
                let host = next.host_str().unwrap_or_default();
                return Err(format!("it is redirected to another server ({host}), which is not followed"));
            }
            url = next;
        }
        Err(format!("it is redirected more than {MAX_REDIRECTS} times"))
    }

    fn permits(&self, url: &Url) -> Result<(), String> {
        let ours = url.host() == self.base.host();
        if guard::is_local(url) && !ours {
            return Err("it is at an address of this machine or link".into());
        }
        match url.scheme() {
            "https" => Ok(()),
            "http" if endpoint::is_loopback(url) => Ok(()),
            _ => Err("it is not at an https address".into()),
        }
    }
}
