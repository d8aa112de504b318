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
        breaker.admit(now, &one, Part::Content).is_err() && breaker.admit(now, &two, Part::Content).is_ok()
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
    let is_silent = |name: &RepositoryName| breaker.is_silent(name, Part::Content);
    breaker.late(now, &one, Part::Content);
    assert!(is_silent(&one) && !is_silent(&two), "it is one's");
    assert!(breaker.admit(now, &one, Part::Content).is_ok(), "which may be asked");
    breaker.answered(&one, Part::Content);
    assert!(!is_silent(&one));
    breaker.late(now, &one, Part::Content);
    breaker.late(now, &two, Part::Content);
    assert!(is_silent(&"b".parse().unwrap()), "two without an answer between are all");
    breaker.succeeded(&two, Part::Content);
    assert!(is_silent(&one) && !is_silent(&two));
    for _ in 0..FAILURES.div_ceil(OF_SILENCE) {
        breaker.failed(now, (&two, Part::Lists), Extent::Silence, (None, "silent"));
    }
    assert!(breaker.admit(now, &two, Part::Lists).is_err());
    breaker.answered(&one, Part::Content);
    assert!(breaker.admit(now, &two, Part::Content).is_ok(), "lists are left alone by themselves");
}

#[test]
fn lists_and_content_are_silent_each_by_itself() {
    let ((one, two), now) = (names(), Instant::now());
    let other = "b".parse().unwrap();
    let breaker = Breaker::default();
    breaker.late(now, &one, Part::Lists);
    assert!(breaker.is_silent(&one, Part::Lists) && !breaker.is_silent(&one, Part::Content));
    breaker.succeeded(&one, Part::Content);
    assert!(breaker.is_silent(&one, Part::Lists), "content says nothing of lists");
    breaker.late(now, &one, Part::Content);
    breaker.succeeded(&one, Part::Lists);
    assert!(breaker.is_silent(&one, Part::Content) && !breaker.is_silent(&one, Part::Lists));
    breaker.late(now, &two, Part::Content);
    assert!(breaker.is_silent(&two, Part::Lists), "where content hangs, nobody waits long for lists");
    breaker.answered(&two, Part::Content);
    assert!(!breaker.is_silent(&two, Part::Lists) && breaker.is_silent(&one, Part::Content));
    breaker.succeeded(&one, Part::Content);
    // However many lists hang, and though no content is asked for between.
    for _ in 0..FAILURES {
        for name in [&one, &two] {
            breaker.late(now, name, Part::Lists);
            breaker.failed(now, (name, Part::Lists), Extent::Silence, (None, "silent"));
        }
    }
    for name in [&one, &two, &other] {
        assert!(!breaker.is_silent(name, Part::Content));
        assert!(breaker.admit(now, name, Part::Content).is_ok(), "lists are left alone by themselves");
    }
    assert!(breaker.admit(now, &two, Part::Lists).is_err() && !breaker.is_silent(&other, Part::Lists));
}

#[test]
fn a_shorter_wait_replaces_no_longer_one() {
    let ((one, two), now) = (names(), Instant::now());
    for (extent, is_all) in [(Extent::Account, true), (Extent::Repository, false)] {
        let breaker = Breaker::default();
        let (long, short) = (Duration::from_secs(120), Duration::from_secs(1));
        breaker.failed(now, (&one, Part::Content), extent, (Some(long), "long"));
        for asked in [Some(short), None] {
            breaker.failed(now, (&one, Part::Content), extent, (asked, "short"));
            assert_eq!(breaker.admit(now, &one, Part::Content), closed(long, "long", is_all));
        }
        assert!(breaker.admit(now + long, &one, Part::Content).is_ok());
        assert!(breaker.admit(now + long, &two, Part::Content).is_ok());
    }
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
    breaker.failed(now, (&one, Part::Content), Extent::Repository, (Some(Duration::from_secs(30)), "429"));
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
