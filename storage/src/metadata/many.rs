//! Statements about many things at once.

use std::fmt::Write as _;

use sqlx::any::{Any, AnyArguments};
use sqlx::query::Query;
use sqlx::{Encode, Type};

pub(super) type Statement<'q> = Query<'q, Any, AnyArguments>;

/// `$first, …`: placeholders for `count` values.
pub(super) fn list(first: usize, count: usize) -> String {
    let mut text = String::with_capacity(count * 5);
    for number in first..first + count {
        let comma = if number == first { "" } else { ", " };
        // Writing into memory cannot fail.
        let _ = write!(text, "{comma}${number}");
    }
    text
}

/// `($1, $3), ($1, $4)…`: `count` rows that begin alike, each with `width` placeholders more, from `$first` on.
pub(super) fn rows(beginning: &str, first: usize, width: usize, count: usize) -> String {
    let row = |number| format!("({beginning}, {})", list(first + number * width, width));
    (0..count).map(row).collect::<Vec<_>>().join(", ")
}

/// Binds one after another.
pub(super) fn bind_all<'q, T>(query: Statement<'q>, values: impl IntoIterator<Item = T>) -> Statement<'q>
where
    T: Encode<'q, Any> + Type<Any> + 'q,
{
    values.into_iter().fold(query, |query, value| query.bind(value))
}
