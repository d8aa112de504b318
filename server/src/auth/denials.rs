//! Which denials get a row: they cost a stranger nothing, so so many are kept a second, fewer of one who causes them, and
//! what is said again is said once a while.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use crate::budget::Budget;
use crate::shares::Source;

/// Denials of one kind kept in one second, in all and of one source.
const ALL: u64 = 100;
const OWN: u64 = 10;
/// How long the same is not said again.
const SAME: Duration = Duration::from_secs(60);
/// Most that is remembered of what was said: more than can be kept in that time.
const SAID: usize = 20_000;

/// Denials that take no room from those of another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of requests and logins at the registry itself.
    Request,
    /// Of a cluster's users, as an API server that has proved to be one names them.
    Review,
    /// Of whomever somebody names who knows a path, or nothing at all.
    Unproved,
}

/// What becomes of one denial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It gets a row. The same was left out so many times since its last one.
    Row(u64),
    /// The same has a row already.
    Same,
    /// It is one too many.
    TooMany,
}

/// Counts them. Times are since any fixed moment.
pub(super) struct Denials {
    second: u64,
    /// What is left of this second, for each kind.
    left: [Budget; 3],
    /// Those that were too many since that was told last.
    pub(super) suppressed: u64,
    said: HashMap<u64, Said>,
    hasher: RandomState,
}

struct Said {
    at: Duration,
    again: u64,
}

fn of_a_second() -> [Budget; 3] {
    std::array::from_fn(|_| Budget::new(ALL, OWN))
}

impl Default for Denials {
    fn default() -> Self {
        let (said, hasher) = (HashMap::new(), RandomState::new());
        Self { second: 0, left: of_a_second(), suppressed: 0, said, hasher }
    }
}

impl Denials {
    /// Whether this is a new second, of which nothing is kept yet.
    pub(super) fn begin(&mut self, now: Duration) -> bool {
        let is_new = self.second != now.as_secs();
        if is_new {
            self.second = now.as_secs();
            self.left = of_a_second();
        }
        is_new
    }

    /// Counts a denial of `source`, which is one `within` another, in the second that was begun. `text` is all that its row would say.
    pub(super) fn keep(
        &mut self,
        kind: Kind,
        (within, source): (&Source, &Source),
        text: &str,
        now: Duration,
    ) -> Kept {
        // Who can name anybody must not have said what somebody else is about to say.
        let said = self.hasher.hash_one((kind as u8, within, text));
        if kind != Kind::Request
            && let Some(same) = self.said.get_mut(&said).filter(|said| now.saturating_sub(said.at) < SAME)
        {
            same.again += 1;
            return Kept::Same;
        }
        if !self.left[kind as usize].take(within, source) {
            self.suppressed += 1;
            return Kept::TooMany;
        }
        if kind == Kind::Request {
            return Kept::Row(0);
        }
        if self.said.len() >= SAID {
            self.said.retain(|_, said| now.saturating_sub(said.at) < SAME);
        }
        let before = self.said.insert(said, Said { at: now, again: 0 });
        Kept::Row(before.map_or(0, |said| said.again))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Source {
        Source::Cluster(name.to_owned())
    }

    /// How many of so many different denials of a user are kept in one second.
    fn kept(denials: &mut Denials, kind: Kind, source: &Source, many: u64, now: Duration) -> usize {
        let texts = (0..many).map(|i| format!("{source:?} {now:?} {i}"));
        let kept = texts.map(|text| denials.keep(kind, (source, source), &text, now));
        kept.filter(|kept| matches!(kept, Kept::Row(_))).count()
    }

    #[test]
    fn nobody_takes_the_rows_of_others() {
        let (mut denials, now) = (Denials::default(), Duration::from_secs(5));
        assert!(denials.begin(now) && !denials.begin(now));
        assert_eq!(kept(&mut denials, Kind::Review, &user("mallory"), 1000, now), 10);
        assert_eq!(kept(&mut denials, Kind::Review, &user("alice"), 3, now), 3);
        // Many at once leave something too, and nothing of it is taken from other kinds.
        for i in 0..12 {
            assert!(kept(&mut denials, Kind::Review, &user(&format!("m{i}")), 1000, now) > 0, "{i}");
        }
        for kind in [Kind::Request, Kind::Unproved] {
            assert_eq!(kept(&mut denials, kind, &user("mallory"), 1000, now), 10);
        }
        let later = now + Duration::from_secs(1);
        assert!(denials.begin(later));
        assert_eq!(kept(&mut denials, Kind::Review, &user("mallory"), 1000, later), 10);
    }

    #[test]
    fn what_is_said_again_is_one_row_with_a_count() {
        let (mut denials, now) = (Denials::default(), Duration::from_secs(5));
        let mut say = |seconds: u64| {
            let now = now + Duration::from_secs(seconds);
            denials.begin(now);
            denials.keep(Kind::Review, (&Source::Nobody, &user("alice")), "the same", now)
        };
        assert_eq!(say(0), Kept::Row(0));
        assert_eq!([say(0), say(1), say(59)], [Kept::Same; 3]);
        assert_eq!(say(60), Kept::Row(3));
        assert_eq!(say(61), Kept::Same);
        // Of requests each counts.
        denials.begin(now);
        let mut request = || denials.keep(Kind::Request, (&Source::Nobody, &Source::Nobody), "the same", now);
        assert_eq!([request(), request()], [Kept::Row(0); 2]);
    }
}
