//! When an accepted event is tried again. Lambda's schedule; pure.

use std::time::Duration;

/// The waits after a function's first and second failure. After the third it is not tried again.
const AFTER_FUNCTION_ERROR: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(120)];
/// The first wait after a throttle or a fault of the platform; it doubles each time.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The longest of these waits.
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// The wait after the function failed for the `failures`-th time, counted from 1; `None` when that was the last.
pub(crate) fn after_function_error(failures: u8, retries_max: u32) -> Option<Duration> {
    if u32::from(failures) > retries_max {
        return None;
    }
    let index = usize::from(failures).checked_sub(1)?;
    AFTER_FUNCTION_ERROR.get(index).copied()
}

/// The wait after the event could not be run, `before` times in a row before this one.
pub(crate) fn backoff(before: u8) -> Duration {
    let factor = 1u32.checked_shl(u32::from(before)).unwrap_or(u32::MAX);
    BACKOFF_MIN.saturating_mul(factor).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_gets_two_more_attempts_after_one_and_two_minutes() {
        let waits = |retries_max| {
            let waits = (1..=4).map(|failures| after_function_error(failures, retries_max));
            waits
                .map(|wait| wait.map(|wait| wait.as_secs()))
                .collect::<Vec<_>>()
        };
        assert_eq!(waits(2), [Some(60), Some(120), None, None]);
        assert_eq!(waits(1), [Some(60), None, None, None]);
        assert_eq!(waits(0), [None; 4]);
    }

    #[test]
    fn backoff_doubles_from_one_second_to_five_minutes() {
        let waits: Vec<_> = [0, 1, 2, 8, 9, 31, 32, 255]
            .map(|before| backoff(before).as_secs())
            .to_vec();
        assert_eq!(waits, [1, 2, 4, 256, 300, 300, 300, 300]);
    }
}
