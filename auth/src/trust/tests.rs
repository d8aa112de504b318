//! Patterns, claims, and rules that would trust too many.

use serde_json::json;

use super::*;

fn rule(issuer: &str, claims: &[(&str, &str)]) -> Result<TrustRule, TrustError> {
    let claims = claims.iter().map(|(name, pattern)| ((*name).to_owned(), (*pattern).to_owned())).collect();
    let place = ("team".parse().unwrap(), Vec::new());
    TrustRule::new((issuer, issuer.contains("issuer.example")), "rule", &claims, place, Role::Writer)
}

#[test]
fn patterns() {
    for (pattern, text, expected) in [
        ("abc", "abc", true),
        ("abc", "abcd", false),
        ("abc", "ab", false),
        ("a*c", "ac", true),
        ("a*c", "abbc", true),
        ("a*c", "ab/c", false),
        ("a*c", "ab:c", false),
        ("a**c", "a/b:c", true),
        ("a***c", "a/b:c", true),
        ("a*", "a", true),
        ("*", "", true),
        ("dependabot[bot]", "dependabot[bot]", true),
        ("dependabot[bot]", "dependabotb", false),
        ("a?c", "abc", true),
        ("a?c", "a:c", false),
        ("repo:acme/*:ref:refs/heads/main", "repo:acme/app:ref:refs/heads/main", true),
        // An environment whose name imitates a branch.
        ("repo:acme/*:ref:refs/heads/main", "repo:acme/app:environment:x:ref:refs/heads/main", false),
        ("repo:acme/*", "repo:acme/app:ref:refs/heads/main", false),
        ("repo:acme/**", "repo:acme/app:ref:refs/heads/main", true),
        ("refs/tags/v*", "refs/tags/v1.2.3", true),
        ("ä*", "äö", true),
    ] {
        assert_eq!(ClaimPattern::new(pattern).matches(text), expected, "{pattern} {text}");
    }
    assert!(!ClaimPattern::new("**").matches(&"x".repeat(MAX_TEXT + 1)));
    // Would take for ever with backtracking.
    assert!(!ClaimPattern::new(&"**a".repeat(80)).matches(&"a".repeat(79)));
}

#[test]
fn all_claims_have_to_match() {
    let claims = json!({
        "sub": "system:serviceaccount:ci:builder",
        "ref_protected": true,
        "run": 7,
        "groups": ["dev", "ops"],
        "kubernetes.io": {"namespace": "ci", "a/b": ["x"]},
        "nothing": null,
    });
    let claims = claims.as_object().unwrap();
    let matches = |rules: &[(&str, &str)]| rule("https://issuer.example", rules).unwrap().matches(claims);
    assert!(matches(&[("sub", "system:serviceaccount:ci:*")]));
    assert!(matches(&[("sub", "system:serviceaccount:ci:*"), ("ref_protected", "true"), ("run", "7")]));
    assert!(matches(&[("groups", "ops")]) && !matches(&[("groups", "op")]));
    assert!(matches(&[("/kubernetes.io/namespace", "ci")]) && matches(&[("/kubernetes.io/a~1b", "x")]));
    assert!(!matches(&[("sub", "system:serviceaccount:ci:*"), ("absent", "**")]));
    assert!(!matches(&[("sub", "system:serviceaccount:ci:*"), ("nothing", "**")]));
    assert!(!matches(&[("kubernetes.io", "a**")]) && !matches(&[("sub", "system")]));
}

