//! `[[auth.oidc]]`: issuers that vouch for workloads, and which of those are trusted with what.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use rreg_auth::{OidcIssuer, OrganisationName, Role, TrustRule};
use rreg_oci::Glob;
use toml::{Table, Value};

use super::error::Findings;
use super::list;
use super::secret::is_without_secrets;
use super::section::section;
use super::setting::Setting;

/// Most rules of an issuer: each is compared with every token.
const MAX_RULES: usize = 1000;

section! {
    /// An issuer of OIDC tokens, such as GitHub Actions, GitLab or a Kubernetes cluster. Its tokens are accepted as
    /// passwords, with any user name (`oidc`, say), for at most 15 minutes.
    pub struct Oidc {
        /// `iss` of its tokens, to the letter: `https://token.actions.githubusercontent.com`, `https://gitlab.com`.
        issuer: Option<String> = None,
        /// `aud` that its tokens must have: something that stands for this registry alone, such as its host name.
        audience: Option<String> = None,
        /// Only your own workloads get tokens of this issuer, as of a cluster of yours. Of issuers that anybody can get a token
        /// from, such as GitHub Actions and GitLab, it is known which claims say whose token it is, and each rule has to
        /// pin one.
        private: bool = false,
        /// File with the issuer's keys (a JWK set), read again every hour and when a token names an unknown key. Not
        /// set: they are fetched from where the issuer's `/.well-known/openid-configuration` says.
        jwks_file: Option<PathBuf> = None,
        /// PEM file of certificate authorities to trust beside the system's.
        ca_file: Option<PathBuf> = None,
        /// Whom to trust: each `[[auth.oidc.rules]]` has a `name`, `claims` (a table of claims and a pattern for each,
        /// all of which have to match), and what it gives: a `role` in an `organisation`, only in its `repositories`
        /// where patterns are given. In patterns of claims `**` is any run of characters and `*` one without `/` and
        /// `:`; a claim whose name begins with a slash is a path into nested ones (`/kubernetes.io/namespace`).
        rules: TrustRules = TrustRules::default(),
    }
}

section! {
    /// Whom to trust with what.
    pub struct Trust {
        /// Stands in the audit trail.
        name: Option<String> = None,
        /// Claims and their patterns.
        claims: ClaimTable = ClaimTable::default(),
        /// Where the role is given.
        organisation: Option<String> = None,
        /// Which of the organisation's repositories.
        repositories: Vec<Glob> = Vec::new(),
        /// Which role.
        role: Option<String> = None,
    }
}

/// Claims and a pattern for each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClaimTable(BTreeMap<String, String>);

/// The rules of an issuer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrustRules(Vec<Trust>);

/// The list of issuers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OidcIssuers(pub Vec<Oidc>);

impl Trust {
    fn compiled(&self, issuer: (&str, bool)) -> Result<TrustRule, (&'static str, String)> {
        let needed = |field, value: &Option<String>| value.clone().ok_or((field, "is not set".to_owned()));
        let organisation: OrganisationName = needed("organisation", &self.organisation)?
            .parse()
            .map_err(|e: rreg_auth::NameError| ("organisation", e.to_string()))?;
        let role: Role =
            needed("role", &self.role)?.parse().map_err(|e: rreg_auth::NameError| ("role", e.to_string()))?;
        let place = (organisation, self.repositories.clone());
        let rule = TrustRule::new(issuer, &needed("name", &self.name)?, &self.claims.0, place, role);
        rule.map_err(|error| ("claims", error.to_string()))
    }
}

impl Oidc {
    /// The issuer and its rules, for who checks tokens. Validation has seen to it that they are right; a rule that is
    /// not gives nothing.
    pub fn compiled(&self) -> OidcIssuer {
        let issuer = self.issuer.clone().unwrap_or_default();
        let rules = self.rules.0.iter().filter_map(|rule| rule.compiled((&issuer, self.private)).ok());
        OidcIssuer {
            audience: self.audience.clone().unwrap_or_default(),
            rules: rules.map(Arc::new).collect(),
            issuer,
        }
    }

