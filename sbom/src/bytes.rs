//! Integers and stretches of bytes that may not be there.

/// `length` bytes from `at` on.
pub(crate) fn slice(bytes: &[u8], at: usize, length: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(length)?)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    slice(bytes, at, N)?.try_into().ok()
}

pub(crate) fn u16_le(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

pub(crate) fn u32_le(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

pub(crate) fn u64_le(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

pub(crate) fn u16_be(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

pub(crate) fn u32_be(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_be_bytes)
}

/// An integer of a file with either byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Little,
    Big,
}

impl Order {
    pub(crate) fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        match self {
            Self::Little => u16_le(bytes, at),
            Self::Big => u16_be(bytes, at),
        }
    }

    pub(crate) fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        match self {
            Self::Little => u32_le(bytes, at),
            Self::Big => u32_be(bytes, at),
        }
    }

    pub(crate) fn u64(self, bytes: &[u8], at: usize) -> Option<u64> {
        match self {
            Self::Little => u64_le(bytes, at),
            Self::Big => array(bytes, at).map(u64::from_be_bytes),
        }
    }
}

/// An offset or length of a file as an index.
pub(crate) fn index(value: impl TryInto<usize>) -> Option<usize> {
    value.try_into().ok()
}
