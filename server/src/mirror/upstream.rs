//! One upstream: its names, its rules, and the one door through which it is asked.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rreg_client::{ClientError, ClientOptions, Limits, RegistryClient, RetryPolicy};
use rreg_oci::{Glob, RepositoryName};

use super::asking::Places;
use super::breaker::{Breaker, Extent, Part};
use super::credential::UpstreamCredential;
use super::error::MirrorError;
use super::slots::Slots;
use super::vain::Absent;
use crate::{config, hosts};

/// Few and quick: a client is waiting, and the breaker takes care of the rest. Silence is not tried again: it has cost the
/// client a whole `timeout` already.
const RETRY: RetryPolicy = RetryPolicy {
    retries: 2,
    first: Duration::from_millis(200),
    longest: Duration::from_secs(2),
    after_silence: false,
};
/// Longest list of tags or referrers, all its pages together, in bytes.
const MAX_LIST: u64 = 16 << 20;
/// A manifest, together with the token before it, may take so many times the longest silence: by default 45 seconds, less
/// than the minute after which clients go away.
const PATIENCE: f64 = 1.5;

pub(crate) struct Upstream {
    pub(super) name: String,
    /// What its repositories begin with here; empty: all are its.
    pub(super) prefix: String,
    path: Option<String>,
    ns: Vec<String>,
    allow: Vec<Glob>,
    deny: Vec<Glob>,
    pub(crate) tag_ttl: Duration,
    /// How long a client waits where an older answer is here, or the upstream is silent.
    revalidate: Duration,
    /// How long a request may take.
    pub(super) patience: Duration,
    pub(super) client: RegistryClient,
    pub(super) absent: Absent,
    breaker: Breaker,
    credential: UpstreamCredential,
    /// A slot for each blob that is fetched.
    pub(super) slots: Arc<Slots>,
    /// A place for each other request.
    pub(super) places: Places,
}

impl Upstream {
    pub(super) fn new(config: &config::Upstream) -> Result<Self, ClientError> {
        let credential = UpstreamCredential::new(config);
        let options = ClientOptions {
            evidence: false,
            on_warning: None,
            plain_http: false,
            ca_file: config.ca_file.clone(),
            insecure_skip_tls_verify: config.insecure_skip_tls_verify,
            keychain: Arc::new(credential.keychain(config)),
            guard_local: !config.allow_local_redirects,
            token_realms: config.token_realms.clone(),
            limits: Limits {
                idle: config.timeout.0,
                min_rate: config.min_rate.0,
                list: MAX_LIST,
                referrers: MAX_LIST,
                ..Limits::default()
            },
            retry: RETRY,
        };
        Ok(Self {
            name: config.name().to_owned(),
            prefix: config.prefix().to_owned(),
            path: config.path.clone().filter(|path| !path.is_empty()),
            ns: config.ns.clone(),
            allow: config.allow.clone(),
            deny: config.deny.clone(),
            tag_ttl: config.tag_ttl.0,
            revalidate: config.revalidate_timeout.0,
            patience: config.timeout.0.mul_f64(PATIENCE),
            client: RegistryClient::new(config.url.as_deref().unwrap_or_default(), &options)?,
            absent: Absent::new(config.absent_ttl.0.min(config.tag_ttl.0)),
            breaker: Breaker::default(),
            credential,
            slots: Slots::new(usize::try_from(config.max_fills).unwrap_or(1)),
            places: Places::new(usize::try_from(config.max_requests).unwrap_or(1)),
        })
    }

    pub(super) fn host(&self) -> &str {
        self.client.host()
    }

    /// Whether the repository here is a copy of one there.
    pub(super) fn covers(&self, local: &RepositoryName) -> bool {
        self.below(local).is_some()
    }

