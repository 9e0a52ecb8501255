//! Times of the control plane's JSON: seconds, as floating-point numbers; and of clocks that wrap.

use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// Longer is a mistake; so long can be added to any time that a clock shows.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

pub fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    let duration = Duration::try_from_secs_f64(seconds).ok().filter(|duration| *duration <= LONGEST);
    duration.ok_or_else(|| D::Error::custom(format!("{seconds} is not a number of seconds, ten years at most")))
}

/// 0 stands for no limit.
pub fn time_limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    seconds(deserializer).map(|duration| Some(duration).filter(|duration| !duration.is_zero()))
}

/// As microseconds on a clock that wraps after 71 minutes: what is longer ends just before that, or it never would.
pub fn wrapping_micros(duration: Duration) -> u32 {
    const MOST: u32 = u32::MAX - 1_000_000;
    duration.as_micros().min(u128::from(MOST)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_clock_can_hold_is_refused() {
        for (text, expected) in [
            ("0", Some(0)),
            ("0.25", Some(250)),
            ("31622400", Some(31_622_400_000)),
            ("-1", None),
            ("1e12", None),
            ("1e300", None),
            ("null", None),
        ] {
            let read = seconds(&mut serde_json::Deserializer::from_str(text)).ok();
            assert_eq!(read, expected.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn long_times_end_before_their_clock_wraps() {
        let found = [1, 4_000, 4_295, 40_000_000].map(|seconds| wrapping_micros(Duration::from_secs(seconds)));
        assert_eq!(found, [1_000_000, 4_000_000_000, u32::MAX - 1_000_000, u32::MAX - 1_000_000]);
    }
}
