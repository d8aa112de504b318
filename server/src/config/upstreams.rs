//! `[[upstreams]]`: registries whose content is cached here.
//!
//! In the environment it is `RREG_UPSTREAMS='[{name="hub", url="https://docker.io"}]'`.

use std::collections::HashSet;
use std::path::PathBuf;

use rreg_oci::{Glob, RepositoryName};
use toml::{Table, Value};

use super::error::Findings;
use super::list;
use super::secret::{Secret, is_without_secrets};
use super::section::section;
use super::setting::Setting;
use super::source::read_secret;
use super::units::{ByteSize, HumanDuration};
use crate::hosts;

section! {
    /// A registry whose content is fetched when it is asked for, kept, and served from then on.
    pub struct Upstream {
        /// Short name, for logs and errors.
        name: Option<String> = None,
        /// Scheme and host, such as `https://docker.io`.
        url: Option<String> = None,
        /// Repositories below this name are the upstream's: with `hub`, `hub/library/alpine` here is
        /// `library/alpine` there. Empty: all repositories. Nothing can be pushed to them. Default: the name.
        prefix: Option<String> = None,
        /// What the upstream's repositories are below of: with `team`, `hub/app` here is `team/app` there.
        path: Option<String> = None,
        /// Hosts whose images are this upstream's, such as `docker.io`: containerd asks for them so (`?ns=`), and pods that
        /// name them are judged as copies.
        ns: Vec<String> = Vec::new(),
        /// Account at the upstream.
        username: Option<String> = None,
        /// The account's password or token.
        password: Option<Secret> = None,
        /// File that holds `password`. It is read again when the upstream refuses it, and from time to time.
        password_file: Option<PathBuf> = None,
        /// Docker's `config.json` or podman's `auth.json`, instead of username and password. It and the credential helpers
        /// that it names are read again as `password_file` is.
        credentials_file: Option<PathBuf> = None,
        /// Hosts of token services that the account's password may go to, beside the upstream's own host and those that are
        /// known to belong to it, such as Docker Hub's.
        token_realms: Vec<String> = Vec::new(),
        /// PEM file of certificate authorities to trust beside the system's.
        ca_file: Option<PathBuf> = None,
        /// Accepts any certificate. Content is still checked against its digests; tags and credentials are open to
        /// whoever is in between.
        insecure_skip_tls_verify: bool = false,
        /// Repositories of the upstream that are served. Empty: all.
        allow: Vec<Glob> = Vec::new(),
        /// Repositories of the upstream that are not served, whatever `allow` says.
        deny: Vec<Glob> = Vec::new(),
        /// How long a tag is taken to mean the same before the upstream is asked again.
        tag_ttl: HumanDuration = HumanDuration::seconds(60),
        /// How long it is remembered that the upstream does not have a manifest or blob; never longer than `tag_ttl`. 0s: the
        /// upstream is asked each time.
        absent_ttl: HumanDuration = HumanDuration::seconds(10),
        /// Longest silence of the upstream. 1s to 1h.
        timeout: HumanDuration = HumanDuration::seconds(30),
        /// Most bytes of blobs that are kept of it; 0: all. Images used longest ago go first.
        max_size: ByteSize = ByteSize(0),
        /// Fewest bytes a second of a blob, over the length of `timeout`. 0: any.
        min_rate: ByteSize = ByteSize::kib(8),
        /// Blobs fetched at the same time, three quarters of them for one account or network; more wait. 1 to 1000.
        max_fills: u32 = 16,
        /// Requests for manifests, lists and lengths of blobs that the upstream has to answer at the same time, three quarters
        /// of them for one account or network, and as many again for what policies ask. More is 429 for that one, and 503
        /// where all have theirs. 1 to 10000.
        max_requests: u32 = 256,
        /// How long a client waits for the upstream when an older copy of a tag could be served. 1s to 1h.
        revalidate_timeout: HumanDuration = HumanDuration::seconds(5),
        /// Follows redirects and token realms to addresses of this machine and its link.
        allow_local_redirects: bool = false,
    }
}

