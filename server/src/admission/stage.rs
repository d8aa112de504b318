//! How far the decisions have come that requests wait for. One that runs out of time while facts are gathered could not
//! be made, and `onError` says what that means; one that runs out of it while policies are asked is about an image that
//! somebody has made too much for them, and lets nothing through.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::Key;

type All = Arc<Mutex<HashMap<Key, Weak<Stage>>>>;

/// The stages of all decisions that somebody waits for.
#[derive(Default)]
pub(super) struct Stages(All);

/// How far one decision has come: the same for all who wait for it.
pub(super) struct Stage {
    gathered: AtomicBool,
    key: Key,
    all: All,
}

impl Stages {
    /// That of the decision on `key`. Whoever makes it keeps this for as long.
    pub(super) fn of(&self, key: &Key) -> Arc<Stage> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stage) = all.get(key).and_then(Weak::upgrade) {
            return stage;
        }
        let stage =
            Arc::new(Stage { gathered: AtomicBool::new(false), key: key.clone(), all: self.0.clone() });
        all.insert(key.clone(), Arc::downgrade(&stage));
        stage
    }
}

impl Stage {
    /// All facts are there. It stays so where they are gathered once more.
    pub(super) fn note_gathered(&self) {
        self.gathered.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_gathered(&self) -> bool {
        self.gathered.load(Ordering::Relaxed)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have begun anew in between.
        if all.get(&self.key).is_some_and(|stage| stage.strong_count() == 0) {
            all.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use rreg_oci::Digest;

    use super::*;

    #[test]
    fn all_who_wait_see_one_stage_and_it_goes_with_them() {
        let stages = Stages::default();
        let key =
            |revision: &str| ("team/app".parse().unwrap(), Digest::sha256(b"image"), revision.to_owned());
        let (first, second, other) = (stages.of(&key("a")), stages.of(&key("a")), stages.of(&key("b")));
        first.note_gathered();
        assert!(second.is_gathered() && !other.is_gathered());
        drop((first, second));
        assert!(!stages.of(&key("a")).is_gathered(), "another decision begins");
        drop(other);
        assert!(stages.0.lock().unwrap().is_empty());
    }
}
