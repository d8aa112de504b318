//! Settings of the C library's allocator. The one place of this program that needs `unsafe`.
//!
//! Receive buffers of uploads have some hundred kilobytes. By default glibc gives each back to the kernel when it is
//! freed and faults it in again for the next, which cost a third of the system time of a push. Other allocators avoid
//! that too, but hold two to three times as much memory (measured: mimalloc 23 MiB idle and 95 MiB at its peak,
//! against 13 and 45).

/// Buffers up to so many bytes come from the heap, and so much of its end is kept when it is free.
#[cfg(target_env = "gnu")]
const KEPT: i32 = 16 << 20;

/// Heaps that threads share. By default there are eight for each processor, and each keeps what is free in it: after a
/// thousand requests most of the process was free memory of heaps that nobody used.
#[cfg(target_env = "gnu")]
const HEAPS: i32 = 2;

/// Makes the allocator keep the buffers of uploads, and little else. To be called before anything else.
#[allow(unsafe_code, reason = "mallopt(3) is a plain C function without a safe wrapper")]
pub(crate) fn keep_large_buffers() {
    #[cfg(target_env = "gnu")]
    // SAFETY: all are documented parameters with values in their range, set before any other thread exists.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, KEPT);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        libc::mallopt(libc::M_ARENA_MAX, HEAPS);
    }
}

/// Between two looks at whether the process is idle.
#[cfg(target_env = "gnu")]
const LOOK: std::time::Duration = std::time::Duration::from_secs(10);
/// CPU time between two looks, in hundredths of a second, below which it is.
#[cfg(target_env = "gnu")]
const IDLE: u64 = 20;

/// Gives free memory back to the kernel whenever the process has become idle: the allocator gives back the end of each
/// heap only, and after a wave of uploads most of what is free is in between.
pub(crate) fn give_back_when_idle() {
    #[cfg(target_env = "gnu")]
    std::thread::spawn(|| {
        let (mut before, mut worked) = (cpu_time(), false);
        loop {
            std::thread::sleep(LOOK);
            let now = cpu_time();
            let busy = now.saturating_sub(before) >= IDLE;
            before = now;
            if worked && !busy {
                trim();
            }
            worked = busy;
        }
    });
}

#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "malloc_trim(3) is a plain C function without a safe wrapper")]
fn trim() {
    // SAFETY: it takes the allocator's own locks and touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// CPU time of this process in hundredths of a second: `utime` and `stime` of proc(5), which come after the name in
/// parentheses.
#[cfg(target_env = "gnu")]
fn cpu_time() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}
