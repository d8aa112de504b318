//! Leaves alone what has failed several times in a row, or has asked for it (`Retry-After`): a repository of an upstream
//! where it answers with errors, the whole upstream where nobody answers or where it wants nothing more of our account for a
//! while. Lists, which an upstream need not have, are counted apart from content.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rreg_oci::RepositoryName;

/// Failures in a row after which nothing is asked for a while.
const FAILURES: u32 = 5;
/// A silence counts as so many failures: each costs a client the whole wait.
const OF_SILENCE: u32 = 2;
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
    /// All that is asked with our account: a 429 that says how long the upstream wants nothing more of it.
    Account,
}

/// What of a repository is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// Manifests and blobs.
    Content,
    /// Tags and referrers.
    Lists,
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
    /// A request had no answer for a while, and none has come since.
    is_silent: bool,
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

    fn failed(&mut self, now: Instant, weight: u32, asked: Option<Duration>, why: &str) {
        self.failures = self.failures.saturating_add(weight);
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
    parts: HashMap<(RepositoryName, Part), State>,
    /// Until when the upstream wants nothing of our account, and the error that said so.
    quiet: Option<(Instant, String)>,
    /// The repository that was silent last, since there was an answer.
    silent: Option<RepositoryName>,
}

impl States {
    fn lives(&mut self) {
        self.all = State::default();
        self.silent = None;
    }

    fn part(&mut self, repository: &RepositoryName, part: Part, now: Instant) -> Option<&mut State> {
        let key = (repository.clone(), part);
        if self.parts.len() >= REPOSITORIES && !self.parts.contains_key(&key) {
            self.parts.retain(|_, state| state.until.is_some_and(|until| until > now));
            if self.parts.len() >= REPOSITORIES {
                return None;
            }
        }
        Some(self.parts.entry(key).or_default())
    }

    /// Whether the silence of `repository` is not the first: nobody had an answer since that of another.
    fn is_silence_of_all(&mut self, repository: &RepositoryName) -> bool {
        let before = self.silent.replace(repository.clone());
        before.is_some_and(|before| before != *repository)
    }
}

/// The state of one upstream and its repositories, shared by all requests.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<States>);

impl Breaker {
    fn states(&self) -> MutexGuard<'_, States> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request about this part of `repository` may go out.
    pub(super) fn admit(&self, now: Instant, repository: &RepositoryName, part: Part) -> Result<(), Closed> {
        let mut states = self.states();
        if let Some((until, why)) = &states.quiet {
            if *until > now {
                return Err(Closed { wait: *until - now, why: why.clone(), is_all: true });
            }
            states.quiet = None;
        }
        // The repository first: what does not go out is no probe of the upstream.
        let own = states.parts.get_mut(&(repository.clone(), part));
        own.map_or(Ok(()), |state| state.admit(now, false))?;
        states.all.admit(now, true)
    }

    /// Whether a request about `repository`, or about several others, has had no answer for a while.
    pub(super) fn is_silent(&self, repository: &RepositoryName) -> bool {
        let states = self.states();
        let is_silent = |part| states.parts.get(&(repository.clone(), part)).is_some_and(|it| it.is_silent);
        states.all.is_silent || is_silent(Part::Content) || is_silent(Part::Lists)
    }

    /// A request has waited for a while. It may still be answered.
    pub(super) fn waits(&self, now: Instant, repository: &RepositoryName, part: Part) {
        let mut states = self.states();
        if states.is_silence_of_all(repository) {
            states.all.is_silent = true;
        }
        if let Some(state) = states.part(repository, part, now) {
            state.is_silent = true;
        }
    }

    /// The upstream has answered about this part of `repository`, whatever it said.
    pub(super) fn answered(&self, repository: &RepositoryName, part: Part) {
        let mut states = self.states();
        states.lives();
        if let Some(state) = states.parts.get_mut(&(repository.clone(), part)) {
            state.is_silent = false;
        }
    }

    /// It has answered about this part of `repository` as it should.
    pub(super) fn succeeded(&self, repository: &RepositoryName, part: Part) {
        let mut states = self.states();
        states.lives();
        states.parts.remove(&(repository.clone(), part));
    }

