//! Until when a decision holds: the first moment at which time alone may change it.

use std::cell::Cell;

use chrono::{DateTime, Utc};

use crate::rules::Exemption;
use crate::verdict::Verification;

/// Collects the moments that answers depended on. Everything that compares with the time does it here.
pub(super) struct Horizon {
    now: DateTime<Utc>,
    end: Cell<Option<DateTime<Utc>>>,
}

impl Horizon {
    pub(super) fn new(now: DateTime<Utc>) -> Self {
        Self { now, end: Cell::new(None) }
    }

    /// The first of the moments that is to come.
    pub(super) fn end(&self) -> Option<DateTime<Utc>> {
        self.end.get()
    }

    /// Notes a moment at which something changes. One too far away to be a date never comes.
    pub(super) fn note(&self, moment: Option<DateTime<Utc>>) {
        let Some(moment) = moment.filter(|moment| self.now < *moment) else { return };
        let earlier = self.end.get().is_none_or(|end| moment < end);
        if earlier {
            self.end.set(Some(moment));
        }
    }

    /// Whether a moment is still to come; it is noted.
    pub(super) fn is_before(&self, moment: Option<DateTime<Utc>>) -> bool {
        self.note(moment);
        moment.is_none_or(|moment| self.now < moment)
    }

    /// Whether an exemption holds; its end is noted.
    pub(super) fn holds(&self, exemption: &Exemption) -> bool {
        self.note(Some(exemption.until));
        exemption.holds(self.now)
    }

    /// Whether what a verification found is still true.
    pub(super) fn is_current(&self, verification: &Verification) -> bool {
        verification.holds_until.is_none_or(|end| self.is_before(Some(end)))
    }
}
