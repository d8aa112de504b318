//! Leaves an upstream alone that has failed several times in a row, or has asked for it (`Retry-After`).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures in a row after which the upstream is left alone.
const FAILURES: u32 = 5;
/// How long, the first time; doubles with each failed attempt after that.
const FIRST: Duration = Duration::from_secs(5);
/// Longest time, also where the upstream asks for more.
const LONGEST: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// No request before this.
    until: Option<Instant>,
    why: String,
}

/// The state of one upstream, shared by all requests.
#[derive(Debug, Default)]
pub(crate) struct Breaker(Mutex<State>);

impl Breaker {
    /// Whether a request may go out; otherwise how long to wait, and why. When the time is over, one request goes
    /// out as a probe and the others wait for what becomes of it.
    pub(crate) fn admit(&self, now: Instant) -> Result<(), (Duration, String)> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.until {
            Some(until) if until > now => Err((until - now, state.why.clone())),
            Some(_) => {
                state.until = Some(now + FIRST);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The upstream has answered as it should.
    pub(crate) fn succeeded(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State::default();
    }

    /// The upstream has failed; `asked` is its `Retry-After`.
    pub(crate) fn failed(&self, now: Instant, asked: Option<Duration>, why: &str) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.failures = state.failures.saturating_add(1);
        let beyond = state.failures.saturating_sub(FAILURES);
        let own = (state.failures >= FAILURES).then(|| FIRST.saturating_mul(2u32.saturating_pow(beyond)));
        if let Some(wait) = asked.max(own) {
            state.until = Some(now + wait.min(LONGEST));
            state.why = why.to_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_probes_and_closes() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        for _ in 1..FAILURES {
            breaker.failed(start, None, "x");
            assert!(breaker.admit(start).is_ok());
        }
        breaker.failed(start, None, "refused");
        assert_eq!(breaker.admit(start), Err((FIRST, "refused".into())));
        let later = start + FIRST;
        assert!(breaker.admit(later).is_ok(), "one probe");
        assert!(breaker.admit(later).is_err(), "and no second");
        breaker.failed(later, None, "again");
        assert_eq!(breaker.admit(later), Err((FIRST * 2, "again".into())));
        breaker.succeeded();
        assert!(breaker.admit(later).is_ok());
    }

    #[test]
    fn retry_after_is_honoured_within_reason() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        breaker.failed(start, Some(Duration::from_secs(17)), "429");
        assert_eq!(breaker.admit(start), Err((Duration::from_secs(17), "429".into())));
        breaker.failed(start, Some(Duration::from_secs(1_000_000)), "429");
        assert_eq!(breaker.admit(start), Err((LONGEST, "429".into())));
    }
}
