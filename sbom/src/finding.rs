//! What could not be read, and why: a list that is not complete says so.

use serde::Serialize;

/// What is wrong. The names are stable: programs match on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// A layer is of a type that is no file system, or compressed in an unknown way.
    LayerUnsupported,
    /// A layer's compression or tar structure is broken; what came before the damage was read.
    LayerDamaged,
    /// A layer that registries do not carry and that was not given.
    LayerAbsent,
    /// All layers together are larger than allowed; the rest was not read.
    ImageTooLarge,
    /// More entries, packages or owned paths than allowed; the rest was not read.
    TooMany,
    /// A file is longer than what is kept in memory; it was not read.
    FileTooLarge,
    /// An entry's path leads out of the image, or is too long; it was not read.
    BadPath,
    /// A package database or package file does not have its format; what could be read was.
    Malformed,
    /// A database or file ends before its structure does.
    Truncated,
    /// A structure refers to itself.
    Cycle,
    /// Archives are nested deeper than allowed; the deeper ones were not read.
    TooDeep,
    /// An archive decompresses to more than allowed; the rest was not read.
    ArchiveTooLarge,
    /// A form of the file that is not read here.
    Unsupported,
    /// A database is a link to something that is not in the image, or is no database.
    LinkBroken,
    /// An image of a distribution in which no package of it was found: where it keeps them is not known.
    NoPackages,
    /// A statement attached to this image is about another one; it was not used.
    OtherSubject,
    /// What is attached could not be fetched.
    NotFetched,
}

impl FindingKind {
    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::LayerUnsupported => "layer-unsupported",
            Self::LayerDamaged => "layer-damaged",
            Self::LayerAbsent => "layer-absent",
            Self::ImageTooLarge => "image-too-large",
            Self::TooMany => "too-many",
            Self::FileTooLarge => "file-too-large",
            Self::BadPath => "bad-path",
            Self::Malformed => "malformed",
            Self::Truncated => "truncated",
            Self::Cycle => "cycle",
            Self::TooDeep => "too-deep",
            Self::ArchiveTooLarge => "archive-too-large",
            Self::Unsupported => "unsupported",
            Self::LinkBroken => "link-broken",
            Self::NoPackages => "no-packages",
            Self::OtherSubject => "other-subject",
            Self::NotFetched => "not-fetched",
        }
    }
}

/// One thing that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// In which layer, by its digest; none for a directory tree.
    pub layer: Option<String>,
    /// In which file, where it is one.
    pub path: Option<String>,
    /// In words.
    pub message: String,
}

/// A complaint of a reader that does not know where its bytes came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) kind: FindingKind,
    pub(crate) message: String,
}

impl Complaint {
    pub(crate) fn new(kind: FindingKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(FindingKind::Malformed, message)
    }

    pub(crate) fn truncated(message: impl Into<String>) -> Self {
        Self::new(FindingKind::Truncated, message)
    }
}
