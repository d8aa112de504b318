//! How long a review may take: an API server that waits in vain tells nobody why.

use std::time::Duration;

use http::Uri;
use tokio::time::Instant;

/// What is kept of the API server's time for the way of the answer.
const WAY: Duration = Duration::from_millis(500);
/// From the end of the time for decisions to the answer: whatever is asked of the database then still has to come.
const REST: Duration = Duration::from_secs(1);

/// Until when what is done about one review.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    /// Past it, each policy's `onError` speaks for what is not decided yet.
    pub(super) decide: Instant,
    /// Past it, it is answered that there is no answer.
    pub(super) answer: Instant,
}

impl Times {
    /// For a review that comes now. API servers say how long they wait (`?timeout=5s`, from `timeoutSeconds`), and `timeout`
    /// is `policy.timeout`; the shorter counts.
    pub(super) fn of(uri: &Uri, timeout: Duration, now: Instant) -> Self {
        let given = uri.query().into_iter().flat_map(|query| query.split('&'));
        let given = given.filter_map(|pair| pair.strip_prefix("timeout=")).find_map(seconds);
        let longest = timeout.saturating_add(REST);
        let answer = given.map_or(longest, |given| longest.min(given.saturating_sub(WAY).max(given / 2)));
        let decide = timeout.min(answer.saturating_sub(REST).max(answer / 2));
        Self { decide: now + decide, answer: now + answer }
    }
}

/// A time as Go writes it, of whole seconds up to a minute: what API servers take for `timeoutSeconds` is 1 to 30.
fn seconds(text: &str) -> Option<Duration> {
    let seconds: u64 = text.strip_suffix('s')?.parse().ok()?;
    (1..=60).contains(&seconds).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_comes_before_the_api_server_leaves() {
        let times = |query: &str, timeout: u64| {
            let uri = format!("/admission/v1/validate{query}").parse().unwrap();
            let now = Instant::now();
            let times = Times::of(&uri, Duration::from_secs(timeout), now);
            ((times.decide - now).as_millis(), (times.answer - now).as_millis())
        };
        // The manifests of deploy/kubernetes.
        assert_eq!(times("?timeout=5s", 3), (3000, 4000));
        assert_eq!(times("", 3), (3000, 4000));
        assert_eq!(times("?timeout=10s", 3), (3000, 4000));
        // Set too long: the API server's time counts.
        assert_eq!(times("?timeout=5s", 60), (3500, 4500));
        assert_eq!(times("?a=b&timeout=1s", 3), (250, 500));
        for none in
            ["?timeout=", "?timeout=0s", "?timeout=1h0m0s", "?timeout=-1s", "?timeout=99999999999999999999s"]
        {
            assert_eq!(times(none, 3), (3000, 4000), "{none}");
        }
    }
}
