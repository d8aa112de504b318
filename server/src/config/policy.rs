//! `[policy]`: what may be pushed, tagged, pulled and run.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use rreg_oci::ImageReference;
use rreg_storage::HistoryLimits;

use super::error::Findings;
use super::secret::Secret;
use super::section::section;
use super::units::HumanDuration;

/// Whether the certificates of Notation signatures are looked up with their authorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationCheck {
    /// They are not.
    Off,
    /// A signature whose authority does not answer cannot be checked: its verdict is `error`.
    Strict,
    /// A certificate whose authority does not answer counts as not revoked.
    Lenient,
}

impl FromStr for RevocationCheck {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            "strict" => Ok(Self::Strict),
            "lenient" => Ok(Self::Lenient),
            _ => Err("is no way to look up revocation"),
        }
    }
}

impl fmt::Display for RevocationCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Strict => "strict",
            Self::Lenient => "lenient",
        })
    }
}

/// What becomes of other registries' images in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignImages {
    /// They run.
    Allow,
    /// They run, and whoever wanted it is told.
    Warn,
    /// They are refused.
    Deny,
}

impl FromStr for ForeignImages {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "allow" => Ok(Self::Allow),
            "warn" => Ok(Self::Warn),
            "deny" => Ok(Self::Deny),
            _ => Err("is nothing that can be done with an image"),
        }
    }
}

impl fmt::Display for ForeignImages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Warn => "warn",
            Self::Deny => "deny",
        })
    }
}

section! {
    /// What may be pushed, tagged, pulled and run. Policies are also set with `rreg policy create`; all of them hold.
    pub struct Policy {
        /// Directory of policies, `*.yaml` and `*.yml`, read again when a file in it changes. Keys and trust roots that
        /// they name are files relative to it.
        directory: Option<PathBuf> = None,
        /// Longest time that a request waits for a decision that nobody has made yet; after it a policy's `onError`
        /// holds. 100ms to 60s.
        timeout: HumanDuration = HumanDuration::seconds(5),
        /// Decisions that this replica makes at the same time in the background. 1 to 64.
        workers: u32 = 4,
        /// Lets who may push to a repository read a manifest that its policies refuse, with a program that signs or judges
        /// and says so (cosign, notation, `rreg sign`, `rreg gate`): what nobody can read, nobody can sign. Each time goes
        /// to the audit trail. With `auth.mode = "open"` everybody may push, so that the program's word is all that
        /// counts.
        signers_may_read: bool = true,
        /// How many texts of one policy are remembered, the one that holds included, with who set them and when. Of all
        /// policies together at most 10000, beside those that hold. 1 to 1000.
        history_max: u32 = 100,
        /// How long an earlier text of a policy is remembered. 1d to 100 years; 0: for ever.
        history_keep: HumanDuration = HumanDuration::seconds(365 * 86_400),
        /// Whether the certificates of Notation signatures are looked up (OCSP, then revocation lists): `off`, `strict`
        /// (no answer is an error) or `lenient` (no answer is none against them). The registry then asks the addresses
        /// that trusted certificates name.
        revocation: RevocationCheck = RevocationCheck::Strict,
        /// Answers Kubernetes admission reviews (`/admission/v1/…`) without a login: whoever reaches the server learns
        /// what is decided about images that they can name, and the digests of their tags. Nothing is fetched from
        /// upstreams for them.
        open_admission: bool = false,
        /// Stands for a login at admission reviews, which are then sent to `/admission/v1/validate/SECRET` and
        /// `/admission/v1/mutate/SECRET` and nowhere else: API servers that cannot be given credentials can be given a
        /// path. It gives verdicts about all images and nothing else: no digests, so that no tag is pinned either. API servers
        /// show the path in errors to whoever makes a pod. 16 to 128 letters, digits, `-` and `_`, of which API
        /// servers take small letters, digits and `-` in the path of a `service`; make it with `openssl rand -hex 24`.
        admission_path_secret: Option<Secret> = None,
        /// File that holds `admission_path_secret`.
        admission_path_secret_file: Option<PathBuf> = None,
        /// A second one that is good as well, so that the first can be replaced while both are in use.
        admission_path_secret_next: Option<Secret> = None,
        /// File that holds `admission_path_secret_next`.
        admission_path_secret_next_file: Option<PathBuf> = None,
        /// Address and port of a listener for admission reviews and probes alone, with connections of its own. With the
        /// certificate of server.tls, if there is one.
        admission_listen: Option<SocketAddr> = None,
        /// Authorities of API servers' client certificates: on `admission_listen` every client must present one of theirs,
        /// which stands for a login that may ask about all images. Without it, clients present one of `server.tls.client_ca`
        /// where that is set; that is no login.
        admission_client_ca: Option<PathBuf> = None,
        /// How often in a minute admission reviews may have an upstream asked for an image of which nothing is here, for
        /// each user of the cluster (for Kubernetes' own controllers: in each namespace), and five times as often for all
        /// of them. Past it, or with 0, such an image is refused until somebody has pulled it. Whoever knows a path's secret
        /// can ask in any user's name. 0 to 10000.
        admission_fetches: u32 = 30,
        /// Hosts, each with its port if it has one, by which clusters name images of this registry, such as
        /// registry.example. Admission reviews judge these images.
        registry_hosts: Vec<String> = Vec::new(),
        /// What admission reviews say about images of all other hosts, of which nothing is known here.
        foreign_images: ForeignImages = ForeignImages::Deny,
    }
}

