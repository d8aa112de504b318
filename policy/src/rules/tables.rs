//! Every field that a policy may have.

use super::forms::{AGE, EXPRESSION, GLOB, NAME, ON_ERROR, PATTERN, REGEX, SEVERITY, SUBJECT, TEXT, UNTIL};
use super::shape::{Field, Shape, Table};

const fn required(name: &'static str, shape: Shape, about: &'static str) -> Field {
    Field { name, required: true, shape, about }
}

const fn optional(name: &'static str, shape: Shape, about: &'static str) -> Field {
    Field { name, required: false, shape, about }
}

/// The points in the order in which an image passes them.
pub(crate) const POINTS: &[&str] = &["push", "promote", "pull", "admit", "run"];
pub(crate) const MODES: &[&str] = &["audit", "warn", "enforce"];
pub(crate) const FORMATS: &[&str] = &["cyclonedx", "spdx"];
/// A number of days that still is a date when it is added to one.
const DAYS: Shape = Shape::Whole { min: 0, max: 36_500 };

pub(crate) static POLICY: Table = Table {
    name: "policy",
    about: "What must be true of an image, where, and what happens where it is not.",
    fields: &[
        required("apiVersion", Shape::Choice(&["rreg/v1"]), "Always rreg/v1."),
        required("kind", Shape::Choice(&["Policy"]), "Always Policy."),
        required("name", NAME, "A name for messages and the audit log."),
        optional(
            "match",
            Shape::Object(&MATCH),
            "Which images it is about; all of them where it is left out.",
        ),
        optional(
            "at",
            Shape::OneOrMany(&Shape::Choice(POINTS)),
            "Where it is asked; everywhere but push where it is left out.",
        ),
        optional("mode", Shape::Choice(MODES), "What a failure means; enforce where it is left out."),
        optional(
            "onError",
            ON_ERROR,
            "What happens where a rule cannot be decided; deny where it is left out. allow lets through whatever cannot be checked: also what somebody attached who can make checking fail.",
        ),
        optional("signers", Shape::Named(&SIGNERS), "Signers by name, for signedBy and signature."),
        required("require", Shape::List(&Shape::Object(&RULE)), "The rules; all of them must hold."),
        optional("exempt", Shape::List(&Shape::Object(&EXEMPTION)), "What is let through for a time."),
    ],
    one_of: &[],
    min_fields: 0,
};

static MATCH: Table = Table {
    name: "match",
    about: "An image is meant where each field that is given matches it. In a list one match is enough.",
    fields: &[
        optional("registries", Shape::OneOrMany(&PATTERN), "Registry hosts; for gates and nodes."),
        optional("repos", Shape::OneOrMany(&GLOB), "Repositories."),
        optional("tags", Shape::OneOrMany(&GLOB), "Tags. An image without a tag is not matched."),
        optional(
            "platforms",
            Shape::OneOrMany(&GLOB),
            "os/architecture[/variant], in any spelling (x86_64 is amd64); without a variant, all variants. It is what the image says of itself, and nobody proves that; one that names none, or not all of it, is matched.",
        ),
    ],
    one_of: &[],
    min_fields: 0,
};

static RULE: Table = Table {
    name: "rule",
    about: "One rule.",
    fields: &[
        optional("name", NAME, "A name for exemptions."),
        optional("signature", Shape::Object(&SIGNATURE), "Who must have signed."),
        optional("attestation", Shape::Object(&ATTESTATION), "What must have been attested, and by whom."),
        optional("sbom", Shape::Object(&SBOM), "What the SBOM must be like."),
        optional("vulns", Shape::Object(&VULNS), "Which vulnerabilities there may not be."),
        optional("image", Shape::Object(&IMAGE), "What the image itself must be like."),
        optional("cel", EXPRESSION, "A CEL expression that must be true."),
        optional("message", TEXT, "How to make it right, for whoever is refused."),
    ],
    one_of: &[&["signature", "attestation", "sbom", "vulns", "image", "cel"]],
    min_fields: 0,
};