    fn validate(&self, field: &str, findings: &mut Findings) {
        findings.required(
            &format!("{field}.audience"),
            self.audience.as_ref().filter(|audience| !audience.is_empty()),
            "without it a token made for anybody else would be accepted",
        );
        let usable = |text: &String| {
            url::Url::parse(text).is_ok_and(|url| {
                let local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
                (url.scheme() == "https" || (url.scheme() == "http" && local))
                    && (url.has_host() && url.fragment().is_none() && is_without_secrets(&url))
            })
        };
        if !self.issuer.as_ref().is_some_and(usable) {
            let allowed = "https://HOST, with a path where the issuer has one; http on this machine only";
            findings.reject(&format!("{field}.issuer"), "is no address of an issuer", Some(allowed));
            return;
        }
        if self.rules.0.is_empty() || self.rules.0.len() > MAX_RULES {
            let why = format!("has to have 1 to {MAX_RULES} entries: nobody else is trusted");
            findings.reject(&format!("{field}.rules"), why, None);
        }
        let mut names = HashSet::new();
        for (index, rule) in self.rules.0.iter().enumerate() {
            let field = format!("{field}.rules[{index}]");
            if let Err((part, why)) =
                rule.compiled((self.issuer.as_deref().unwrap_or_default(), self.private))
            {
                findings.reject(&format!("{field}.{part}"), why, None);
            } else if !names.insert(&rule.name) {
                findings.reject(&format!("{field}.name"), "is another rule's name too", None);
            }
        }
    }
}

impl OidcIssuers {
    pub(super) fn validate(&self, findings: &mut Findings) {
        let mut names = HashSet::new();
        for (index, entry) in self.0.iter().enumerate() {
            let field = format!("auth.oidc[{index}]");
            entry.validate(&field, findings);
            if !names.insert(&entry.issuer) {
                findings.reject(&format!("{field}.issuer"), "is another entry's issuer too", None);
            }
        }
    }
}

impl Setting for ClaimTable {
    fn allowed(&self) -> String {
        "a table of claims and patterns, such as { repository = \"acme/*\", ref = \"refs/heads/main\" }"
            .into()
    }

    fn assign(&mut self, value: &Value) -> Result<(), String> {
        let Value::Table(table) = value else { return Err(format!("is of type {}", value.type_str())) };
        let pattern = |(name, value): (&String, &Value)| match value {
            Value::String(text) => Ok((name.clone(), text.clone())),
            other => Err(format!("has {name} of type {}: write it in quotes", other.type_str())),
        };
        self.0 = table.iter().map(pattern).collect::<Result<_, _>>()?;
        Ok(())
    }

    fn assign_text(&mut self, _text: &str) -> Result<(), String> {
        Err("is of type string".into())
    }

    fn show(&self) -> Option<Value> {
        Some(Value::Table(self.0.iter().map(|(name, text)| (name.clone(), text.clone().into())).collect()))
    }
}

/// What lists of sections have in common.
macro_rules! list_setting {
    ($list:ident, $entry:ident, $what:literal, $allowed:literal) => {
        impl Setting for $list {
            fn allowed(&self) -> String {
                $allowed.into()
            }

            fn assign(&mut self, value: &Value) -> Result<(), String> {
                if let Value::String(text) = value {
                    return self.assign_text(text);
                }
                self.0 = list::entries(value, |table: &Table| {
                    let mut entry = $entry::default();
                    list::assign(&mut entry, table, $what).map(|()| entry)
                })?;
                Ok(())
            }

            fn assign_text(&mut self, text: &str) -> Result<(), String> {
                self.assign(&list::array_of(text)?)
            }

            fn show(&self) -> Option<Value> {
                Some(Value::Array(self.0.iter().map(|entry| list::shown(&mut entry.clone())).collect()))
            }
        }
    };
}

