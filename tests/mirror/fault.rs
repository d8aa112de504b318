//! What an origin does instead of serving what it has.

/// What the origin does wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Fault {
    #[default]
    None,
    /// In small pieces with pauses, but right.
    Slow,
    /// No answer at all.
    Silent,
    /// Half of the body, then silence.
    Stall,
    /// Right, but so slowly that it never ends.
    Trickle,
    /// Half of the body, then the connection breaks.
    Reset,
    /// Half of the body, well-formed to the end.
    Truncate,
    /// The last byte is another one.
    WrongDigest,
    /// One byte more than it should be, announced and sent.
    WrongLength,
    /// One byte less than it should be, announced so.
    Short,
    /// A body without end, of unannounced length.
    Endless,
    /// This status for everything.
    Status(u16),
    /// This status for each HEAD of a manifest; else right.
    Head(u16),
    /// Neither manifests nor the repository are known any more, in the registry's own words.
    Gone,
    /// This status, and `Retry-After: 60`.
    Busy(u16),
    /// Elsewhere, for everything; the path is appended.
    Redirect(String),
    /// Right, for those who answer a Basic challenge.
    Challenge,
    /// Right, for those with a token, which the account of [`super::origin::ACCOUNT`] gets.
    Token,
    /// A challenge that names this token realm.
    Realm(String),
    /// Right, for those who answer a Basic challenge with this password of `AWS`.
    Password(&'static str),
    /// This status for everything of [`super::origin::OTHER`]; else right.
    OfOther(u16),
    /// This status for lists of tags and referrers and for each HEAD; else right.
    Optional(u16),
}
