//! Metrics with bounded label sets: the names of operations, classes of status, names of caches.
//!
//! Every time series is resolved when the server starts, so a request looks nothing up and takes no lock.

use std::time::Duration;

use http::StatusCode;
use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts,
    Registry, TextEncoder,
};
use rreg_oci::Operation;

use super::process::Process;

/// Operations, and one more for requests that are none.
const OPERATIONS: usize = Operation::NAMES.len() + 1;
const OTHER: &str = "other";
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// Seconds, from a manifest out of memory to a large layer over a slow line.
const BUCKETS: [f64; 14] =
    [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 300.0];

/// Hits and misses of one cache.
#[derive(Clone, Debug)]
pub struct CacheMetrics {
    /// Found in memory.
    pub hits: IntCounter,
    /// Not found in memory.
    pub misses: IntCounter,
}

/// What the pull-through cache does.
#[derive(Clone, Debug)]
pub struct MirrorMetrics {
    /// Blobs that an upstream was asked for.
    pub fills: IntCounter,
    /// Those that did not arrive, or not as their digest says, or could not be stored.
    pub failed_fills: IntCounter,
    /// Bytes of blobs received from upstreams.
    pub fill_bytes: IntCounter,
    /// Tags served although the upstream did not confirm them in time.
    pub stale: IntCounter,
    /// Bytes of blobs that were let go to stay within limits.
    pub evicted_bytes: IntCounter,
}

/// What listing the packages of pushed images does.
#[derive(Clone, Debug)]
pub struct SbomMetrics {
    /// Images whose lists were attached.
    pub attached: IntCounter,
    /// Attempts that failed, those that will be repeated included.
    pub failures: IntCounter,
    /// Images that were given up.
    pub given_up: IntCounter,
}

/// Decisions about images.
#[derive(Clone, Debug)]
pub struct PolicyMetrics {
    /// Decisions made in the background.
    pub decided: IntCounter,
    /// Decisions that a request had to wait for.
    pub decided_at_once: IntCounter,
    /// Requests that waited too long for one.
    pub late: IntCounter,
    /// Attempts that failed.
    pub failures: IntCounter,
    /// Requests refused by a policy.
    pub denied: IntCounter,
    /// Requests that policies warned of, by policy and point.
    pub warnings: IntCounterVec,
    /// Images that were allowed and are not any more.
    pub withdrawn: IntCounter,
    /// 1 while the policies that are set cannot be read, and those read last hold.
    pub broken: IntGauge,
}

/// Logins and the audit trail.
#[derive(Clone, Debug)]
pub struct AuthMetrics {
    /// Passwords that were hashed to be compared, right or wrong, of users or of nobody.
    pub password_checks: IntCounter,
    /// Audit events that could not be stored.
    pub audit_failures: IntCounter,
    /// Denials that were too many to be stored.
    pub audit_suppressed: IntCounter,
}

struct PerOperation {
    requests: [IntCounter; CLASSES.len()],
    duration: Histogram,
}

/// The server's metrics.
pub struct Metrics {
    registry: Registry,
    operations: Vec<PerOperation>,
    in_flight: IntGauge,
    process: Process,
    /// Bytes of request bodies received.
    pub request_bytes: IntCounter,
    /// Bytes of response bodies sent.
    pub response_bytes: IntCounter,
    /// Uploads that receive bytes now.
    pub uploads_in_progress: IntGauge,
    /// Stored content that was not what its digest says.
    pub integrity_failures: IntCounter,
    /// Records of manifests that are to be written to the object store.
    pub records_waiting: IntGauge,
    /// The pull-through cache.
    pub mirror: MirrorMetrics,
    /// Lists of packages.
    pub sbom: SbomMetrics,
    /// Decisions about images.
    pub policy: PolicyMetrics,
    /// Logins and the audit trail.
    pub auth: AuthMetrics,
    /// The cache of manifests.
    pub manifest_cache: CacheMetrics,
    /// The cache of small blobs.
    pub blob_cache: CacheMetrics,
    /// The cache from tag to digest.
    pub tag_cache: CacheMetrics,
}

/// Registers metrics under the names that they get.
struct Registrar(Registry);

