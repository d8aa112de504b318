//! What a server costs before it has done anything.

use crate::Failure;
use crate::measure::Sample;

use super::Run;

pub(super) fn first_answer(run: &Run) -> Result<Sample, Failure> {
    Ok(Sample::new(run.server.started_in.as_secs_f64() * 1e3))
}

pub(super) fn idle_memory(run: &Run) -> Result<Sample, Failure> {
    Ok(Sample::new(run.server.resident() as f64 / f64::from(1 << 20)))
}