section! {
    /// What holds for all upstreams together.
    pub struct Mirror {
        /// Most bytes of blobs that are kept; 0: all. Images used longest ago go first; their bytes are deleted after
        /// uploads.reclaim_grace.
        max_size: ByteSize = ByteSize(0),
        /// An image that was asked for so recently stays, whatever the limits say.
        keep: HumanDuration = HumanDuration::seconds(3600),
        /// Most requests a minute for what upstreams do not have or refuse, or for what is of no use, by one account, or by one network without a
        /// login; all together have twenty times as many. More is 429. 0: any number.
        misses: u32 = 600,
    }
}

/// The list of upstreams.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Upstreams(pub Vec<Upstream>);

impl Upstream {
    /// The upstream's name; empty only before validation.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// What its repositories begin with here.
    pub fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or(self.name())
    }

    fn from_table(table: &Table) -> Result<Self, String> {
        let mut upstream = Self::default();
        list::assign(&mut upstream, table, "an upstream")?;
        // Elsewhere an empty text means "not set"; here it is a prefix.
        if table.get("prefix").and_then(Value::as_str) == Some("") {
            upstream.prefix = Some(String::new());
        }
        if upstream.password.is_some() && upstream.password_file.is_some() {
            return Err("password and password_file are both set; only one of the two can be".into());
        }
        Ok(upstream)
    }

    fn validate(&self, field: &str, findings: &mut Findings) {
        findings.required(&format!("{field}.name"), self.name.as_ref(), "errors have to name the upstream");
        findings.required(&format!("{field}.url"), self.url.as_ref(), "it says where the upstream is");
        if let Some(text) = &self.url {
            let bare = url::Url::parse(text).is_ok_and(|url| {
                matches!(url.scheme(), "https" | "http")
                    && url.has_host()
                    && url.path() == "/"
                    && url.fragment().is_none()
                    && is_without_secrets(&url)
            });
            if !bare {
                let field = format!("{field}.url");
                findings.reject(&field, "is not the URL of a host", Some("https://HOST[:PORT]"));
            }
        }
        let names = [("prefix", self.prefix()), ("path", self.path.as_deref().unwrap_or_default())];
        for (name, text) in names {
            if let (false, Err(error)) = (text.is_empty(), text.parse::<RepositoryName>()) {
                findings.reject(&format!("{field}.{name}"), error.to_string(), Some("a repository name"));
            }
        }
        if self.username.is_some() != (self.password.is_some() || self.password_file.is_some()) {
            findings.reject(
                &format!("{field}.username"),
                "goes with password, and the other way round",
                None,
            );
        }
        if self.username.is_some() && self.credentials_file.is_some() {
            findings.reject(&format!("{field}.credentials_file"), "is set together with username", None);
        }
        let (low, high) = (HumanDuration::seconds(1), HumanDuration::seconds(3600));
        findings.within(&format!("{field}.timeout"), self.timeout, low, high);
        findings.within(&format!("{field}.max_fills"), self.max_fills, 1, 1000);
        findings.within(&format!("{field}.max_requests"), self.max_requests, 1, 10_000);
        findings.within(&format!("{field}.revalidate_timeout"), self.revalidate_timeout, low, high);
    }
}

impl Upstreams {
    /// Reads the password files, as what asks the upstreams will do.
    ///
    /// # Errors
    /// The first that cannot be used, and why.
    pub(crate) fn check_passwords(&self) -> Result<(), String> {
        for upstream in &self.0 {
            if let Some(file) = &upstream.password_file {
                let failed = |why| format!("password_file {} of {} {why}", file.display(), upstream.name());
                read_secret(file).map_err(failed)?;
            }
        }
        Ok(())
    }

    pub(crate) fn validate(&self, findings: &mut Findings) {
        let (mut names, mut prefixes, mut aliases) = (HashSet::new(), HashSet::new(), HashSet::new());
        for (index, upstream) in self.0.iter().enumerate() {
            let field = format!("upstreams[{index}]");
            upstream.validate(&field, findings);
            if !names.insert(upstream.name()) {
                findings.reject(&format!("{field}.name"), "is another upstream's name too", None);
            }
            if !prefixes.insert(upstream.prefix()) {
                findings.reject(&format!("{field}.prefix"), "is another upstream's prefix too", None);
            }
            for alias in &upstream.ns {
                if !aliases.insert(hosts::plain(alias)) {
                    findings.reject(&format!("{field}.ns"), "has a name that another entry has too", None);
                }
            }
        }
    }
}

