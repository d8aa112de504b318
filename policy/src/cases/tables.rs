//! Every field that a file of cases may have.

use crate::rules::forms::{SUBJECT, TEXT, UNTIL};
use crate::rules::shape::{Field, Shape, Table};
use crate::rules::tables::POINTS;

const fn required(name: &'static str, shape: Shape, about: &'static str) -> Field {
    Field { name, required: true, shape, about }
}

const fn optional(name: &'static str, shape: Shape, about: &'static str) -> Field {
    Field { name, required: false, shape, about }
}

/// A field whose value the facts themselves read.
const fn fact(name: &'static str) -> Field {
    optional(name, Shape::Any, "")
}

pub(super) static FILE: Table = Table {
    name: "cases",
    about: "Test cases of a policy.",
    fields: &[
        required("policy", Shape::OneOrMany(&TEXT), "The policy file, relative to this one, or several."),
        required("cases", Shape::List(&Shape::Object(&CASE)), "The cases."),
    ],
    one_of: &[],
    min_fields: 0,
};

static CASE: Table = Table {
    name: "case",
    about: "One case.",
    fields: &[
        required("name", TEXT, "What it shows."),
        optional("at", Shape::Choice(POINTS), "Where it is asked; at a pull where it is left out."),
        required("now", UNTIL, "The time."),
        optional("lastGood", UNTIL, "When the image was last allowed."),
        required("facts", Shape::Object(&FACTS), "What is known of the image."),
        required("expect", Shape::Object(&EXPECT), "What is to come out."),
    ],
    one_of: &[],
    min_fields: 0,
};

static EXPECT: Table = Table {
    name: "expect",
    about: "What is to come out.",
    fields: &[
        required("outcome", Shape::Choice(&["allow", "warn", "deny"]), "What is to be done."),
        optional("holdsUntil", UNTIL, "When time alone may change it."),
        optional("reasons", Shape::List(&Shape::Object(&REASON)), "Reasons that must be among those given."),
    ],
    one_of: &[],
    min_fields: 0,
};

static REASON: Table = Table {
    name: "reason",
    about: "A reason.",
    fields: &[
        required("rule", TEXT, "The rule's place, such as require[0].signature, or the end of it."),
        optional("policy", TEXT, "The policy's name."),
        optional("result", Shape::Choice(&["pass", "error", "fail"]), "How the rule came out."),
        optional("expected", TEXT, "Text that `expected` contains."),
        optional("found", TEXT, "Text that `found` contains."),
        optional("fix", TEXT, "Text that `fix` contains."),
    ],
    one_of: &[],
    min_fields: 0,
};

static FACTS: Table = Table {
    name: "facts",
    about: "What is known of the image.",
    fields: &[
        optional("image", Shape::Object(&IMAGE), "The image itself."),
        optional("signatures", Shape::List(&Shape::Object(&SIGNATURE)), "Signatures in short."),
        optional("attestations", Shape::List(&Shape::Object(&ATTESTATION)), "Attestations in short."),
        fact("evidence"),
        fact("incomplete"),
        fact("over"),
        fact("unread"),
        fact("sbom"),
        fact("findings"),
        fact("findingsAt"),
        fact("baseCreated"),
    ],
    one_of: &[],
    min_fields: 0,
};

static IMAGE: Table = Table {
    name: "image",
    about: "The image itself; `user`, `labels`, `created` and `ports` are those of a config.",
    fields: &[
        fact("registry"),
        fact("repository"),
        fact("tags"),
        fact("digest"),
        fact("parents"),
        fact("mediaType"),
        fact("artifactType"),
        fact("pinned"),
        fact("platforms"),
        fact("annotations"),
        fact("size"),
        fact("layers"),
        fact("configs"),
        fact("baseName"),
        fact("baseDigest"),
        fact("user"),
        fact("labels"),
        fact("created"),
        fact("ports"),
    ],
    one_of: &[],
    min_fields: 0,
};

const VERDICT: Shape = Shape::Choice(&["valid", "invalid", "unverifiable", "error"]);

static SIGNATURE: Table = Table {
    name: "signature",
    about: "A signature in short: who made it, and what its verification found.",
    fields: &[
        optional(
            "key",
            TEXT,
            "A key file, as the policy names it; another one is a key that it does not know.",
        ),
        optional("keyless", Shape::Object(&KEYLESS), "An identity."),
        optional("certificate", Shape::Object(&CERTIFICATE), "A certificate."),
        optional("notation", Shape::Object(&NOTATION), "A Notation identity."),
        optional("verdict", VERDICT, "What verification found; valid where it is left out."),
        optional("until", UNTIL, "When the verification ends."),
    ],
    one_of: &[&["key", "keyless", "certificate", "notation"]],
    min_fields: 0,
};

static ATTESTATION: Table = Table {
    name: "attestation",
    about: "An attestation in short. Without signedBy nobody signed it.",
    fields: &[
        required("predicateType", TEXT, "The predicate type."),
        optional("predicate", Shape::Any, "What it says."),
        optional("signedBy", Shape::Object(&SIGNATURE), "Who signed it."),
        optional("sbom", Shape::Any, "What it says, where it is an SBOM: as the fact `sbom`."),
    ],
    one_of: &[],
    min_fields: 0,
};

static KEYLESS: Table = Table {
    name: "keyless",
    about: "An identity.",
    fields: &[
        required("issuer", TEXT, "The identity provider."),
        required("identity", TEXT, "E-mail address or URI."),
        optional("claims", Shape::Named(&TEXT), "Other claims."),
        optional("root", TEXT, "The Sigstore instance; public-good where it is left out."),
    ],
    one_of: &[],
    min_fields: 0,
};

static CERTIFICATE: Table = Table {
    name: "certificate",
    about: "A certificate.",
    fields: &[
        required("roots", TEXT, "The file of root certificates, as the policy names it."),
        optional("subject", SUBJECT, "The subject."),
        optional("names", Shape::OneOrMany(&TEXT), "The subject alternative names."),
    ],
    one_of: &[],
    min_fields: 0,
};

static NOTATION: Table = Table {
    name: "notation",
    about: "A Notation identity.",
    fields: &[
        optional("store", TEXT, "The trust store, as the policy names it."),
        optional("policy", TEXT, "The trust policy, as the policy names it."),
        optional("subject", SUBJECT, "The subject."),
    ],
    one_of: &[&["store", "policy"]],
    min_fields: 0,
};
