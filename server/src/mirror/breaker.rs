//! Leaves alone what has failed several times in a row, or has asked for it (`Retry-After`): a repository of an upstream
//! where it answers with errors, the whole upstream where nobody answers or where it wants nothing more of our account for a
//! while. Lists, which an upstream need not have, are counted apart from content, and their silence is theirs alone.

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
    /// Had no answer for a while, and has had none since. Where content hangs, lists of the same repository are taken to hang
    /// too, until either is answered.
    silent: Option<Part>,
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
        let until = asked.max(own).map(|wait| now + wait.min(LONGEST));
        // Of two answers, the one that was under way longer may ask for less.
        if until.is_some() && until >= self.until {
            self.until = until;
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
    /// The repository whose content was silent last, since there was an answer.
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

    /// A request about this part of `repository` had no answer for a while.
    fn late(&mut self, repository: &RepositoryName, part: Part, now: Instant) {
        if let Some(state) = self.part(repository, part, now) {
            state.silent = Some(part);
        }
        if part == Part::Content
            && let Some(lists) = self.part(repository, Part::Lists, now)
        {
            lists.silent.get_or_insert(part);
        }
    }

    /// There was an answer about it.
    fn answered(&mut self, repository: &RepositoryName, part: Part) {
        self.lives();
        for of in [Part::Content, Part::Lists] {
            if let Some(state) = self.parts.get_mut(&(repository.clone(), of))
                && (of == part || state.silent == Some(part))
            {
                state.silent = None;
            }
        }
    }

    /// Whether this silence is not the first: nobody had an answer since that of the content of another repository. How many
    /// lists are silent says nothing of the rest.
    fn is_silence_of_all(&mut self, repository: &RepositoryName, part: Part) -> bool {
        if part == Part::Lists {
            return false;
        }
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

    /// Whether a request about this part of `repository`, or about the content of several others, has had no answer for a
    /// while.
    pub(super) fn is_silent(&self, repository: &RepositoryName, part: Part) -> bool {
        let states = self.states();
        let own = states.parts.get(&(repository.clone(), part));
        states.all.silent.or(own.and_then(|it| it.silent)).is_some()
    }

    /// The answer to a request has not come for a while. It may still.
    pub(super) fn late(&self, now: Instant, repository: &RepositoryName, part: Part) {
        let mut states = self.states();
        if states.is_silence_of_all(repository, part) {
            states.all.silent = Some(part);
        }
        states.late(repository, part, now);
    }

    /// The upstream has answered about this part of `repository`, whatever it said.
    pub(super) fn answered(&self, repository: &RepositoryName, part: Part) {
        self.states().answered(repository, part);
    }

    /// It has answered about this part of `repository` as it should.
    pub(super) fn succeeded(&self, repository: &RepositoryName, part: Part) {
        let mut states = self.states();
        states.answered(repository, part);
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
                let until = now + asked.unwrap_or(FIRST).min(LONGEST);
                // Of two answers, the one that was under way longer may ask for less.
                if states.quiet.as_ref().is_none_or(|(before, _)| *before <= until) {
                    states.quiet = Some((until, why.to_owned()));
                }
                return;
            }
            Extent::Repository => {
                states.answered(repository, part);
                false
            }
            Extent::Silence => states.is_silence_of_all(repository, part),
        };
        let weight = if is_silence { OF_SILENCE } else { 1 };
        if is_all {
            states.all.failed(now, weight, asked, why);
            states.all.silent = states.all.silent.or(is_silence.then_some(part));
        }
        if extent != Extent::Upstream
            && let Some(state) = states.part(repository, part, now)
        {
            state.failed(now, weight, asked, why);
        }
        if is_silence {
            states.late(repository, part, now);
        }
    }
}

#[cfg(test)]
mod tests;
