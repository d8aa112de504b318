//! Which failures are worth another attempt, and when.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;
use reqwest::StatusCode;

use super::error::{ClientError, ErrorKind};

/// Bounded retries with exponential backoff.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Attempts after the first.
    pub retries: u32,
    /// Wait before the second attempt; doubles from there.
    pub first: Duration,
    /// Longest wait. A `Retry-After` beyond it ends the attempts: the user decides, not a sleeping process.
    pub longest: Duration,
    /// Whether a request that was not answered at all is sent again.
    pub after_silence: bool,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            retries: 4,
            first: Duration::from_millis(250),
            longest: Duration::from_secs(60),
            after_silence: true,
        }
    }
}

impl RetryPolicy {
    /// How long to wait before attempt `attempt + 1` after this answer; `None` when the answer stands.
    /// `jitter` is in 0..1 and spreads clients that failed together.
    pub(crate) fn after_status(
        &self,
        attempt: u32,
        status: StatusCode,
        headers: &HeaderMap,
        jitter: f64,
    ) -> Option<Duration> {
        let transient = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        if !transient || attempt >= self.retries {
            return None;
        }
        match retry_after(headers) {
            Some(asked) => (asked <= self.longest).then_some(asked),
            None => Some(self.backoff(attempt, jitter)),
        }
    }

    /// The same after a failure without an answer.
    pub(crate) fn after_error(&self, attempt: u32, error: &ClientError, jitter: f64) -> Option<Duration> {
        let transient = matches!(*error.kind, ErrorKind::Transport(_) | ErrorKind::Timeout(_));
        (transient && attempt < self.retries).then(|| self.backoff(attempt, jitter))
    }

    /// Half fixed, half spread.
    pub(crate) fn backoff(&self, attempt: u32, jitter: f64) -> Duration {
        let full = self.first.saturating_mul(2u32.saturating_pow(attempt)).min(self.longest);
        full.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

/// `Retry-After` in seconds (RFC 9110, 10.2.3). The date form is not used by registries and is ignored.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rreg_oci::Operation;

    #[test]
    fn decisions() {
        let policy = RetryPolicy::default();
        let none = HeaderMap::new();
        let after = |attempt, status: u16, headers: &HeaderMap| {
            policy.after_status(attempt, StatusCode::from_u16(status).unwrap(), headers, 1.0)
        };
        for status in [429, 502, 503, 504] {
            assert_eq!(after(0, status, &none), Some(policy.first), "{status}");
            assert_eq!(after(policy.retries, status, &none), None, "{status}");
        }
        for status in [200, 201, 400, 401, 403, 404, 416, 500, 501] {
            assert_eq!(after(0, status, &none), None, "{status}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        assert_eq!(after(0, 429, &headers), Some(Duration::from_secs(7)));
        headers.insert(RETRY_AFTER, "86400".parse().unwrap());
        assert_eq!(after(0, 429, &headers), None, "a day is not waited for");
    }

    #[test]
    fn errors_and_growth() {
        let policy = RetryPolicy::default();
        let error = |kind| ClientError::new(&Operation::Ping, "h.x", kind);
        assert!(policy.after_error(0, &error(ErrorKind::Transport("reset".into())), 0.5).is_some());
        assert!(policy.after_error(0, &error(ErrorKind::Protocol("x".into())), 0.5).is_none());
        assert!(policy.backoff(1, 0.0) < policy.backoff(1, 1.0));
        assert_eq!(policy.backoff(40, 1.0), policy.longest);
    }
}