impl Registrar {
    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        let counter = IntCounter::new(name, help)?;
        self.0.register(Box::new(counter.clone()))?;
        Ok(counter)
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        let gauge = IntGauge::new(name, help)?;
        self.0.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(counters.clone()))?;
        Ok(counters)
    }

    fn mirror(&self) -> prometheus::Result<MirrorMetrics> {
        Ok(MirrorMetrics {
            fills: self.counter("rreg_mirror_fills_total", "Blobs that an upstream was asked for.")?,
            failed_fills: self.counter(
                "rreg_mirror_failed_fills_total",
                "Blobs that could not be had from an upstream, or not be stored.",
            )?,
            fill_bytes: self
                .counter("rreg_mirror_fill_bytes_total", "Bytes of blobs received from upstreams.")?,
            evicted_bytes: self.counter(
                "rreg_mirror_evicted_bytes_total",
                "Bytes of blobs of upstreams that were let go to stay within limits.",
            )?,
            stale: self.counter(
                "rreg_mirror_stale_total",
                "Tags served although the upstream did not confirm them in time.",
            )?,
        })
    }

    fn sbom(&self) -> prometheus::Result<SbomMetrics> {
        Ok(SbomMetrics {
            attached: self.counter("rreg_sbom_attached_total", "Images whose SBOMs were attached.")?,
            failures: self.counter("rreg_sbom_failures_total", "Attempts to attach SBOMs that failed.")?,
            given_up: self.counter("rreg_sbom_given_up_total", "Images that get no SBOM.")?,
        })
    }

    fn policy(&self) -> prometheus::Result<PolicyMetrics> {
        Ok(PolicyMetrics {
            decided: self
                .counter("rreg_decisions_total", "Decisions about images made in the background.")?,
            decided_at_once: self.counter(
                "rreg_decisions_at_once_total",
                "Decisions about images that a request had to wait for.",
            )?,
            late: self.counter(
                "rreg_decisions_late_total",
                "Requests that went on without a decision after policy.timeout.",
            )?,
            failures: self
                .counter("rreg_decision_failures_total", "Attempts to decide about an image that failed.")?,
            denied: self.counter("rreg_policy_denied_total", "Requests refused by a policy.")?,
            warnings: self.counters(
                "rreg_policy_warnings_total",
                "Requests that a policy let go on with a warning.",
                &["policy", "point"],
            )?,
            withdrawn: self
                .counter("rreg_policy_withdrawn_total", "Images that were allowed and are not any more.")?,
            broken: self.gauge(
                "rreg_policies_broken",
                "1 while the policies that are set cannot be read, and those read last hold.",
            )?,
        })
    }

    fn auth(&self) -> prometheus::Result<AuthMetrics> {
        Ok(AuthMetrics {
            password_checks: self
                .counter("rreg_password_checks_total", "Passwords hashed to be compared, right or wrong.")?,
            audit_failures: self.counter(
                "rreg_audit_failures_total",
                "Audit events that could not be stored; the log has them.",
            )?,
            audit_suppressed: self
                .counter("rreg_audit_suppressed_total", "Denials that were too many to be stored.")?,
        })
    }

    fn operations(&self) -> prometheus::Result<Vec<PerOperation>> {
        let requests = self.counters(
            "rreg_requests_total",
            "Requests answered, by operation and class of status.",
            &["operation", "status_class"],
        )?;
        let duration = HistogramVec::new(
            HistogramOpts::new("rreg_request_duration_seconds", "Time to the head of the response.")
                .buckets(BUCKETS.to_vec()),
            &["operation"],
        )?;
        self.0.register(Box::new(duration.clone()))?;
        let names = Operation::NAMES.into_iter().chain([OTHER]);
        Ok(names
            .map(|name| PerOperation {
                requests: CLASSES.map(|class| requests.with_label_values(&[name, class])),
                duration: duration.with_label_values(&[name]),
            })
            .collect())
    }
}

