//! Names, tags, digests and image references are refused, or read back from what they print.
#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use rreg_oci::{Digest, ImageReference, Reference, RepositoryName, Tag};

fn round_trip<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    let Ok(value) = text.parse::<T>() else { return };
    assert_eq!(value.to_string().parse::<T>().ok(), Some(value));
}

fuzz_target!(|text: &str| {
    round_trip::<RepositoryName>(text);
    round_trip::<Tag>(text);
    round_trip::<Digest>(text);
    round_trip::<Reference>(text);
    round_trip::<ImageReference>(text);
});
