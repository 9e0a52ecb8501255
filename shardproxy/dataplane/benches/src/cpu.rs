//! CPU time of processes, this one and others, in nanoseconds: the kernel's own clock of a process, which counts
//! all its threads, also those that have ended, and user and system time together.

#![allow(unsafe_code)]

use std::io;
use std::time::Duration;

/// One labelled set of processes to watch: `label=pid,pid`.
#[derive(Clone, Debug)]
pub struct Watch {
    pub label: String,
    pids: Vec<libc::pid_t>,
}

impl Watch {
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("--watch {text}: write label=pid or label=pid,pid");
        let (label, pids) = text.split_once('=').ok_or_else(wrong)?;
        let pids = pids.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
        Ok(Self { label: label.to_owned(), pids })
    }

    /// CPU time used so far by all its processes together.
    pub fn read(&self) -> io::Result<Duration> {
        self.pids.iter().map(|pid| process(*pid)).sum()
    }
}

/// CPU time used so far by this process.
pub fn own() -> Duration {
    read(libc::CLOCK_PROCESS_CPUTIME_ID).unwrap_or_default()
}

fn process(pid: libc::pid_t) -> io::Result<Duration> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: `clock` is a valid place for one clockid_t, and the call keeps no reference to it.
    let status = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    if status != 0 {
        return Err(io::Error::from_raw_os_error(status));
    }
    read(clock)
}

fn read(clock: libc::clockid_t) -> io::Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for one timespec, and the call keeps no reference to it.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    #[allow(clippy::cast_sign_loss)]
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

#[cfg(test)]
mod tests {
    use super::{own, Watch};

    #[test]
    fn a_busy_process_is_seen_to_use_cpu() {
        let watch = Watch::parse(&format!("me={}", std::process::id())).unwrap();
        let before = watch.read().unwrap();
        let start = own();
        while own().saturating_sub(start) < std::time::Duration::from_millis(5) {}
        assert!(watch.read().unwrap().saturating_sub(before).as_millis() >= 5);
    }

    #[test]
    fn a_wrong_watch_says_how_to_write_it() {
        assert!(Watch::parse("proxy").unwrap_err().contains("label=pid"));
        assert!(Watch::parse("proxy=x").is_err());
    }
}
