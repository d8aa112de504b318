//! How much work an expression may do, counted in values and bytes that it touches.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cel::common::types::{CelBytes, CelList, CelMap, CelString};
use cel::common::value::Val;

/// Work that one expression may do. A million takes some tens of milliseconds.
pub(super) const MAX_WORK: u64 = 4_000_000;

/// What is left.
#[derive(Debug)]
pub(super) struct Budget {
    left: AtomicU64,
    spent: AtomicBool,
}

impl Budget {
    pub(super) fn new(work: u64) -> Self {
        Self { left: AtomicU64::new(work), spent: AtomicBool::new(false) }
    }

    /// Pays; `false` where there is not enough left, and ever after.
    pub(super) fn pay(&self, work: u64) -> bool {
        if self.is_spent() {
            return false;
        }
        let left = self.left.load(Ordering::Relaxed);
        match left.checked_sub(work) {
            Some(rest) => {
                self.left.store(rest, Ordering::Relaxed);
                true
            }
            None => {
                self.spent.store(true, Ordering::Relaxed);
                false
            }
        }
    }

    /// Whether more was asked for than there was.
    pub(super) fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed)
    }

    /// Pays for a value: one for each part, and its bytes.
    pub(super) fn pay_for(&self, value: &dyn Val) -> bool {
        if let Some(text) = value.downcast_ref::<CelString<'_>>() {
            return self.pay(1 + text.inner().len() as u64 / 16);
        }
        if let Some(bytes) = value.downcast_ref::<CelBytes<'_>>() {
            return self.pay(1 + bytes.inner().len() as u64 / 16);
        }
        if let Some(list) = value.downcast_ref::<CelList<'_>>() {
            return self.pay(1) && list.inner().iter().all(|element| self.pay_for(element.as_ref()));
        }
        if let Some(map) = value.downcast_ref::<CelMap<'_>>() {
            return self.pay(1)
                && map
                    .inner()
                    .iter()
                    .all(|(key, value)| self.pay_for(key.inner()) && self.pay_for(value.as_ref()));
        }
        self.pay(1)
    }
}