    /// A request about this part of `repository` has failed; `asked` is the `Retry-After` of the answer.
    pub(super) fn failed(
        &self,
        now: Instant,
        (repository, part): (&RepositoryName, Part),
        extent: Extent,
        (asked, why): (Option<Duration>, &str),
    ) {
        let mut states = self.states();
        let is_silence = extent == Extent::Silence;
        let is_all = match extent {
            Extent::Upstream => true,
            Extent::Account => {
                states.lives();
                let wait = asked.unwrap_or(FIRST).min(LONGEST);
                states.quiet = Some((now + wait, why.to_owned()));
                return;
            }
            Extent::Repository => {
                states.lives();
                false
            }
            Extent::Silence => states.is_silence_of_all(repository),
        };
        let weight = if is_silence { OF_SILENCE } else { 1 };
        if is_all {
            states.all.failed(now, weight, asked, why);
            states.all.is_silent |= is_silence;
        }
        if extent != Extent::Upstream
            && let Some(state) = states.part(repository, part, now)
        {
            state.failed(now, weight, asked, why);
            state.is_silent = is_silence;
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
                breaker.failed(start, (&one, Part::Content), extent, (None, "x"));
                assert!(breaker.admit(start, &one, Part::Content).is_ok());
            }
            breaker.failed(start, (&one, Part::Content), extent, (None, "refused"));
            assert_eq!(breaker.admit(start, &one, Part::Content), closed(FIRST, "refused", is_all));
            assert_eq!(breaker.admit(start, &two, Part::Content).is_err(), is_all, "the others");
            let later = start + FIRST;
            assert!(breaker.admit(later, &one, Part::Content).is_ok(), "one probe");
            assert!(breaker.admit(later, &one, Part::Content).is_err(), "and no second");
            breaker.failed(later, (&one, Part::Content), extent, (None, "again"));
            assert_eq!(breaker.admit(later, &one, Part::Content), closed(FIRST * 2, "again", is_all));
            breaker.succeeded(&one, Part::Content);
            assert!(breaker.admit(later, &one, Part::Content).is_ok());
        }
    }

    #[test]
    fn silence_of_one_is_not_that_of_all() {
        let ((one, two), now) = (names(), Instant::now());
        let breaker = Breaker::default();
        let other = "b".parse().unwrap();
        for _ in 0..4 * FAILURES {
            breaker.failed(now, (&one, Part::Content), Extent::Silence, (None, "silent"));
        }
        assert!(
            breaker.admit(now, &one, Part::Content).is_err()
                && breaker.admit(now, &two, Part::Content).is_ok()
        );
        for _ in 0..FAILURES {
            breaker.failed(now, (&two, Part::Content), Extent::Silence, (None, "silent"));
            breaker.answered(&other, Part::Content);
            breaker.failed(now, (&one, Part::Content), Extent::Silence, (None, "silent"));
        }
        assert!(breaker.admit(now, &other, Part::Content).is_ok(), "somebody had an answer");
        for _ in 0..FAILURES {
            breaker.failed(now, (&two, Part::Content), Extent::Silence, (None, "silent"));
            breaker.failed(now, (&one, Part::Content), Extent::Silence, (None, "silent"));
        }
        assert!(breaker.admit(now, &other, Part::Content).is_err());
    }

    #[test]
    fn a_silence_is_known_until_there_is_an_answer() {
        let ((one, two), now) = (names(), Instant::now());
        let breaker = Breaker::default();
        breaker.waits(now, &one, Part::Content);
        assert!(breaker.is_silent(&one) && !breaker.is_silent(&two), "it is one's");
        assert!(breaker.admit(now, &one, Part::Content).is_ok(), "which may be asked");
        breaker.answered(&one, Part::Content);
        assert!(!breaker.is_silent(&one));
        breaker.waits(now, &one, Part::Lists);
        breaker.waits(now, &two, Part::Content);
        assert!(breaker.is_silent(&"b".parse().unwrap()), "two without an answer between are all");
        breaker.succeeded(&two, Part::Content);
        assert!(breaker.is_silent(&one) && !breaker.is_silent(&two));
        for _ in 0..FAILURES.div_ceil(OF_SILENCE) {
            breaker.failed(now, (&two, Part::Lists), Extent::Silence, (None, "silent"));
        }
        assert!(breaker.admit(now, &two, Part::Lists).is_err());
        breaker.answered(&one, Part::Content);
        assert!(breaker.admit(now, &two, Part::Content).is_ok(), "lists are left alone by themselves");
    }

    #[test]
    fn what_an_account_is_told_holds_for_all() {
        let ((one, two), now) = (names(), Instant::now());
        let breaker = Breaker::default();
        let minute = Duration::from_secs(60);
        breaker.failed(now, (&one, Part::Lists), Extent::Account, (Some(minute), "429"));
        breaker.succeeded(&one, Part::Content);
        for name in [&one, &two] {
            assert_eq!(breaker.admit(now, name, Part::Content), closed(minute, "429", true));
        }
        assert!(breaker.admit(now + minute, &two, Part::Content).is_ok());
        breaker.failed(now, (&one, Part::Content), Extent::Account, (Some(minute * 600), "429"));
        assert_eq!(breaker.admit(now, &two, Part::Content), closed(LONGEST, "429", true));
    }

    #[test]
    fn retry_after_is_honoured_within_reason() {
        let ((one, two), now) = (names(), Instant::now());
        let breaker = Breaker::default();
        breaker.failed(
            now,
            (&one, Part::Content),
            Extent::Repository,
            (Some(Duration::from_secs(30)), "429"),
        );
        assert_eq!(breaker.admit(now, &one, Part::Content), closed(Duration::from_secs(30), "429", false));
        assert!(breaker.admit(now, &two, Part::Content).is_ok());
        breaker.failed(
            now,
            (&one, Part::Content),
            Extent::Repository,
            (Some(Duration::from_secs(1 << 40)), "429"),
        );
        assert_eq!(breaker.admit(now, &one, Part::Content), closed(LONGEST, "429", false));
    }

    #[test]
    fn it_remembers_no_more_than_so_many() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for number in 0..REPOSITORIES + 10 {
            let name = format!("a/r{number}").parse().unwrap();
            breaker.failed(now, (&name, Part::Content), Extent::Repository, (None, "500"));
        }
        assert!(breaker.states().parts.len() <= REPOSITORIES);
    }
}
