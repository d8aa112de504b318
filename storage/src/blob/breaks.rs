//! How often an object is read on where the store's answers break off.

/// Most answers that break off with less than [`PROGRESS`] bytes between them.
const MAX_BREAKS: u32 = 8;
/// So many bytes after a break, an answer counts as working again.
const PROGRESS: u64 = 1 << 20;

/// Answers of the store that broke off.
#[derive(Default)]
pub(super) struct Breaks {
    times: u32,
    /// Bytes that had still to be sent at the last one.
    remaining: u64,
}

impl Breaks {
    /// Counts one, with so many bytes still to be sent. `false`: too often for what came between.
    pub(super) fn count(&mut self, remaining: u64) -> bool {
        if self.remaining.saturating_sub(remaining) >= PROGRESS {
            self.times = 0;
        }
        self.remaining = remaining;
        self.times += 1;
        self.times <= MAX_BREAKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_on_ends_without_progress() {
        let mut breaks = Breaks::default();
        let mut remaining = 100 * PROGRESS;
        for _ in 0..50 {
            remaining -= PROGRESS;
            assert!(breaks.count(remaining), "that is progress");
        }
        let often = (0..100).take_while(|byte| breaks.count(remaining - byte)).count();
        assert_eq!(often, MAX_BREAKS as usize - 1);
    }
}
