//! The process's own numbers, read from `/proc/self` when somebody asks (proc(5)).

use std::fs;

use prometheus::{IntGauge, Registry};

/// Gauges that are set just before they are rendered.
pub(super) struct Process {
    resident: IntGauge,
    open_files: IntGauge,
    max_files: IntGauge,
    threads: IntGauge,
}

impl Process {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        Ok(Self {
            resident: gauge("process_resident_memory_bytes", "Resident memory.")?,
            open_files: gauge("process_open_fds", "Open file descriptors.")?,
            max_files: gauge("process_max_fds", "Most file descriptors the process may open.")?,
            threads: gauge("process_threads", "Threads.")?,
        })
    }

    /// Reads the numbers; one that cannot be read keeps its last value.
    pub(super) fn refresh(&self) {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<i64>().ok()
        };
        if let Some(kibibytes) = field("VmRSS:") {
            self.resident.set(kibibytes.saturating_mul(1024));
        }
        if let Some(threads) = field("Threads:") {
            self.threads.set(threads);
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // One of them is the directory being read.
            self.open_files.set(i64::try_from(entries.count()).unwrap_or(i64::MAX).saturating_sub(1));
        }
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        self.max_files.set(limit.and_then(|n| i64::try_from(n).ok()).unwrap_or(-1));
    }
}