impl Policy {
    /// Which texts of policies stay, as of now.
    pub(crate) fn history(&self) -> HistoryLimits {
        let keep = self.history_keep.0;
        let since = if keep.is_zero() { 0 } else { rreg_storage::time_ago(keep) };
        HistoryLimits { versions: self.history_max, since }
    }

    pub(crate) fn validate(&self, findings: &mut Findings) {
        let (low, high) = (HumanDuration::millis(100), HumanDuration::seconds(60));
        findings.within("policy.timeout", self.timeout, low, high);
        findings.within("policy.workers", self.workers, 1, 64);
        findings.within("policy.history_max", self.history_max, 1, 1000);
        findings.kept("policy.history_keep", self.history_keep);
        findings.within("policy.admission_fetches", self.admission_fetches, 0, 10_000);
        self.validate_path_secret(findings);
        if self.admission_client_ca.is_some() && self.admission_listen.is_none() {
            let why = "asks for certificates on policy.admission_listen, which is not set";
            findings.reject("policy.admission_client_ca", why, Some("both, or none"));
        }
        for host in &self.registry_hosts {
            // What is no host in front of an image's name would never be met.
            if format!("{host}/image").parse::<ImageReference>().is_ok_and(|image| image.host == *host) {
                continue;
            }
            let allowed = "host or host:port; a host has a dot or a port, or is localhost";
            findings.reject(
                "policy.registry_hosts",
                format!("has {host:?}, which names no registry"),
                Some(allowed),
            );
        }
    }

    /// Where no host is this registry's and no upstream's, all images are foreign: to let those in is to judge nothing.
    pub(crate) fn refuse_no_judge(&self, upstreams: &super::Upstreams, findings: &mut Findings) {
        let is_named = !self.registry_hosts.is_empty() || upstreams.0.iter().any(|it| !it.ns.is_empty());
        if !is_named && self.foreign_images != ForeignImages::Deny {
            let why = "lets in whatever a cluster wants: without policy.registry_hosts no image is this registry's, and none \
                       is judged";
            findings.reject("policy.foreign_images", why, Some("deny, or set policy.registry_hosts"));
        }
    }

    /// The secret of a path, and logins of API servers, go to this address, and what is decided comes from it: as for
    /// `server.listen`, not in clear over a network, and not to everybody there unless that is asked for.
    pub(crate) fn refuse_open_reviews(
        &self,
        server: &super::Server,
        mode: super::AuthMode,
        findings: &mut Findings,
    ) {
        let Some(listen) = self.admission_listen else { return };
        if server.insecure || listen.ip().to_canonical().is_loopback() {
            return;
        }
        // A proxy that is known encrypts as well, and what did not come through it is refused.
        if server.tls.is_enabled() || !server.trusted_proxies.is_empty() {
            let is_proved = self.admission_client_ca.is_some() || server.tls.client_ca.is_some();
            let is_known = self.admission_path_secret.is_some() || self.admission_path_secret_next.is_some();
            if mode != super::AuthMode::Local && !is_proved && !is_known && !self.open_admission {
                let why = "other machines reach this address, and with auth.mode = \"open\" any of them learns what is \
                           decided about all images, with the digests of their tags";
                let ways = "policy.admission_client_ca, policy.admission_path_secret, auth.mode = \"local\", or \
                            policy.open_admission = true";
                findings.reject("policy.admission_listen", why, Some(ways));
            }
            return;
        }
        let why = "other machines reach this address, and without server.tls.cert and server.tls.key what they send, secrets \
                   among it, can be read on the way";
        findings.reject("policy.admission_listen", why, Some("TLS, or an address of loopback"));
    }

    fn validate_path_secret(&self, findings: &mut Findings) {
        let both = [
            ("policy.admission_path_secret", &self.admission_path_secret),
            ("policy.admission_path_secret_next", &self.admission_path_secret_next),
        ];
        for (field, secret) in both {
            if let Some(secret) = secret {
                self.validate_secret(field, secret.expose(), findings);
            }
        }
    }

    fn validate_secret(&self, field: &str, secret: &str, findings: &mut Findings) {
        let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
        if !(16..=128).contains(&secret.len()) || !secret.bytes().all(fits) {
            let allowed = "16 to 128 letters, digits, - and _, such as `openssl rand -hex 24` makes";
            findings.reject(field, "is no secret that can stand in a path", Some(allowed));
        }
        if self.open_admission {
            findings.reject(
                field,
                "is set and policy.open_admission asks for no secret",
                Some("one of the two"),
            );
        }
    }
}
