//! Settings of the C library's allocator. The one place of this program that needs `unsafe`.
//!
//! Receive buffers of uploads have some hundred kilobytes. By default glibc gives each back to the kernel when it is
//! freed and faults it in again for the next, which cost a third of the system time of a push. Other allocators avoid
//! that too, but hold two to three times as much memory (measured: mimalloc 23 MiB idle and 95 MiB at its peak,
//! against 13 and 45).

/// Buffers up to so many bytes come from the heap, and so much of its end is kept when it is free.
#[cfg(target_env = "gnu")]
const KEPT: i32 = 16 << 20;

/// Makes the allocator keep the buffers of uploads. To be called before anything else.
#[allow(unsafe_code, reason = "mallopt(3) is a plain C function without a safe wrapper")]
pub(crate) fn keep_large_buffers() {
    #[cfg(target_env = "gnu")]
    // SAFETY: both are documented parameters with values in their range, set before any other thread exists.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, KEPT);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
}
