//! Durations as kubectl's tables show them: `45s`, `5m30s`, `3h20m`, `2d4h`, `400d`, `3y20d`. Cut, never rounded.

use time::{Duration, OffsetDateTime};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// What a table shows for a time that was never set.
pub const UNKNOWN: &str = "<unknown>";

/// The short text of a duration; more than a second in the past of zero is `<invalid>`.
#[must_use]
pub fn short_duration(duration: Duration) -> String {
    let seconds = duration.whole_seconds();
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    if seconds < 0 {
        return "0s".to_owned();
    }
    if seconds < 2 * MINUTE {
        return format!("{seconds}s");
    }
    if seconds < 10 * MINUTE {
        return two(seconds, MINUTE, "m", 1, "s");
    }
    if seconds < 3 * HOUR {
        return format!("{}m", seconds / MINUTE);
    }
    if seconds < 8 * HOUR {
        return two(seconds, HOUR, "h", MINUTE, "m");
    }
    if seconds < 2 * DAY {
        return format!("{}h", seconds / HOUR);
    }
    if seconds < 8 * DAY {
        return two(seconds, DAY, "d", HOUR, "h");
    }
    if seconds < 2 * YEAR {
        return format!("{}d", seconds / DAY);
    }
    if seconds < 8 * YEAR {
        return two(seconds, YEAR, "y", DAY, "d");
    }
    format!("{}y", seconds / YEAR)
}

fn two(seconds: i64, big: i64, big_unit: &str, small: i64, small_unit: &str) -> String {
    match (seconds % big) / small {
        0 => format!("{}{big_unit}", seconds / big),
        rest => format!("{}{big_unit}{rest}{small_unit}", seconds / big),
    }
}

/// How long ago `since` was, or [`UNKNOWN`].
#[must_use]
pub fn age(since: Option<OffsetDateTime>, now: OffsetDateTime) -> String {
    since.map_or_else(|| UNKNOWN.to_owned(), |since| short_duration(now - since))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_has_its_form() {
        for (seconds, expected) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (121, "2m1s"),
            (599, "9m59s"),
            (600, "10m"),
            (3 * HOUR - 1, "179m"),
            (3 * HOUR, "3h"),
            (3 * HOUR + 61, "3h1m"),
            (8 * HOUR, "8h"),
            (2 * DAY - 1, "47h"),
            (2 * DAY, "2d"),
            (2 * DAY + HOUR, "2d1h"),
            (8 * DAY, "8d"),
            (2 * YEAR - 1, "729d"),
            (2 * YEAR, "2y"),
            (2 * YEAR + DAY, "2y1d"),
            (8 * YEAR, "8y"),
        ] {
            assert_eq!(short_duration(Duration::seconds(seconds)), expected, "{seconds}");
        }
    }

    #[test]
    fn an_unset_time_is_unknown() {
        assert_eq!(age(None, OffsetDateTime::UNIX_EPOCH), "<unknown>");
    }
}