static SIGNATURE: Table = Table {
    name: "signature",
    about: "Signatures by any one of these signers, by all of them, or by so many different ones of them.",
    fields: &[
        optional("any", Shape::List(&SIGNER), "One of them."),
        optional("all", Shape::List(&SIGNER), "Each of them."),
        optional("atLeast", Shape::Whole { min: 1, max: 32 }, "How many different ones, with `of`."),
        optional("of", Shape::List(&SIGNER), "The signers that `atLeast` counts."),
    ],
    one_of: &[&["any", "all", "atLeast"], &["any", "all", "of"]],
    min_fields: 0,
};

static NAMED: Shape = NAME;
static MATCHES: Shape = Shape::Object(&MATCHER);
static SIGNER: Shape = Shape::Either(&NAMED, &MATCHES);
static SIGNERS: Shape = Shape::OneOrMany(&MATCHES);

static MATCHER: Table = Table {
    name: "signer",
    about: "Who signs.",
    fields: &[
        optional("keyless", Shape::Object(&KEYLESS), "An identity that a Sigstore instance vouches for."),
        optional("key", TEXT, "A public key file (PEM)."),
        optional(
            "certificate",
            Shape::Object(&CERTIFICATE),
            "A certificate of an authority outside Sigstore.",
        ),
        optional("notation", Shape::Object(&NOTATION), "A Notation identity."),
    ],
    one_of: &[&["keyless", "key", "certificate", "notation"]],
    min_fields: 0,
};

static KEYLESS: Table = Table {
    name: "keyless",
    about: "Issuer and identity of a Sigstore certificate.",
    fields: &[
        optional("issuer", TEXT, "The identity provider, to the letter."),
        optional(
            "issuerRegex",
            REGEX,
            "A regular expression that the identity provider matches; anchor it with ^ and $.",
        ),
        optional("identity", Shape::OneOrMany(&TEXT), "E-mail address or URI, to the letter; one of a list."),
        optional("identityRegex", REGEX, "A regular expression that the identity matches; anchor it with ^."),
        optional(
            "claims",
            Shape::Named(&PATTERN),
            "Other claims of the certificate, such as sourceRepositoryURI.",
        ),
        optional("root", TEXT, "public-good, or the name or file of another trusted_root.json."),
    ],
    one_of: &[&["issuer", "issuerRegex"], &["identity", "identityRegex"]],
    min_fields: 0,
};

static CERTIFICATE: Table = Table {
    name: "certificate",
    about: "A signing certificate that leads to one of these roots.",
    fields: &[
        required("roots", TEXT, "A file of root certificates (PEM)."),
        optional("subject", SUBJECT, "Attributes that the subject has."),
        optional("name", TEXT, "A subject alternative name, to the letter."),
        optional(
            "nameRegex",
            REGEX,
            "A regular expression that a subject alternative name matches; anchor it with ^.",
        ),
    ],
    one_of: &[&["subject", "name", "nameRegex"]],
    min_fields: 0,
};

static NOTATION: Table = Table {
    name: "notation",
    about: "A trust store, or a trust policy as notation writes it.",
    fields: &[
        optional("store", TEXT, "A trust store, such as acme or ca:acme."),
        optional("policy", TEXT, "A trust policy: a file, or a statement's name."),
        optional("subject", SUBJECT, "Attributes that the certificate's subject has."),
    ],
    one_of: &[&["store", "policy"]],
    min_fields: 0,
};

static ATTESTATION: Table = Table {
    name: "attestation",
    about: "An attestation of a kind, signed by somebody, that says something.",
    fields: &[
        required(
            "predicate",
            TEXT,
            "Predicate type, or slsaprovenance, slsaprovenance02, slsaprovenance1, spdx, cyclonedx, vuln, vex, link, custom.",
        ),
        optional("signedBy", Shape::OneOrMany(&SIGNER), "Who must have signed it; one of a list."),
        optional(
            "which",
            Shape::Choice(&["latest", "every", "any"]),
            "Of several by those who are meant; latest where it is left out.",
        ),
        optional("signed", Shape::False, "false: nobody needs to have signed it. It proves nothing then."),
        optional("cel", EXPRESSION, "A CEL expression over `predicate` that must be true."),
    ],
    one_of: &[&["signedBy", "signed"]],
    min_fields: 0,
};