#[test]
fn rules_that_would_trust_everybody_are_refused() {
    assert_eq!(rule("https://issuer.example", &[]), Err(TrustError::Everybody));
    assert_eq!(rule("https://issuer.example", &[("sub", "**")]), Err(TrustError::Everybody));
    assert_eq!(rule("https://issuer.example", &[("sub", "")]), Err(TrustError::Size));
    assert_eq!(rule("https://issuer.example", &[("sub", &"a".repeat(257))]), Err(TrustError::Size));
    let github = "https://token.actions.githubusercontent.com";
    for strangers in [
        &[("ref", "refs/heads/main")][..],
        &[("sub", "repo:*/app:ref:refs/heads/main")],
        &[("sub", "repo:acme**")],
        &[("repository", "acm*/app")],
        &[("repository_owner", "acme*")],
    ] {
        assert!(matches!(rule(github, strangers), Err(TrustError::Strangers { .. })), "{strangers:?}");
    }
    for good in [
        &[("repository", "acme/*"), ("ref", "refs/heads/main")][..],
        &[("sub", "repo:acme/app:**")],
        &[("repository_owner_id", "1234")],
    ] {
        assert!(rule(github, good).is_ok(), "{good:?}");
    }
    assert!(matches!(rule("https://gitlab.com/", &[("ref", "main")]), Err(TrustError::Strangers { .. })));
    assert!(rule("https://gitlab.com", &[("project_path", "acme/**")]).is_ok());
}

#[test]
fn a_changed_rule_is_another_one() {
    let make = |pattern| rule("https://issuer.example", &[("sub", pattern)]).unwrap();
    assert_eq!(make("a").id(), make("a").id());
    assert_ne!(make("a").id(), make("b").id());
}

#[test]
fn a_rule_covers_its_organisation_only() {
    let claims = BTreeMap::from([("sub".to_owned(), "a".to_owned())]);
    let patterns = vec!["team/app".parse().unwrap(), "other/**".parse().unwrap()];
    let place = ("team".parse().unwrap(), patterns);
    let rule = TrustRule::new(("https://issuer.example", true), "r", &claims, place, Role::Writer).unwrap();
    for (repository, covered) in [("team/app", true), ("team/lib", false), ("other/app", false)] {
        assert_eq!(rule.covers(&repository.parse().unwrap()), covered, "{repository}");
    }
}

/// Whose token it is stands in a claim that the issuer fills, whole or up to the end of its name.
#[test]
fn a_rule_pins_an_owner() {
    let (github, gitlab) = ("https://token.actions.githubusercontent.com", "https://gitlab.com");
    for (issuer, claim, pattern, good) in [
        (gitlab, "ci_config_ref_uri", "gitlab.com/**", false),
        // Anybody may run the workflow or the pipeline of another's file.
        (gitlab, "ci_config_ref_uri", "gitlab.com/acme/app//.gitlab-ci.yml@refs/heads/main", false),
        (github, "job_workflow_ref", "acme/ci/.github/workflows/release.yml@refs/heads/main", false),
        (github, "sub", "job_workflow_ref:acme/ci/**", false),
        (github, "sub", "repo:**/app:ref:refs/heads/main", false),
        (github, "sub", "repo:acme**", false),
        (github, "repository", "/app", false),
        (github, "actor", "alice", false),
        (github, "sub", "repo:acme/*:ref:refs/heads/main", true),
        (github, "repository", "acme/*", true),
        (github, "workflow_ref", "acme/app/.github/workflows/*", true),
        (github, "repository_owner", "acme", true),
        (github, "repository_owner", "acme*", false),
        (gitlab, "sub", "project_path:acme/**", true),
        (gitlab, "sub", "acme/app", false),
        (gitlab, "project_path", "acme/**", true),
        ("https://agent.buildkite.com", "sub", "organization:acme:pipeline:*", true),
        ("https://agent.buildkite.com", "sub", "organization:**", false),
        ("https://accounts.google.com", "email", "ci@acme.example", true),
        ("https://accounts.google.com", "email", "*@acme.example", false),
        ("https://unknown.test", "sub", "acme", false),
        ("https://issuer.example", "sub", "system:serviceaccount:ci:builder", true),
    ] {
        let made = rule(issuer, &[(claim, pattern)]);
        assert_eq!(made.is_ok(), good, "{issuer} {claim} = {pattern}: {made:?}");
    }
}
