//! The clock that goes on while the machine sleeps, as the control plane reads it (`CLOCK_BOOTTIME`).
#![allow(unsafe_code)]

/// Nanoseconds since the machine was started. No system call: the kernel's page is read.
pub fn boot_time() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of our own, that is written before the call returns.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_and_not_back() {
        let first = boot_time();
        assert!(first > 0);
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(boot_time() >= first + 2_000_000);
    }
}