static SBOM: Table = Table {
    name: "sbom",
    about: "What the SBOM must be like.",
    fields: &[
        optional(
            "present",
            Shape::Flag,
            "Whether there must be one; true where it is left out. One that is there is judged all the same.",
        ),
        optional("minQuality", Shape::Number { min: 0.0, max: 10.0 }, "The least score, 0 to 10."),
        optional("denyLicenses", Shape::OneOrMany(&PATTERN), "Licences that no package may have."),
        optional(
            "allowLicenses",
            Shape::OneOrMany(&PATTERN),
            "Licences of which each package must have one.",
        ),
        optional(
            "requireLicenses",
            Shape::Flag,
            "Whether each package must have a known licence; false where it is left out.",
        ),
        optional("format", Shape::Choice(FORMATS), "Its format."),
        optional(
            "signedBy",
            Shape::OneOrMany(&SIGNER),
            "Who must have signed it, as an attestation; one of a list. Those of others are not looked at then. Where it is left out, what all of them say is held against the image.",
        ),
    ],
    one_of: &[],
    min_fields: 1,
};

static VULNS: Table = Table {
    name: "vulns",
    about: "Which vulnerabilities there may not be.",
    fields: &[
        optional("maxAge", AGE, "How old the list of findings may be."),
        optional(
            "fail",
            Shape::List(&Shape::Object(&FAIL)),
            "A finding that one of these describes is one too many.",
        ),
    ],
    one_of: &[],
    min_fields: 1,
};

static FAIL: Table = Table {
    name: "fail",
    about: "Describes findings: each field that is given must be true of one.",
    fields: &[
        optional("severity", SEVERITY, "Its severity, such as >=high."),
        optional("fixed", Shape::Flag, "true: a version mends it; false: none does."),
        optional("graceDays", DAYS, "It was published at least so many days ago, or nobody knows when."),
        optional("kev", Shape::Flag, "true: it is known to be exploited."),
    ],
    one_of: &[],
    min_fields: 1,
};

static IMAGE: Table = Table {
    name: "image",
    about: "What the image itself must be like.",
    fields: &[
        optional(
            "nonRoot",
            Shape::Flag,
            "true: its config names a user by a number above 0. A name may stand for root and fails, as with Kubernetes' runAsNonRoot.",
        ),
        optional("digestOnly", Shape::Flag, "true: it is asked for by digest."),
        optional("maxAgeDays", DAYS, "How old it may be, as its config says."),
        optional("baseMaxAgeDays", DAYS, "How old the image that it is built on may be."),
        optional(
            "allowedBases",
            Shape::OneOrMany(&PATTERN),
            "Images that it may be built on, as its own annotation or label org.opencontainers.image.base.name says: nobody proves that, and whoever builds it writes it.",
        ),
        optional("allowedRegistries", Shape::OneOrMany(&PATTERN), "Registries that it may come from."),
        optional(
            "platforms",
            Shape::OneOrMany(&PATTERN),
            "Platforms that it may be for, as its config and its index say; without a variant, all variants.",
        ),
        optional("labels", Shape::Named(&PATTERN), "Labels that its config must have."),
        optional(
            "maxSizeMiB",
            Shape::Whole { min: 1, max: 1 << 30 },
            "How big config and layers may be together.",
        ),
        optional(
            "denyPorts",
            Shape::OneOrMany(&Shape::Whole { min: 1, max: 65_535 }),
            "Ports that it may not expose.",
        ),
    ],
    one_of: &[],
    min_fields: 1,
};

static EXEMPTION: Table = Table {
    name: "exemption",
    about: "What is let through for a time: findings by id or package, or a rule.",
    fields: &[
        optional("id", TEXT, "A vulnerability."),
        optional("purl", TEXT, "A package, with or without its version."),
        optional(
            "rule",
            Shape::OneOrMany(&TEXT),
            "A rule by its name or place, such as image.nonRoot or require[2].",
        ),
        required("until", UNTIL, "When it ends; a date means the end of that day in UTC."),
        required("by", TEXT, "Who answers for it."),
        required("why", TEXT, "Why, such as a ticket."),
    ],
    one_of: &[],
    min_fields: 4,
};
