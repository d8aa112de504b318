//! Byte ranges: the upload's `Content-Range: first-last` (distribution-spec) and the download's
//! `Range: bytes=…` (RFC 9110, section 14).

use std::ops::Range;
use std::str::FromStr;

/// Why a range header was not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Not of the form the header asks for.
    #[error("a chunk's Content-Range has the form first-last, both inclusive, for example 0-1023")]
    Malformed,
    /// No byte of the content is inside.
    #[error("the range lies outside the content")]
    Unsatisfiable,
}

/// The place of one uploaded chunk: `^[0-9]+-[0-9]+$`, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset of the last byte, at least `first`.
    pub last: u64,
}

impl ContentRange {
    /// How many bytes the chunk has. Zero never comes out.
    pub fn length(&self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }
}

impl FromStr for ContentRange {
    type Err = RangeError;

    /// Docker and older tools write `bytes 0-9/*` or `bytes=0-9`; both are understood.
    fn from_str(s: &str) -> Result<Self, RangeError> {
        let s = s.trim();
        let s = s.strip_prefix("bytes").map_or(s, |rest| rest.trim_start_matches([' ', '=']));
        let s = s.split('/').next().unwrap_or_default();
        let (first, last) = s.split_once('-').ok_or(RangeError::Malformed)?;
        let (first, last) = (digits(first)?, digits(last)?);
        if first > last {
            return Err(RangeError::Malformed);
        }
        Ok(Self { first, last })
    }
}

/// Decimal digits only: `u64::from_str` would take a plus sign too.
fn digits(s: &str) -> Result<u64, RangeError> {
    if s.is_empty() || !s.bytes().all(|c| c.is_ascii_digit()) {
        return Err(RangeError::Malformed);
    }
    s.parse().map_err(|_| RangeError::Malformed)
}

/// One range of a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// `first-last`, inclusive.
    FromTo(u64, u64),
    /// `first-`.
    From(u64),
    /// `-length`: the last bytes.
    Suffix(u64),
}

impl ByteRange {
    /// Reads a `Range` header. `None` when it must be ignored: another unit, several ranges, or malformed
    /// (RFC 9110, 14.2: a server may ignore any of these and send everything).
    pub fn parse(header: &str) -> Option<Self> {
        let spec = header.trim().strip_prefix("bytes=")?.trim();
        let (first, last) = spec.split_once('-')?;
        match (first.trim(), last.trim()) {
            ("", "") => None,
            ("", suffix) => Some(Self::Suffix(digits(suffix).ok()?)),
            (first, "") => Some(Self::From(digits(first).ok()?)),
            (first, last) => {
                // With the ends the wrong way round it holds no byte, and `resolve` says so.
                Some(Self::FromTo(digits(first).ok()?, digits(last).ok()?))
            }
        }
    }

    /// Reads a `Range` header with several ranges, `most` of them. `None` where it has one, or is to be ignored.
    pub fn parse_several(header: &str, most: usize) -> Option<Vec<Self>> {
        let spec = header.trim().strip_prefix("bytes=")?;
        let ranges: Vec<Self> = spec
            .split(',')
            .take(most + 1)
            .map(|one| Self::parse(&format!("bytes={one}")))
            .collect::<Option<_>>()?;
        (2..=most).contains(&ranges.len()).then_some(ranges)
    }

    /// The bytes meant, in content of `size` bytes. Never empty.
    ///
    /// # Errors
    /// [`RangeError::Unsatisfiable`] when no byte is inside: the answer is 416.
    pub fn resolve(self, size: u64) -> Result<Range<u64>, RangeError> {
        let range = match self {
            Self::FromTo(first, last) => first..size.min(last.saturating_add(1)),
            Self::From(first) => first..size,
            Self::Suffix(length) => size.saturating_sub(length)..size,
        };
        if range.start < range.end { Ok(range) } else { Err(RangeError::Unsatisfiable) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn content_range() {
        assert_eq!("0-0".parse(), Ok(ContentRange { first: 0, last: 0 }));
        assert_eq!("bytes 5-9/*".parse(), Ok(ContentRange { first: 5, last: 9 }));
        for bad in ["", "-", "1-", "-1", "2-1", "+1-2", "a-b", "0-18446744073709551616", "bytes"] {
            assert!(bad.parse::<ContentRange>().is_err(), "{bad}");
        }
        assert_eq!(ContentRange { first: 0, last: u64::MAX }.length(), u64::MAX);
    }

    #[test]
    fn byte_range() {
        assert_eq!(ByteRange::parse("bytes=0-4").unwrap().resolve(10), Ok(0..5));
        assert_eq!(ByteRange::parse("bytes=-4").unwrap().resolve(10), Ok(6..10));
        assert_eq!(ByteRange::parse("bytes=4-").unwrap().resolve(10), Ok(4..10));
        assert_eq!(ByteRange::parse("bytes=4-400").unwrap().resolve(10), Ok(4..10));
        assert_eq!(ByteRange::parse("bytes=10-").unwrap().resolve(10), Err(RangeError::Unsatisfiable));
        assert_eq!(ByteRange::parse("bytes=2-1").unwrap().resolve(10), Err(RangeError::Unsatisfiable));
        assert_eq!(ByteRange::parse("bytes=-0").unwrap().resolve(10), Err(RangeError::Unsatisfiable));
        for ignored in ["bytes=0-1,3-4", "bytes=", "bytes=-", "lines=0-1", "0-1"] {
            assert_eq!(ByteRange::parse(ignored), None, "{ignored}");
        }
    }

    #[test]
    fn several_ranges() {
        let read = |header: &str| {
            let ranges = ByteRange::parse_several(header, 3)?;
            Some(ranges.into_iter().filter_map(|range| range.resolve(10).ok()).collect::<Vec<_>>())
        };
        assert_eq!(read("bytes=0-1, 4-5,-1"), Some(vec![0..2, 4..6, 9..10]));
        assert_eq!(read("bytes=0-1,20-30").map(|parts| parts.len()), Some(1));
        for none in ["bytes=0-1", "bytes=0-1,x", "bytes=0-1,2-3,4-5,6-7", "bytes=0-1,", "lines=0-1,2-3", ""] {
            assert_eq!(read(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn content_range_is_refused_or_read_back(text in "(bytes[ =])?[0-9]{0,21}-[0-9]{0,21}(/[*0-9]{0,3})?|\\PC{0,30}") {
            if let Ok(range) = text.parse::<ContentRange>() {
                prop_assert!(range.first <= range.last && range.length() >= 1);
                prop_assert_eq!(format!("{}-{}", range.first, range.last).parse(), Ok(range));
            }
        }

        #[test]
        fn range_never_panics(header in "\\PC{0,30}", size: u64) {
            let _ = ByteRange::parse(&header).map(|range| range.resolve(size));
        }

        #[test]
        fn resolved_is_inside(header in "bytes=[0-9]{0,20}-[0-9]{0,20}", size: u64) {
            if let Some(Ok(range)) = ByteRange::parse(&header).map(|r| r.resolve(size)) {
                prop_assert!(range.start < range.end && range.end <= size);
            }
        }
    }
}
