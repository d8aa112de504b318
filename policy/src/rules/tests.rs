//! Policies as texts: what is read, what is refused, and how that is said.

mod schema;
mod words;

use p256::pkcs8::EncodePublicKey;
use rreg_oci::Digest;

use super::*;
use crate::key::PublicKey;

/// Knows every name but those that begin with `missing`. Each name is another key: what kind of trust root it is,
/// nothing here asks.
pub(crate) struct Names;

impl TrustSource for Names {
    fn load(&self, reference: &TrustReference) -> Result<TrustRoot, TrustError> {
        let name = reference.to_string();
        if name.contains("missing") {
            return Err(TrustError::new("trust material", "there is no such file"));
        }
        let secret = p256::SecretKey::from_slice(Digest::sha256(name.as_bytes()).hash()).unwrap();
        let der = secret.public_key().to_public_key_der().unwrap();
        Ok(TrustRoot::Key(PublicKey::from_der(der.as_bytes())?))
    }
}

/// The example that the policy form is described by.
pub(crate) const EXAMPLE: &str = r#"
apiVersion: rreg/v1
kind: Policy
name: prod
match: {repos: ["prod/**"]}
at: [promote, pull, admit, run]   # push, pull, promote, admit, run
mode: enforce                     # audit | warn | enforce
onError: deny                     # deny | allow | lastGood(24h)
require:
  - signature:
      any:
        - keyless: {issuer: "https://token.actions.githubusercontent.com", identityRegex: "^https://github\\.com/acme/.+@refs/tags/"}
        - key: team-a.pub
        - notation: {store: acme, subject: "C=US,ST=WA,O=acme"}
  - attestation: {predicate: "https://slsa.dev/provenance/v1", signedBy: ci, cel: "predicate.buildDefinition.buildType.startsWith('https://actions')"}
  - sbom: {present: true, minQuality: 7, denyLicenses: ["AGPL-3.0*"]}
  - vulns: {maxAge: 24h, fail: [{severity: ">=high", fixed: true, graceDays: 14}, {kev: true}]}
  - image: {nonRoot: true, digestOnly: true, baseMaxAgeDays: 90}
  - cel: "image.labels['org.opencontainers.image.source'].startsWith('https://github.com/acme/')"
    message: "set the source label in CI"
exempt:
  - {id: CVE-2026-1234, purl: "pkg:deb/debian/zlib1g", until: 2026-12-31, by: sec@acme, why: SEC-77}
"#;

/// A policy with these rules, each a line of YAML, and these other fields.
pub(crate) fn policy(rules: &str, others: &str) -> Policy {
    policies(&text(rules, others)).remove(0)
}

/// The text of such a policy.
pub(crate) fn text(rules: &str, others: &str) -> String {
    let rules: Vec<String> = rules
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| format!("  - {}", line.trim()))
        .collect();
    format!("apiVersion: rreg/v1\nkind: Policy\nname: test\n{others}\nrequire:\n{}\n", rules.join("\n"))
}

pub(crate) fn policies(text: &str) -> Vec<Policy> {
    Policy::parse(text, &Names).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

fn errors(text: &str) -> Vec<PolicyError> {
    Policy::parse(text, &Names).expect_err(text).0
}

/// The only mistake of a policy with this rule.
fn mistake(rule: &str) -> String {
    let errors = errors(&text(rule, ""));
    assert_eq!(errors.len(), 1, "{rule}: {errors:?}");
    errors[0].to_string()
}

#[test]
fn the_example_is_read() {
    let policy = policies(EXAMPLE).remove(0);
    assert_eq!(policy.name, "prod");
    assert_eq!(policy.at.len(), 4);
    assert!(!policy.at.contains(&Point::Push));
    assert_eq!((policy.mode, policy.on_error), (Mode::Enforce, OnError::Deny));
    let paths: Vec<String> = policy.require.iter().flat_map(Rule::paths).collect();
    assert_eq!(
        paths,
        [
            "require[0].signature",
            "require[1].attestation",
            "require[2].sbom",
            "require[3].vulns",
            "require[4].image.nonRoot",
            "require[4].image.digestOnly",
            "require[4].image.baseMaxAgeDays",
            "require[5].cel"
        ]
    );
    assert_eq!(policy.exempt[0].until.to_rfc3339(), "2027-01-01T00:00:00+00:00");
    assert_eq!(policy.trust_roots().count(), 3);
    // The example names a signer that it does not define: nobody is meant by it.
    let warnings: Vec<String> = policy.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains(r#"no signer "ci" is defined"#), "{warnings:?}");
    let references = Policy::references(EXAMPLE).unwrap();
    let references: Vec<String> = references.iter().map(ToString::to_string).collect();
    assert_eq!(references, ["key team-a.pub", "Sigstore public-good", "Notation store acme"]);
}

#[test]
fn every_mistake_is_named_with_its_place() {
    let text = "apiVersion: rreg/v1\nkind: Policy\nname: test\nmod: warn\nat: [pul]\nrequire:\n  - sbom: {minQality: 7}\n  - vulns: {maxAge: soon}\n";
    let found: Vec<String> = errors(text).iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            r#"line 4, column 1: there is no field "mod"; did you mean "mode"?"#,
            r#"line 5, column 6: at[0]: "pul" is not known here; did you mean "pull"?"#,
            r#"line 7, column 12: require[0].sbom: there is no field "minQality"; did you mean "minQuality"?"#,
            r#"line 8, column 21: require[1].vulns.maxAge: "soon" is no length of time; a number with s, m, h, d or w, such as 24h, is wanted"#,
        ]
    );
}

