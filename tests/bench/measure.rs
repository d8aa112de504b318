//! One measurement of one server, and what several of them say.

use std::time::Duration;

use super::histogram::Histogram;
use super::process::Server;

/// What a number counts. The cost in processor time is stated for the same thing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    RequestsPerSecond,
    /// Megabytes (10^6) a second; cost for a GiB.
    MegabytesPerSecond,
    ImagesPerSecond,
    BlobsPerSecond,
    /// So many times something else.
    Times,
    Milliseconds,
    Mebibytes,
}

impl Unit {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::RequestsPerSecond => "requests/s",
            Self::MegabytesPerSecond => "MB/s",
            Self::ImagesPerSecond => "images/s",
            Self::BlobsPerSecond => "blobs/s",
            Self::Times => "times",
            Self::Milliseconds => "ms",
            Self::Mebibytes => "MiB",
        }
    }

    pub(crate) fn more_is_better(self) -> bool {
        match self {
            Self::RequestsPerSecond
            | Self::MegabytesPerSecond
            | Self::ImagesPerSecond
            | Self::BlobsPerSecond => true,
            Self::Times | Self::Milliseconds | Self::Mebibytes => false,
        }
    }

    /// The better of two values.
    pub(crate) fn better(self, a: f64, b: f64) -> f64 {
        if self.more_is_better() { a.max(b) } else { a.min(b) }
    }

    /// How many times better `a` is than `b`.
    pub(crate) fn ratio(self, a: f64, b: f64) -> f64 {
        if self.more_is_better() { a / b } else { b / a }
    }
}

/// One measurement.
pub(crate) struct Sample {
    pub(crate) value: f64,
    /// Median and 99th percentile.
    pub(crate) latency: Option<(Duration, Duration)>,
    /// Seconds of the server's processor time for one request, GiB or image.
    pub(crate) cpu: Option<f64>,
    /// The server's peak of resident bytes up to the end of this measurement.
    pub(crate) peak: u64,
}

impl Sample {
    pub(crate) fn new(value: f64) -> Self {
        Self { value, latency: None, cpu: None, peak: 0 }
    }

    pub(crate) fn with_latencies(mut self, latencies: &Histogram) -> Self {
        self.latency = Some((latencies.quantile(0.5), latencies.quantile(0.99)));
        self
    }

    pub(crate) fn with_cpu(mut self, seconds: f64, operations: f64) -> Self {
        self.cpu = Some(seconds / operations);
        self
    }
}

/// Processor time of a server from here on.
pub(crate) struct CpuClock<'a> {
    server: &'a Server,
    before: f64,
}

impl<'a> CpuClock<'a> {
    pub(crate) fn start(server: &'a Server) -> Self {
        Self { server, before: server.cpu_seconds() }
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.server.cpu_seconds() - self.before
    }
}

/// The rounds of one server in one scenario.
#[derive(Default)]
pub(crate) struct Series {
    pub(crate) samples: Vec<Sample>,
    pub(crate) failures: Vec<String>,
}

impl Series {
    pub(crate) fn best(&self, unit: Unit) -> Option<f64> {
        self.samples.iter().map(|sample| sample.value).reduce(|a, b| unit.better(a, b))
    }

    pub(crate) fn median(&self) -> Option<f64> {
        median(self.samples.iter().map(|sample| sample.value))
    }

    pub(crate) fn cpu(&self) -> Option<f64> {
        median(self.samples.iter().filter_map(|sample| sample.cpu))
    }

    /// Medians over the rounds of median and 99th percentile, in milliseconds.
    pub(crate) fn latency(&self) -> Option<(f64, f64)> {
        let milliseconds = |pick: fn(&(Duration, Duration)) -> Duration| {
            let all = self.samples.iter().filter_map(|sample| sample.latency.as_ref());
            median(all.map(|latency| pick(latency).as_secs_f64() * 1e3))
        };
        Some((milliseconds(|latency| latency.0)?, milliseconds(|latency| latency.1)?))
    }

    pub(crate) fn peak(&self) -> u64 {
        self.samples.iter().map(|sample| sample.peak).max().unwrap_or(0)
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len().checked_sub(1)? / 2;
    Some(if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle], values[middle + 1])
    } else {
        values[middle]
    })
}