impl Metrics {
    /// All metrics at zero.
    ///
    /// # Errors
    /// Two metrics have the same name, or a name is invalid: a mistake in this file.
    pub fn new() -> prometheus::Result<Self> {
        let registrar = Registrar(Registry::new());
        let hits = registrar.counters("rreg_cache_hits_total", "Found in memory, by cache.", &["cache"])?;
        let misses = registrar.counters("rreg_cache_misses_total", "Not in memory, by cache.", &["cache"])?;
        let cache = |name: &str| CacheMetrics {
            hits: hits.with_label_values(&[name]),
            misses: misses.with_label_values(&[name]),
        };
        let build = Opts::new("rreg_build_info", "1; the label has the version.")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        let build = IntGauge::with_opts(build)?;
        build.set(1);
        registrar.0.register(Box::new(build))?;
        Ok(Self {
            operations: registrar.operations()?,
            in_flight: registrar.gauge("rreg_requests_in_flight", "Requests being answered.")?,
            request_bytes: registrar
                .counter("rreg_request_bytes_total", "Bytes of request bodies received.")?,
            response_bytes: registrar
                .counter("rreg_response_bytes_total", "Bytes of response bodies sent.")?,
            uploads_in_progress: registrar
                .gauge("rreg_uploads_in_progress", "Uploads that receive bytes now.")?,
            integrity_failures: registrar
                .counter("rreg_integrity_failures_total", "Stored content that did not match its digest.")?,
            records_waiting: registrar.gauge(
                "rreg_records_waiting",
                "Records of manifests that are to be written to the object store.",
            )?,
            mirror: registrar.mirror()?,
            sbom: registrar.sbom()?,
            policy: registrar.policy()?,
            auth: registrar.auth()?,
            manifest_cache: cache("manifests"),
            blob_cache: cache("blobs"),
            tag_cache: cache("tags"),
            process: Process::new(&registrar.0)?,
            registry: registrar.0,
        })
    }

    /// Counts an answered request. `operation` is an [`Operation::index`], or `None` for requests that are none.
    pub fn observe(&self, operation: Option<usize>, status: StatusCode, elapsed: Duration) {
        let index = operation.unwrap_or(OPERATIONS - 1);
        let Some(series) = self.operations.get(index) else { return };
        let class = usize::from(status.as_u16() / 100).saturating_sub(1).min(CLASSES.len() - 1);
        if let Some(counter) = series.requests.get(class) {
            counter.inc();
        }
        series.duration.observe(elapsed.as_secs_f64());
    }

    /// Counts a request as in flight until the guard is dropped.
    pub fn in_flight(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Everything in Prometheus' text format.
    ///
    /// # Errors
    /// A metric cannot be encoded.
    pub fn render(&self) -> prometheus::Result<String> {
        self.process.refresh();
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// A request in flight; dropping it ends it, also when the client went away.
#[must_use]
pub struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_bounded_and_counted() {
        let metrics = Metrics::new().unwrap();
        let ping = Operation::parse("GET", "/v2/", None).unwrap();
        metrics.observe(Some(ping.index()), StatusCode::OK, Duration::from_millis(3));
        metrics.observe(None, StatusCode::from_u16(999).unwrap(), Duration::ZERO);
        metrics.tag_cache.hits.inc();
        let guard = metrics.in_flight();
        let text = metrics.render().unwrap();
        for line in [
            "rreg_requests_total{operation=\"ping\",status_class=\"2xx\"} 1",
            "rreg_requests_total{operation=\"other\",status_class=\"5xx\"} 1",
            "rreg_request_duration_seconds_bucket{operation=\"ping\",le=\"0.0025\"} 0",
            "rreg_request_duration_seconds_bucket{operation=\"ping\",le=\"0.005\"} 1",
            "rreg_cache_hits_total{cache=\"tags\"} 1",
            "rreg_requests_in_flight 1",
            "rreg_integrity_failures_total 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert!(text.contains(concat!("rreg_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1")));
        assert_eq!(text.matches("\nrreg_requests_total{").count(), OPERATIONS * CLASSES.len());
        drop(guard);
        assert!(metrics.render().unwrap().contains("rreg_requests_in_flight 0"));
    }

    #[test]
    fn the_process_is_measured() {
        let text = Metrics::new().unwrap().render().unwrap();
        for name in
            ["process_resident_memory_bytes", "process_open_fds", "process_max_fds", "process_threads"]
        {
            let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')).unwrap();
            assert!(line.parse::<i64>().unwrap() > 0, "{name} {line}");
        }
    }
}
