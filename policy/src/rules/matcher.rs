//! Who is meant by a signer in a policy.

use std::collections::BTreeMap;
use std::fmt;

use regex::Regex;
use rreg_oci::Digest;

use super::words::{self, Pattern};
use crate::signer::Signer;

/// Trust material by the name that a policy gives it. Whoever reads the policy knows what the name stands for: a path
/// beside the policy's file, or an entry of the registry's own settings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrustReference {
    /// A public key: `key:`.
    Key(String),
    /// Root certificates: `certificate.roots`.
    Certificates(String),
    /// A Sigstore instance: `public-good`, or what `keyless.root` names.
    Sigstore(String),
    /// A Notation trust store: `notation.store`.
    Notation {
        /// Its name, such as `acme` or `ca:acme`.
        store: String,
    },
    /// A Notation trust policy: `notation.policy`.
    NotationPolicy(String),
}

impl fmt::Display for TrustReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(name) => write!(f, "key {name}"),
            Self::Certificates(name) => write!(f, "certificates {name}"),
            Self::Sigstore(name) => write!(f, "Sigstore {name}"),
            Self::Notation { store } => write!(f, "Notation store {store}"),
            Self::NotationPolicy(name) => write!(f, "Notation policy {name}"),
        }
    }
}

/// A text to be equal to, or an expression to be found in it.
#[derive(Clone, Debug)]
pub enum TextMatch {
    /// One of these, to the letter.
    Exact(Vec<String>),
    /// Found somewhere in it.
    Regex(Regex),
}

impl TextMatch {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(known) => known.iter().any(|known| known == text),
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

impl fmt::Display for TextMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(known) => f.write_str(&known.join(" or ")),
            Self::Regex(regex) => write!(f, "/{regex}/"),
        }
    }
}

/// Who signs.
#[derive(Clone, Debug)]
pub enum Who {
    /// An identity that a Sigstore instance vouches for.
    Keyless {
        /// The identity provider.
        issuer: TextMatch,
        /// E-mail address or URI.
        identity: TextMatch,
        /// Other claims.
        claims: BTreeMap<String, Pattern>,
    },
    /// Who holds the key.
    Key,
    /// A certificate with such a subject.
    CertificateSubject(Vec<(String, String)>),
    /// A certificate with such an alternative name.
    CertificateName(TextMatch),
    /// A Notation identity, with such a subject where one is asked for.
    Notation(Option<Vec<(String, String)>>),
}

/// A signer as a policy describes it.
#[derive(Clone, Debug)]
pub struct Matcher {
    /// The trust material that it is judged under.
    pub reference: TrustReference,
    /// The ids of its trust roots: several for the statements of a Notation trust policy, of which one at most is about
    /// a repository; else one.
    pub trust: Vec<Digest>,
    /// Who.
    pub who: Who,
    /// What a person reads, such as `the key team-a.pub`.
    pub text: String,
}

impl Matcher {
    /// Whether a signer that was proved under one of [`Self::trust`] is meant.
    pub fn matches(&self, signer: &Signer) -> bool {
        match (&self.who, signer) {
            (
                Who::Keyless { issuer, identity, claims },
                Signer::Keyless { issuer: i, identity: n, claims: c },
            ) => {
                let claimed =
                    |(name, wanted): (&String, &Pattern)| c.get(name).is_some_and(|v| wanted.matches(v));
                issuer.matches(i) && identity.matches(n) && claims.iter().all(claimed)
            }
            (Who::Key, Signer::Key { key }) => self.trust.contains(key),
            (Who::CertificateSubject(wanted), Signer::Certificate { subject, .. }) => {
                words::has_attributes(subject, wanted)
            }
            (Who::CertificateName(wanted), Signer::Certificate { names, .. }) => {
                names.iter().any(|name| wanted.matches(name))
            }
            (Who::Notation(wanted), Signer::Notation { subject, .. }) => {
                wanted.as_ref().is_none_or(|wanted| words::has_attributes(subject, wanted))
            }
            _ => false,
        }
    }

    /// How such a signature is made.
    pub fn fix(&self) -> String {
        match &self.reference {
            TrustReference::Key(name) => {
                format!("sign the digest with the private key that belongs to {name}")
            }
            TrustReference::Sigstore(_) => "sign the digest in the workflow that has this identity".into(),
            TrustReference::Certificates(_) => "sign the digest with such a certificate".into(),
            TrustReference::Notation { .. } | TrustReference::NotationPolicy(_) => {
                "run `notation sign` on the digest with such a certificate".into()
            }
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// How many of some signers must have signed.
#[derive(Clone, Debug)]
pub struct Signers {
    /// How many.
    pub need: Need,
    /// Of whom.
    pub of: Vec<Matcher>,
    /// Names in `signedBy` or `signature` that the policy does not define. Nobody is meant by them, so they match
    /// nothing.
    pub undefined: Vec<String>,
}

/// How many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// One of them.
    Any,
    /// Each of them; one signer may do for several.
    All,
    /// So many of them, each by another signer.
    AtLeast(usize),
}

impl fmt::Display for Signers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.of.iter().map(ToString::to_string);
        let undefined = self.undefined.iter().map(|name| format!("the undefined signer {name:?}"));
        let names: Vec<String> = named.chain(undefined).collect();
        match self.need {
            Need::Any => f.write_str(&names.join(", or ")),
            Need::All => f.write_str(&names.join(", and ")),
            Need::AtLeast(n) => write!(f, "{n} different signers of {}", names.join(", ")),
        }
    }
}