impl Setting for Upstreams {
    fn allowed(&self) -> String {
        "an array of tables, [[upstreams]] in the file, with the fields listed at the end".into()
    }

    fn assign(&mut self, value: &Value) -> Result<(), String> {
        if let Value::String(text) = value {
            return self.assign_text(text);
        }
        self.0 = list::entries(value, Upstream::from_table)?;
        Ok(())
    }

    fn assign_text(&mut self, text: &str) -> Result<(), String> {
        self.assign(&list::array_of(text)?)
    }

    fn show(&self) -> Option<Value> {
        Some(Value::Array(self.0.iter().map(|upstream| list::shown(&mut upstream.clone())).collect()))
    }

    /// Entries may have passwords in them.
    fn is_secret(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Upstreams, String> {
        let mut upstreams = Upstreams::default();
        upstreams.assign_text(text).map(|()| upstreams)
    }

    fn findings(text: &str) -> Vec<String> {
        let mut findings = Findings::default();
        of(text).unwrap().validate(&mut findings);
        findings.0.into_iter().map(|(field, ..)| field).collect()
    }

    #[test]
    fn reads_and_shows_without_the_secret() {
        let text =
            r#"[{name="hub", url="https://docker.io", ns=["docker.io"], username="u", password="hush"}]"#;
        let upstreams = of(text).unwrap();
        assert_eq!(findings(text), [""; 0]);
        let hub = &upstreams.0[0];
        assert_eq!((hub.name(), hub.prefix(), &hub.ns[..]), ("hub", "hub", &["docker.io".to_owned()][..]));
        assert_eq!(hub.password.as_ref().unwrap().expose(), "hush");
        let shown = upstreams.show().unwrap().to_string();
        assert!(!shown.contains("hush") && !format!("{upstreams:?}").contains("hush"), "{shown}");
        assert!(shown.contains("docker.io"));
    }

    #[test]
    fn refusals_say_where_and_not_what() {
        let error = of(r#"[{name="a"}, {passwort="hush"}]"#).unwrap_err();
        assert!(error.starts_with("entry 1: passwort is not a field"), "{error}");
        assert!(!of(r#"[{password="hush""#).unwrap_err().contains("hush"));
        for (text, field) in [
            (r#"[{url="https://a.x"}]"#, "upstreams[0].name"),
            (r#"[{name="a"}]"#, "upstreams[0].url"),
            (r#"[{name="a", url="https://a.x/v2"}]"#, "upstreams[0].url"),
            (r#"[{name="a", url="https://u:p@a.x"}]"#, "upstreams[0].url"),
            (r#"[{name="a", url="file:///etc"}]"#, "upstreams[0].url"),
            (r#"[{name="a", url="https://a.x", prefix="A"}]"#, "upstreams[0].prefix"),
            (r#"[{name="a", url="https://a.x", username="u"}]"#, "upstreams[0].username"),
            (r#"[{name="a", url="https://a.x", timeout="0s"}]"#, "upstreams[0].timeout"),
        ] {
            assert_eq!(findings(text), [field], "{text}");
        }
        let file = r#"[{name="a", url="https://a.x", username="u", password_file="/nowhere"}]"#;
        assert_eq!(findings(file), [""; 0], "it is read where it is used");
        assert!(of(file).unwrap().check_passwords().unwrap_err().starts_with("password_file /nowhere of a "));
        let everything = of(r#"[{name="a", url="https://a.x", prefix=""}]"#).unwrap();
        assert_eq!(everything.0[0].prefix(), "");
        let twice = r#"[{name="a", url="https://a.x", ns=["n"]}, {name="a", url="https://b.x", ns=["n"]}]"#;
        assert_eq!(findings(twice), ["upstreams[1].name", "upstreams[1].prefix", "upstreams[1].ns"]);
    }
}
