//! `Content-Range` of uploads and `Range` of downloads: what is read lies where it says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rreg_oci::{ByteRange, ContentRange};

fuzz_target!(|input: (&str, u64)| {
    let (text, size) = input;
    if let Ok(range) = text.parse::<ContentRange>() {
        assert!(range.first <= range.last && range.length() >= 1);
    }
    if let Some(Ok(range)) = ByteRange::parse(text).map(|range| range.resolve(size)) {
        assert!(range.start < range.end && range.end <= size);
    }
});
