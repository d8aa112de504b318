//! `METHOD TARGET` is refused, or means an operation that renders to a line with the same meaning.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rreg_oci::Operation;

fn parse(method: &str, target: &str) -> Option<Operation> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    Operation::parse(method, path, query).ok()
}

fuzz_target!(|line: &str| {
    let Some((method, target)) = line.split_once(' ') else { return };
    let Some(operation) = parse(method, target) else { return };
    let (rendered_method, rendered) = operation.render();
    assert_eq!(parse(rendered_method, &rendered), Some(operation));
});
