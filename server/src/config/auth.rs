//! `[auth]`: who may do what.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use rreg_auth::Mode;
use rreg_oci::Glob;

use super::error::Findings;
use super::oidc::OidcIssuers;
use super::secret::is_without_secrets;
use super::section::section;
use super::units::HumanDuration;

/// Whether callers are asked who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Whoever reaches the registry may do everything.
    Open,
    /// Users, robots and roles are kept in the registry's database.
    Local,
}

impl From<AuthMode> for Mode {
    fn from(mode: AuthMode) -> Self {
        match mode {
            AuthMode::Open => Self::Open,
            AuthMode::Local => Self::Local,
        }
    }
}

impl FromStr for AuthMode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "open" => Ok(Self::Open),
            "local" => Ok(Self::Local),
            _ => Err("is no way to ask who is calling"),
        }
    }
}

impl fmt::Display for AuthMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Local => "local",
        })
    }
}

section! {
    /// Who may do what. Users, robots and roles are made with `rreg user`, `rreg robot` and `rreg org`.
    pub struct Auth {
        /// open: whoever reaches the registry may do everything. local: a login and a role are needed.
        mode: AuthMode = AuthMode::Open,
        /// Lets anybody pull everything, without a login.
        anonymous_pull: bool = false,
        /// Repositories that anybody may pull from, without a login.
        public: Vec<Glob> = Vec::new(),
        /// How long a bearer token is good. 1m to 1h.
        token_lifetime: HumanDuration = HumanDuration::seconds(300),
        /// File made by `htpasswd -B` with users beside those of the database; read at the start.
        htpasswd: Option<PathBuf> = None,
        /// File with a secret of 32 bytes or more, such as `openssl rand -base64 48` makes: the keys that sign bearer tokens
        /// are sealed under it in the database. Replicas have the same one. Without it they are kept in clear.
        key_file: Option<PathBuf> = None,
        /// How long events stay in the audit trail. 0: for ever. At least 1d otherwise.
        audit_keep: HumanDuration = HumanDuration::seconds(365 * 86_400),
        /// Whom tokens are for and from. Replicas have the same one, different registries different ones. Not set:
        /// rreg.
        service: Option<String> = None,
        /// Address under which clients reach this registry, such as `https://registry.example`. Not set: what the
        /// client's Host header says, or a proxy of `server.trusted_proxies`, with https where the client came by it.
        url: Option<String> = None,
        /// Whether a server without users prints a link at its start that makes the first administrator, once.
        bootstrap_link: bool = true,
        /// Issuers whose OIDC tokens are accepted as passwords of workloads.
        oidc: OidcIssuers = OidcIssuers::default(),
    }
}

impl Auth {
    /// `service` of the token flow.
    pub fn service(&self) -> &str {
        self.service.as_deref().unwrap_or("rreg")
    }

    pub(crate) fn validate(&self, findings: &mut Findings) {
        let (low, high) = (HumanDuration::seconds(60), HumanDuration::seconds(3600));
        self.oidc.validate(findings);
        findings.within("auth.token_lifetime", self.token_lifetime, low, high);
        findings.kept("auth.audit_keep", self.audit_keep);
        let printable = |text: &str| text.bytes().all(|c| c.is_ascii_graphic() && c != b'"' && c != b'\\');
        if !printable(self.service()) {
            findings.reject("auth.service", "stands in a header", Some("printable ASCII without quotes"));
        }
        if let Some(url) = &self.url {
            let parsed = url::Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
            let whole =
                |url: &url::Url| url.path() == "/" && url.fragment().is_none() && is_without_secrets(url);
            if !parsed.as_ref().is_some_and(whole) || !printable(url) {
                findings.reject(
                    "auth.url",
                    "is no address of a registry",
                    Some("https://HOST or https://HOST:PORT"),
                );
            }
        }
    }
}
