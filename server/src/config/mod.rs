//! The server's configuration: defaults, then a TOML file, then `RREG_…` variables, then flags.
//!
//! Every field has one path (`server.tls.cert`), which is its place in the file, its variable
//! (`RREG_SERVER__TLS__CERT`) and its name in errors. All problems are reported at once, each with the
//! field, its value, where that came from and what is allowed.
//!
//! How to add a field: add a line to its `section!`, and a check to the section's `validate` if its type
//! alone does not say what is allowed. Reading, printing and the reference page follow from the line.

mod auth;
mod error;
mod limits;
mod list;
mod networks;
mod observe;
mod oidc;
mod policy;
mod reclaim;
mod reference;
mod sbom;
mod secret;
mod section;
mod server;
mod setting;
mod source;
mod storage;
mod tags;
mod units;
mod upstreams;

pub use auth::{Auth, AuthMode};
pub use error::{ConfigError, Origin, Problem};
pub use limits::{Cache, Manifests, Uploads};
pub use networks::{Network, Networks};
pub use observe::{Log, LogFormat, LogLevel, Metrics};
pub use oidc::{ClaimTable, Oidc, OidcIssuers, Trust, TrustRules};
pub use policy::{ForeignImages, Policy, RevocationCheck};
pub use reclaim::Reclaim;
pub use reference::reference;
pub use sbom::{AttachSbom, Sbom};
pub use secret::{DatabaseUrl, Secret};
pub use server::{Server, Tls};
pub use source::{Loaded, Sources};
pub use storage::{Azure, Backend, Database, Gcs, S3, Storage};
pub use tags::{ImmutableTags, Tags};
pub use units::{ByteSize, HumanDuration};
pub use upstreams::{Mirror, Upstream, Upstreams};

use error::Findings;

section::section! {
    /// Everything an operator can set.
    pub struct Config {
        /// Registries whose content is cached here.
        upstreams: Upstreams = Upstreams::default(),
        sections {
            /// Where and how the server listens, and what it takes from one client.
            server: Server,
            /// Who may do what. Users, robots and roles are made with `rreg user`, `rreg robot` and `rreg org`.
            auth: Auth,
            /// Where blobs are kept.
            storage: Storage,
            /// Where metadata is kept.
            database: Database,
            /// Which manifests are accepted.
            manifests: Manifests,
            /// Which blobs are accepted, and how long unfinished uploads stay.
            uploads: Uploads,
            /// How long what nothing refers to stays.
            reclaim: Reclaim,
            /// How much of all upstreams together is kept.
            mirror: Mirror,
            /// Which tags may change.
            tags: Tags,
            /// What may be pushed, tagged, pulled and run.
            policy: Policy,
            /// Lists of the packages in pushed images.
            sbom: Sbom,
            /// What is kept in memory.
            cache: Cache,
            /// What is logged, to standard error.
            log: Log,
            /// Prometheus metrics under `/metrics`.
            metrics: Metrics,
        }
    }
}

impl Config {
    /// Where the metadata is, the default worked out.
    pub fn database_url(&self) -> DatabaseUrl {
        let file = || DatabaseUrl::Sqlite(self.storage.data.join("rreg.db"));
        self.database.url.clone().unwrap_or_else(file)
    }

    fn validate(&self) -> Findings {
        let mut findings = Findings::default();
        self.server.validate(&mut findings, self.auth.mode);
        self.auth.validate(&mut findings);
        self.storage.validate(&mut findings);
        self.database.validate(&mut findings);
        self.manifests.validate(&mut findings);
        self.uploads.validate(&mut findings);
        self.reclaim.validate(&mut findings);
        self.tags.validate(&mut findings);
        self.policy.validate(&mut findings);
        self.policy.refuse_open_reviews(&self.server, self.auth.mode, &mut findings);
        self.policy.refuse_no_judge(&self.upstreams, &mut findings);
        if self.policy.admission_client_ca.is_some() && !self.server.tls.is_enabled() {
            let why = "needs TLS: set server.tls.cert and server.tls.key";
            findings.reject("policy.admission_client_ca", why, None);
        }
        self.sbom.validate(&mut findings);
        self.cache.validate(&mut findings);
        self.upstreams.validate(&mut findings);
        findings
    }
}

#[cfg(test)]
mod tests;
