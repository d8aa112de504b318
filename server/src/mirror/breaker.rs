//! Leaves alone what has failed several times in a row, or has asked for it (`Retry-After`): a repository of an upstream
//! where it answers with errors, the whole upstream where nobody answers.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rreg_oci::RepositoryName;

/// Failures in a row after which nothing is asked for a while.
const FAILURES: u32 = 5;
/// How long, the first time; doubles with each failed attempt after that.
const FIRST: Duration = Duration::from_secs(5);
/// Longest time, also where the upstream asks for more.
const LONGEST: Duration = Duration::from_secs(300);
/// Most repositories whose failures are remembered. Those that may be asked are forgotten first; beyond that, further ones
/// are not counted.
const REPOSITORIES: usize = 10_000;

/// What a failure tells about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// The repository that was asked for: the upstream has answered.
    Repository,
    /// The upstream: there was no connection.
    Upstream,
    /// Nothing came. That is the repository's, unless another one was silent before it.
    Silence,
}

/// Why nothing is asked now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Closed {
    /// For how long.
    pub(super) wait: Duration,
    /// The last failure.
    pub(super) why: String,
    /// Whether it is the whole upstream.
    pub(super) is_all: bool,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// No request before this.
    until: Option<Instant>,
    why: String,
}

impl State {
    /// When the time is over, one request goes out as a probe and the others wait for what becomes of it.
    fn admit(&mut self, now: Instant, is_all: bool) -> Result<(), Closed> {
        match self.until {
            Some(until) if until > now => Err(Closed { wait: until - now, why: self.why.clone(), is_all }),
            Some(_) => {
                self.until = Some(now + FIRST);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn failed(&mut self, now: Instant, asked: Option<Duration>, why: &str) {
        self.failures = self.failures.saturating_add(1);
        let beyond = self.failures.saturating_sub(FAILURES);
        let own = (self.failures >= FAILURES).then(|| FIRST.saturating_mul(2u32.saturating_pow(beyond)));
        if let Some(wait) = asked.max(own) {
            self.until = Some(now + wait.min(LONGEST));
            self.why = why.to_owned();
        }
    }
}

#[derive(Debug, Default)]
struct States {
    all: State,
    repositories: HashMap<RepositoryName, State>,
    /// The repository that was silent last, since there was an answer.
    silent: Option<RepositoryName>,
}

impl States {
    fn lives(&mut self) {
        self.all = State::default();
        self.silent = None;
    }

    fn repository(&mut self, repository: &RepositoryName, now: Instant) -> Option<&mut State> {
        if self.repositories.len() >= REPOSITORIES && !self.repositories.contains_key(repository) {
            self.repositories.retain(|_, state| state.until.is_some_and(|until| until > now));
            if self.repositories.len() >= REPOSITORIES {
                return None;
            }
        }
        Some(self.repositories.entry(repository.clone()).or_default())
    }
}

/// The state of one upstream and its repositories, shared by all requests.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<States>);

impl Breaker {
    fn states(&self) -> MutexGuard<'_, States> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request about `repository` may go out.
    pub(super) fn admit(&self, now: Instant, repository: &RepositoryName) -> Result<(), Closed> {
        let mut states = self.states();
        // The repository first: what does not go out is no probe of the upstream.
        states.repositories.get_mut(repository).map_or(Ok(()), |state| state.admit(now, false))?;
        states.all.admit(now, true)
    }

    /// The upstream has answered, whatever it said.
    pub(super) fn lives(&self) {
        self.states().lives();
    }

    /// It has answered about `repository` as it should.
    pub(super) fn succeeded(&self, repository: &RepositoryName) {
        let mut states = self.states();
        states.lives();
        states.repositories.remove(repository);
    }

    /// A request about `repository` has failed; `asked` is the `Retry-After` of the answer.
    pub(super) fn failed(
        &self,
        now: Instant,
        repository: &RepositoryName,
        extent: Extent,
        (asked, why): (Option<Duration>, &str),
    ) {
        let mut states = self.states();
        let is_all = match extent {
            Extent::Upstream => true,
            Extent::Repository => {
                states.lives();
                false
            }
            Extent::Silence => {
                let before = states.silent.replace(repository.clone());
                before.is_some_and(|before| before != *repository)
            }
        };
        if is_all {
            states.all.failed(now, asked, why);
        }
        if extent != Extent::Upstream
            && let Some(state) = states.repository(repository, now)
        {
            state.failed(now, asked, why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (RepositoryName, RepositoryName) {
        ("a/one".parse().unwrap(), "a/two".parse().unwrap())
    }

    fn closed(wait: Duration, why: &str, is_all: bool) -> Result<(), Closed> {
        Err(Closed { wait, why: why.into(), is_all })
    }

    #[test]
    fn opens_probes_and_closes() {
        let (one, two) = names();
        for (extent, is_all) in [(Extent::Upstream, true), (Extent::Repository, false)] {
            let (breaker, start) = (Breaker::default(), Instant::now());
            for _ in 1..FAILURES {
                breaker.failed(start, &one, extent, (None, "x"));
                assert!(breaker.admit(start, &one).is_ok());
            }
            breaker.failed(start, &one, extent, (None, "refused"));
            assert_eq!(breaker.admit(start, &one), closed(FIRST, "refused", is_all));
            assert_eq!(breaker.admit(start, &two).is_err(), is_all, "the others");
            let later = start + FIRST;
            assert!(breaker.admit(later, &one).is_ok(), "one probe");
            assert!(breaker.admit(later, &one).is_err(), "and no second");
            breaker.failed(later, &one, extent, (None, "again"));
            assert_eq!(breaker.admit(later, &one), closed(FIRST * 2, "again", is_all));
            breaker.succeeded(&one);
            assert!(breaker.admit(later, &one).is_ok());
        }
    }

    #[test]
    fn silence_of_one_is_not_that_of_all() {
        let ((one, two), now) = (names(), Instant::now());
        let breaker = Breaker::default();
        for _ in 0..4 * FAILURES {
            breaker.failed(now, &one, Extent::Silence, (None, "silent"));
        }
        assert!(breaker.admit(now, &one).is_err() && breaker.admit(now, &two).is_ok());
        for _ in 0..FAILURES {
            breaker.failed(now, &two, Extent::Silence, (None, "silent"));
            breaker.lives();
            breaker.failed(now, &one, Extent::Silence, (None, "silent"));
        }
        let other = "b".parse().unwrap();
        assert!(breaker.admit(now, &other).is_ok(), "somebody had an answer");
        for _ in 0..FAILURES {
            breaker.failed(now, &two, Extent::Silence, (None, "silent"));
            breaker.failed(now, &one, Extent::Silence, (None, "silent"));
        }
        assert!(breaker.admit(now, &other).is_err());
    }

    #[test]
    fn retry_after_is_honoured_within_reason() {
        let ((one, two), now) = (names(), Instant::now());
        let breaker = Breaker::default();
        breaker.failed(now, &one, Extent::Repository, (Some(Duration::from_secs(30)), "429"));
        assert_eq!(breaker.admit(now, &one), closed(Duration::from_secs(30), "429", false));
        assert!(breaker.admit(now, &two).is_ok());
        breaker.failed(now, &one, Extent::Repository, (Some(Duration::from_secs(1 << 40)), "429"));
        assert_eq!(breaker.admit(now, &one), closed(LONGEST, "429", false));
    }

    #[test]
    fn it_remembers_no_more_than_so_many() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for number in 0..REPOSITORIES + 10 {
            let name = format!("a/r{number}").parse().unwrap();
            breaker.failed(now, &name, Extent::Repository, (None, "500"));
        }
        assert!(breaker.states().repositories.len() <= REPOSITORIES);
    }
}