list_setting!(
    OidcIssuers,
    Oidc,
    "an issuer",
    "an array of tables, [[auth.oidc]] in the file, with the fields listed at the end"
);
list_setting!(
    TrustRules,
    Trust,
    "a rule",
    "an array of tables with name, claims, organisation, repositories and role"
);

#[cfg(test)]
mod tests {
    use super::*;

    const GITHUB: &str = "https://token.actions.githubusercontent.com";

    fn of(text: &str) -> Result<OidcIssuers, String> {
        let mut issuers = OidcIssuers::default();
        issuers.assign_text(text).map(|()| issuers)
    }

    fn findings(text: &str) -> Vec<String> {
        let mut findings = Findings::default();
        of(text).unwrap().validate(&mut findings);
        findings.0.into_iter().map(|(field, ..)| field).collect()
    }

    fn with_rule(rule: &str) -> String {
        format!("[{{issuer='{GITHUB}', audience='r', rules=[{{{rule}}}]}}]")
    }

    #[test]
    fn reads_compiles_and_shows() {
        let rule = "name='main', claims={repository='acme/*', ref='refs/heads/main'}, organisation='team', \
                    repositories=['team/app'], role='writer'";
        let text = with_rule(rule);
        assert_eq!(findings(&text), [""; 0]);
        let issuers = of(&text).unwrap();
        let compiled = issuers.0[0].compiled();
        assert_eq!((&*compiled.issuer, &*compiled.audience, compiled.rules.len()), (GITHUB, "r", 1));
        assert!(compiled.rules[0].covers(&"team/app".parse().unwrap()));
        assert!(!compiled.rules[0].covers(&"team/lib".parse().unwrap()));
        let shown = issuers.show().unwrap();
        let mut back = OidcIssuers::default();
        back.assign(&shown).unwrap();
        assert_eq!(back, issuers);
        assert_eq!(of("").unwrap(), OidcIssuers::default());
    }

    #[test]
    fn refusals_say_where_and_why() {
        let good = "name='a', claims={repository='acme/a'}, organisation='team', role='writer'";
        for (text, field) in [
            (with_rule("claims={repository='acme/a'}, organisation='team', role='writer'"), "rules[0].name"),
            (with_rule("name='a', claims={repository='acme/a'}, role='writer'"), "rules[0].organisation"),
            (
                with_rule("name='a', claims={repository='acme/a'}, organisation='A', role='x'"),
                "rules[0].organisation",
            ),
            (
                with_rule("name='a', claims={repository='acme/a'}, organisation='a', role='x'"),
                "rules[0].role",
            ),
            (with_rule("name='a', organisation='a', role='reader'"), "rules[0].claims"),
            (
                with_rule("name='a', claims={ref='refs/heads/main'}, organisation='a', role='reader'"),
                "rules[0].claims",
            ),
            (with_rule(&format!("{good}}}, {{{good}")), "rules[1].name"),
            (format!("[{{issuer='{GITHUB}', audience='r'}}]"), "rules"),
            (format!("[{{issuer='{GITHUB}', rules=[{{{good}}}]}}]"), "audience"),
            (format!("[{{issuer='http://issuer.example', audience='r', rules=[{{{good}}}]}}]"), "issuer"),
            (format!("[{{audience='r', rules=[{{{good}}}]}}]"), "issuer"),
        ] {
            assert_eq!(findings(&text), [format!("auth.oidc[0].{field}")], "{text}");
        }
        for (text, part) in [
            ("[{isuer='a'}]", "entry 0: isuer is not a field of an issuer"),
            ("[{rules=[{}, {nam='x'}]}]", "entry 1: nam is not a field of a rule"),
            ("[{rules=[{claims={run=7}}]}]", "has run of type integer"),
            ("[{rules=[{repositories=['a[']}]}]", "\"a[\" is no pattern"),
            ("7", "is not a TOML array"),
        ] {
            let error = of(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
