//! A statement of a Notation trust policy judges the repositories that it names.

use super::*;
use crate::notation::{TrustPolicyDocument, TrustStores};
use crate::rules::{TrustReference, TrustSource};
use crate::trust::{TrustError, TrustRoot};
use crate::verdict::Verdict;

/// A trust policy with these statements, each a name and a scope.
struct Statements(&'static [(&'static str, &'static str)]);

impl TrustSource for Statements {
    fn load(&self, _: &TrustReference) -> Result<TrustRoot, TrustError> {
        Err(TrustError::new("trust policy", "it has several statements"))
    }

    fn load_all(&self, _: &TrustReference) -> Result<Vec<TrustRoot>, TrustError> {
        let statement = |(name, scope): &(&str, &str)| {
            json!({
                "name": name, "registryScopes": [scope], "signatureVerification": {"level": "strict"},
                "trustStores": ["ca:acme"], "trustedIdentities": ["*"],
            })
        };
        let statements: Vec<Value> = self.0.iter().map(statement).collect();
        let document = json!({"version": "1.0", "trustPolicies": statements}).to_string();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut root = rcgen::CertificateParams::default();
        root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = root.self_signed(&key).unwrap();
        let stores = TrustStores::new([("ca", "acme", "root.der", &root.der()[..])])?;
        let all = TrustPolicyDocument::parse(document.as_bytes())?.statements(&stores)?;
        Ok(all.into_iter().map(|trust| TrustRoot::Notation(trust.into())).collect())
    }
}

/// How a signature comes out that is valid under the statement `under` and under no other one.
fn judge(
    statements: &'static [(&'static str, &'static str)],
    under: &str,
    registry: &str,
    repository: &str,
) -> (Outturn, Outturn, String) {
    let rules = "signature: {any: [{notation: {policy: trustpolicy.json}}]}\ncel: size(signatures) == 1";
    let text = crate::rules::tests::text(rules, "");
    let policy = Policy::parse(&text, &Statements(statements)).unwrap().remove(0);
    assert_eq!(policy.trust.len(), statements.len());
    let set = PolicySet::new(vec![policy.clone()]);
    let given = json!({"image": {"registry": registry, "repository": repository},
        "signatures": [{"notation": {"policy": "trustpolicy.json", "subject": "O=acme"}}]});
    let mut facts = crate::cases::facts::facts(given, &set).unwrap();
    for (_, root) in &policy.trust {
        let TrustRoot::Notation(trust) = root else { panic!("{root:?}") };
        let found = facts.evidence[0].verifications.get_mut(&root.id().to_string()).unwrap();
        if trust.name() != under {
            found.verdict = Verdict::Invalid;
        }
    }
    let decision = evaluate(&set, &facts, Point::Pull, &EvaluateContext { now: now(), last_good: None });
    let reasons = &decision.policies[0].reasons;
    (reasons[0].result, reasons[1].result, reasons[0].found.clone())
}

#[test]
fn the_statement_that_names_the_repository_judges_it() {
    use Outturn::{Fail, Pass};
    const TWO: &[(&str, &str)] = &[("all", "*"), ("app", "r.acme.io/team/app")];
    const ONE: &[(&str, &str)] = &[("app", "r.acme.io/team/app")];
    for (statements, under, registry, repository, result) in [
        (TWO, "app", "r.acme.io", "team/app", Pass),
        (TWO, "all", "r.acme.io", "team/app", Fail),
        (TWO, "all", "r.acme.io", "team/other", Pass),
        (TWO, "app", "r.acme.io", "team/other", Fail),
        (TWO, "all", "elsewhere.io", "team/app", Pass),
        (TWO, "app", "elsewhere.io", "team/app", Fail),
        // The registry's own content, whatever it is called.
        (TWO, "app", "", "team/app", Pass),
        (TWO, "all", "", "team/app", Fail),
        (TWO, "all", "", "team/other", Pass),
        (ONE, "app", "r.acme.io", "team/app", Pass),
        (ONE, "app", "r.acme.io", "team/other", Fail),
        (ONE, "app", "", "team/other", Fail),
    ] {
        let (signature, cel, found) = judge(statements, under, registry, repository);
        assert_eq!((signature, cel), (result, result), "{under} {registry} {repository}: {found}");
        if statements.len() == 1 && result == Fail {
            assert!(found.contains("no statement whose registryScopes name"), "{found}");
        }
    }
}