#[test]
fn mistakes_are_said_so_that_they_can_be_mended() {
    let cases = [
        ("signature: {any: [{kee: a.pub}]}", r#"there is no field "kee"; did you mean "key"?"#),
        ("signature: {any: [{key: a.pub}], all: [{key: b.pub}]}", "any and all exclude each other"),
        ("signature: {any: []}", "the list is empty"),
        ("signature: {atLeast: 2, of: [{key: a.pub}]}", "2 signers of 1 can never be had"),
        ("signature: {atLeast: 0, of: [{key: a.pub}]}", "not a whole number from 1 to 32"),
        (
            "signature: {any: [{key: missing.pub}]}",
            "the key missing.pub cannot be used: trust material: there is no such",
        ),
        ("signature: {any: [{keyless: {issuer: a}}]}", "give one of identity, identityRegex"),
        ("signature: {any: [{keyless: {issuer: a, identityRegex: \"(\"}}]}", "this is no regular expression"),
        ("signature: {any: [{keyless: {issuer: a, identityRegex: \"^(a{900}){900}\"}}]}", "is too big"),
        ("signature: {any: [{notation: {store: a, subject: acme}}]}", r#""acme" is no distinguished name"#),
        ("signature: {any: [{key: 7}]}", "this is a number, not text; put it in quotes"),
        ("attestation: {predicate: spdx}", "give one of signedBy, signed"),
        ("attestation: {predicate: spdx, signed: true}", "not false, the only value"),
        (
            "attestation: {predicate: spdx, signed: false, cel: \"size(predicate) >\"}",
            "this is no CEL expression",
        ),
        ("sbom: {}", "it asks for nothing"),
        ("sbom: {minQuality: 11}", "not a number from 0 to 10"),
        ("vulns: {fail: [{severity: awful}]}", r#""awful" is no severity"#),
        ("vulns: {fail: [{}]}", "it asks for nothing"),
        ("image: {denyPorts: [70000]}", "not a whole number from 1 to 65535"),
        ("cel: predicate.x == 1", r#""predicate" is not known here"#),
        ("cel: imge.x == 1", r#""imge" is not known here"#),
        ("cel: image.repository.startWith('a')", "did you mean startsWith()?"),
        ("cel: \"image.repository.matches(image.digest)\"", "is to be written out"),
        ("message: only", "give one of signature, attestation"),
        ("sbom: {present: true}\n  - [a]", "this is a list, not fields"),
    ];
    for (rule, said) in cases {
        let text = text("", "").trim_end().to_owned() + "\n  - " + rule + "\n";
        let errors = errors(&text);
        assert_eq!(errors.len(), 1, "{rule}: {errors:?}");
        assert!(errors[0].to_string().contains(said), "{rule}: {}", errors[0]);
        assert!(errors[0].place.line > 0, "{rule}");
    }
    assert!(mistake("image: {nonRoot: yess}").contains("this is text, not true or false"));
}

#[test]
fn an_exemption_says_until_when_by_whom_and_why() {
    let whole = "{id: CVE-1, until: 2026-12-31, by: me, why: because}";
    assert_eq!(policy("sbom: {present: true}", &format!("exempt: [{whole}]")).exempt.len(), 1);
    for (missing, said) in [
        ("{id: CVE-1, by: me, why: because, purl: a}", r#""until" is missing"#),
        ("{id: CVE-1, until: 2026-12-31, why: because, purl: a}", r#""by" is missing"#),
        ("{id: CVE-1, until: 2026-12-31, by: me, purl: a}", r#""why" is missing"#),
        ("{id: CVE-1, until: 2026-02-30, by: me, why: because}", r#""2026-02-30" is no date"#),
        ("{id: CVE-1, until: 2026-12-31, by: me, why: \" \"}", "the text is empty"),
        ("{until: 2026-12-31, by: me, why: because}", "it asks for nothing"),
        ("{id: CVE-1, rule: sbom, until: 2026-12-31, by: me, why: because}", "exclude each other"),
    ] {
        let errors = errors(&text("sbom: {present: true}", &format!("exempt: [{missing}]")));
        assert_eq!(errors.len(), 1, "{missing}: {errors:?}");
        assert!(errors[0].to_string().contains(said), "{missing}: {}", errors[0]);
    }
    let typo = policy("sbom: {present: true}", "exempt: [{rule: sbon, until: 2026-12-31, by: me, why: x}]");
    assert!(typo.warnings()[0].to_string().contains(r#"no rule of this policy is "sbon""#));
}

#[test]
fn what_is_dangerous_is_warned_of() {
    for (expression, anchored) in [
        ("^https://a/", true),
        ("https://a/", false),
        ("^a|b", false),
        ("^a|^b", true),
        ("^(a|b)", true),
        ("(^a)", false),
        ("^[|]", true),
        (r"^a\|b", true),
    ] {
        let rule = format!("signature: {{any: [{{keyless: {{issuer: i, identityRegex: '{expression}'}}}}]}}");
        let policy = policy(&rule, "");
        assert_eq!(policy.warnings().is_empty(), anchored, "{expression}: {:?}", policy.warnings());
    }
    assert_eq!(policy("signature: {any: [{notation: {store: acme}}]}", "").warnings().len(), 1);
}

#[test]
fn texts_that_are_no_policies_are_refused() {
    for text in ["", "---\n", "a: [", "- a", "apiVersion: rreg/v1\napiVersion: rreg/v1\n", "null"] {
        assert!(!errors(text).is_empty(), "{text}");
    }
    assert!(errors(&"a".repeat(2 << 20))[0].to_string().contains("more than"));
    let deep = format!("a: {}{}", "[".repeat(500), "]".repeat(500));
    assert!(!errors(&deep).is_empty());
    let twice = format!("{}---\n{}", text("sbom: {present: true}", ""), text("sbom: {present: true}", ""));
    assert!(errors(&twice)[0].to_string().contains("two policies"));
    // Aliases that would grow without end.
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
    assert!(!errors(bomb).is_empty());
}

#[test]
fn several_documents_are_several_policies() {
    let second = text("sbom: {present: true}", "at: push\nmode: audit\nonError: lastGood(24h)")
        .replace("name: test", "name: b");
    let all = policies(&format!("{EXAMPLE}---\n# nothing\n---\n{second}"));
    assert_eq!(all.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["prod", "b"]);
    assert_eq!(all[1].at, [Point::Push].into());
    assert_eq!(all[1].on_error, OnError::LastGood(Duration::hours(24)));
}

#[test]
fn a_revision_names_what_a_policy_says_and_whom_it_trusts() {
    let one = policy("signature: {any: [{key: a.pub}]}", "");
    let comment = policies(&(text("signature: {any: [{key: a.pub}]}", "") + "# a comment\n")).remove(0);
    assert_eq!(one.revision, comment.revision);
    assert_ne!(one.revision, policy("signature: {any: [{key: b.pub}]}", "").revision);
    assert_ne!(one.revision, policy("signature: {any: [{key: a.pub}]}", "mode: warn").revision);
    struct Other;
    impl TrustSource for Other {
        fn load(&self, _: &TrustReference) -> Result<TrustRoot, TrustError> {
            Names.load(&TrustReference::Key("other".into()))
        }
    }
    let other = Policy::parse(&text("signature: {any: [{key: a.pub}]}", ""), &Other).unwrap().remove(0);
    assert_ne!(one.revision, other.revision);
    // One root by two names is one root.
    let two =
        Policy::parse(&text("signature: {any: [{key: a.pub}, {key: b.pub}]}", ""), &Other).unwrap().remove(0);
    assert_eq!((two.trust.len(), two.trust_roots().count()), (2, 1));
    let set = PolicySet::new(vec![one.clone(), other.clone()]);
    assert_eq!(set.trust_roots().len(), 2);
    assert_eq!(set.revision(), PolicySet::new(vec![other, one]).revision());
}

#[test]
fn letting_through_what_cannot_be_checked_is_warned_about() {
    for (others, warned) in [
        ("onError: allow", true),
        ("onError: allow\nmode: enforce", true),
        ("onError: allow\nmode: warn", false),
        ("onError: deny", false),
        ("onError: lastGood(24h)", false),
    ] {
        let policy = policy("sbom: {present: true}", others);
        let found =
            policy.warnings().iter().any(|warning| warning.path == "onError" && warning.place.line > 0);
        assert_eq!(found, warned, "{others}: {:?}", policy.warnings());
    }
}

#[test]
fn signers_have_names() {
    let signers =
        "signers: {ci: {keyless: {issuer: i, identity: [a, b]}}, two: [{key: a.pub}, {key: b.pub}]}";
    let policy = policy(
        "signature: {any: [ci, two, {key: c.pub}]}\nattestation: {predicate: spdx, signedBy: [ci]}",
        signers,
    );
    let Ask::Signature(found) = &policy.require[0].ask else { panic!() };
    let named: Vec<String> = found.of.iter().map(ToString::to_string).collect();
    assert_eq!(named, ["a or b by i", "the key a.pub", "the key b.pub", "the key c.pub"]);
    assert!(policy.warnings().is_empty());
    let all = text("signature: {all: [two]}", signers);
    assert!(errors(&all)[0].to_string().contains("only `any` can take"));
    let unused = text("sbom: {present: true}", "signers: {ci: {key: missing.pub}}");
    assert!(errors(&unused)[0].to_string().contains("signers.ci: the key missing.pub cannot be used"));
}
