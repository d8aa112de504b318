//! What the server tells about itself: log lines on standard error, metrics for Prometheus.

mod logging;
mod metrics;
mod process;

pub use logging::{LoggingError, init_logging};
pub use metrics::{AuthMetrics, CacheMetrics, InFlight, Metrics, PolicyMetrics, SbomMetrics};