    fn below<'a>(&self, local: &'a RepositoryName) -> Option<&'a str> {
        if self.prefix.is_empty() {
            return Some(local.as_str());
        }
        local.as_str().strip_prefix(self.prefix.as_str())?.strip_prefix('/')
    }

    /// The name there of a repository here.
    pub(super) fn remote(&self, local: &RepositoryName) -> Option<RepositoryName> {
        let below = self.below(local)?;
        match &self.path {
            Some(path) => format!("{path}/{below}").parse().ok(),
            None => below.parse().ok(),
        }
    }

    /// The name here of a repository there.
    pub(super) fn local(&self, remote: &RepositoryName) -> Option<RepositoryName> {
        let below = match &self.path {
            Some(path) => remote.as_str().strip_prefix(path.as_str())?.strip_prefix('/')?,
            None => remote.as_str(),
        };
        if self.prefix.is_empty() {
            below.parse().ok()
        } else {
            format!("{}/{below}", self.prefix).parse().ok()
        }
    }

    /// Whether images of this host are the upstream's.
    pub(super) fn is_named(&self, host: &str) -> bool {
        let host = hosts::plain(host);
        self.ns.iter().any(|name| hosts::plain(name) == host)
    }

    /// Whether `allow` and `deny` let the repository through.
    pub(super) fn permits(&self, remote: &RepositoryName) -> Result<(), MirrorError> {
        let refused = |rule: String| MirrorError::Rule {
            repository: remote.clone(),
            upstream: self.name.clone(),
            rule,
        };
        let name = remote.as_str();
        if let Some(pattern) = self.deny.iter().find(|pattern| pattern.matches(name)) {
            return Err(refused(format!("deny {pattern:?}")));
        }
        if self.allow.is_empty() || self.allow.iter().any(|pattern| pattern.matches(name)) {
            return Ok(());
        }
        Err(refused(format!("allow {:?}", self.allow)))
    }

    /// As [`Breaker::is_silent`], of manifests and blobs.
    pub(crate) fn is_silent(&self, repository: &RepositoryName) -> bool {
        self.breaker.is_silent(repository, Part::Content)
    }

    /// How long whoever asks about this part of `repository` waits for an answer that is under way, and that others may still
    /// wait for. Where the upstream is known to be silent about it, what is here is served at once, and nobody waits long for
    /// what is not.
    fn patience_of(&self, (repository, part): (&RepositoryName, Part), is_here: bool) -> Duration {
        match (self.breaker.is_silent(repository, part), is_here) {
            (true, true) => Duration::ZERO,
            (false, false) => self.patience,
            _ => self.revalidate,
        }
    }

    /// The result of `work` about this part of a repository, if it comes while it is waited for.
    pub(super) async fn within_patience<T>(
        &self,
        about: (&RepositoryName, Part),
        is_here: bool,
        work: impl Future<Output = Option<Result<T, Arc<MirrorError>>>>,
    ) -> Result<T, Arc<MirrorError>> {
        match tokio::time::timeout(self.patience_of(about, is_here), work).await {
            Ok(Some(result)) => result,
            Ok(None) => Err(Arc::new(MirrorError::Ended)),
            Err(_) => Err(Arc::new(MirrorError::Silent { upstream: self.name.clone() })),
        }
    }

    /// Asks the upstream about its `repository`, unless it is being left alone, and draws the breaker's conclusions.
    pub(super) async fn ask<T>(
        &self,
        repository: &RepositoryName,
        within: Duration,
        request: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, MirrorError> {
        let result = self.begin(repository, Some(within), request).await;
        if result.is_ok() {
            self.succeeded(repository);
        }
        result
    }

    /// The same of a list, which an upstream need not have: that it fails there says nothing of the rest.
    pub(super) async fn ask_for_list<T>(
        &self,
        repository: &RepositoryName,
        request: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, MirrorError> {
        let about = (repository, Part::Lists);
        self.admit(about)?;
        let result = self.heard(about, Some(self.patience), request).await;
        match &result {
            Ok(_) => self.breaker.succeeded(repository, Part::Lists),
            Err(error) => self.judge_as(about, error, error.extent().filter(|it| *it != Extent::Upstream)),
        }
        result
    }

    /// The same by HEAD, which upstreams and what stands before them refuse where they answer GET. Where nothing answers, GET
    /// would not be answered either.
    pub(super) async fn ask_by_head<T>(
        &self,
        repository: &RepositoryName,
        request: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, MirrorError> {
        let about = (repository, Part::Content);
        self.admit(about)?;
        let result = self.heard(about, Some(self.patience), request).await;
        match &result {
            Err(error) if error.is_out_of_reach() || error.extent() == Some(Extent::Account) => {
                self.judge(repository, error);
            }
            Err(error) if !error.is_answer() => {}
            _ => self.breaker.answered(repository, Part::Content),
        }
        result
    }

    async fn in_time<T>(
        &self,
        within: Duration,
        request: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, MirrorError> {
        match tokio::time::timeout(within, request).await {
            Ok(result) => result.map_err(|error| self.failure(error)),
            Err(_) => Err(MirrorError::Slow { upstream: self.name.clone(), within }),
        }
    }

    /// The result of `request`. While that takes longer than `revalidate`, the upstream counts as silent, so that others who
    /// ask wait no longer than they must.
    async fn heard<T>(
        &self,
        (repository, part): (&RepositoryName, Part),
        within: Option<Duration>,
        request: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, MirrorError> {
        let request = async {
            let mut request = std::pin::pin!(request);
            match tokio::time::timeout(self.revalidate, &mut request).await {
                Ok(result) => result,
                Err(_) => {
                    self.breaker.late(Instant::now(), repository, part);
                    request.await
                }
            }
        };
        match within {
            Some(within) => self.in_time(within, request).await,
            None => request.await.map_err(|error| self.failure(error)),
        }
    }

    /// The same of a blob, of which an answer is only the beginning: whether all is well shows at its end
    /// ([`Self::succeeded`], [`Self::judge_body`]).
    pub(super) async fn begin_blob<T>(
        &self,
        repository: &RepositoryName,
        request: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, MirrorError> {
        let within = self.is_silent(repository).then_some(self.revalidate);
        let result = self.begin(repository, within, request).await;
        if result.is_ok() {
            self.breaker.answered(repository, Part::Content);
        }
        result
    }

    async fn begin<T>(
        &self,
        repository: &RepositoryName,
        within: Option<Duration>,
        request: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, MirrorError> {
        let about = (repository, Part::Content);
        self.admit(about)?;
        let result = self.heard(about, within, request).await;
        if let Err(error) = &result {
            self.judge(repository, error);
            self.credential.tell(&self.name, error);
        }
        result
    }

    /// The upstream has answered about `repository` as it should, to the end.
    pub(super) fn succeeded(&self, repository: &RepositoryName) {
        self.breaker.succeeded(repository, Part::Content);
    }

    fn admit(&self, (repository, part): (&RepositoryName, Part)) -> Result<(), MirrorError> {
        self.breaker.admit(Instant::now(), repository, part).map_err(|closed| MirrorError::Open {
            upstream: self.name.clone(),
            repository: (!closed.is_all).then(|| repository.clone()),
            wait: closed.wait,
            why: closed.why,
        })
    }

    pub(super) fn failure(&self, error: ClientError) -> MirrorError {
        MirrorError::Upstream { upstream: self.name.clone(), error: Box::new(error) }
    }

    /// Counts a failure against the upstream or its repository, if it is one of theirs; any other answer shows that they
    /// live.
    pub(super) fn judge(&self, repository: &RepositoryName, error: &MirrorError) {
        self.judge_as((repository, Part::Content), error, error.extent());
    }

    /// The same of a blob that has begun to come: how it ends says nothing of the other repositories.
    pub(super) fn judge_body(&self, repository: &RepositoryName, error: &MirrorError) {
        let extent = error.extent().map(|_| Extent::Repository);
        self.judge_as((repository, Part::Content), error, extent);
    }

    fn judge_as(&self, about: (&RepositoryName, Part), error: &MirrorError, extent: Option<Extent>) {
        match extent {
            Some(extent) => {
                let asked = match error {
                    MirrorError::Upstream { error, .. } => error.retry_after(),
                    _ => None,
                };
                self.breaker.failed(Instant::now(), about, extent, (asked, &error.to_string()));
            }
            None if error.is_answer() => self.breaker.succeeded(about.0, about.1),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_list_that_hangs_is_waited_for_once_and_content_as_ever() {
        let url = Some("https://registry.example.org".into());
        let upstream = Upstream::new(&config::Upstream { url, ..Default::default() }).unwrap();
        let (name, other) = ("a/one".parse().unwrap(), "a/two".parse().unwrap());
        let (revalidate, patience) = (upstream.revalidate, upstream.patience);
        let patience_of = |name, part, is_here| upstream.patience_of((name, part), is_here);
        assert_eq!(patience_of(&name, Part::Lists, true), revalidate);
        for name in [&name, &other] {
            let hangs = upstream.ask_for_list::<()>(name, std::future::pending());
            assert!(tokio::time::timeout(revalidate * 2, hangs).await.is_err(), "it is still waited for");
        }
        for name in [&name, &other] {
            assert_eq!(patience_of(name, Part::Lists, true), Duration::ZERO);
            assert_eq!(patience_of(name, Part::Lists, false), revalidate);
            assert_eq!(patience_of(name, Part::Content, true), revalidate);
            assert_eq!(patience_of(name, Part::Content, false), patience);
        }
        upstream.ask_for_list(&name, async { Ok(()) }).await.unwrap();
        assert_eq!(patience_of(&name, Part::Lists, true), revalidate);
    }
}
