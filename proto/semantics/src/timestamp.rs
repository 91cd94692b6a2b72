//! Times on the wire: `metav1.Time` (whole seconds, UTC) and `metav1.MicroTime` (six digits, UTC).

use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

const SECONDS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
const MICROS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// A text that is no RFC 3339 time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("parsing time {0:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {0:?} as an RFC 3339 time")]
pub struct NotATime(pub String);

/// Reads any RFC 3339 time whose year in UTC has four digits; the result is in UTC.
pub fn parse(text: &str) -> Result<OffsetDateTime, NotATime> {
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .and_then(|time| time.checked_to_offset(UtcOffset::UTC))
        .filter(|time| (0..=9999).contains(&time.year()))
        .ok_or_else(|| NotATime(text.to_owned()))
}

/// `2026-01-02T03:04:05Z`: the form of creationTimestamp and of most times.
#[must_use]
pub fn format_seconds(time: OffsetDateTime) -> String {
    write(time, SECONDS)
}

/// `2026-01-02T03:04:05.123456Z`: the form of leases and events.
#[must_use]
pub fn format_micros(time: OffsetDateTime) -> String {
    write(time, MICROS)
}

fn write(time: OffsetDateTime, format: &[BorrowedFormatItem<'_>]) -> String {
    time.to_offset(UtcOffset::UTC).format(format).expect("a date and a time are all that the format asks for")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_and_cut() {
        let time = parse("2026-01-02T05:04:05.9999999+02:00").expect("a time");
        assert_eq!(format_seconds(time), "2026-01-02T03:04:05Z");
        assert_eq!(format_micros(time), "2026-01-02T03:04:05.999999Z");
        assert_eq!(parse(&format_micros(time)).map(format_seconds), Ok("2026-01-02T03:04:05Z".to_owned()));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "yesterday",
            "2026-01-02",
            "2026-13-02T03:04:05Z",
            "2026-01-02 03:04:05",
            "9999-12-31T23:59:59-01:00",
            "0000-01-01T00:00:00+01:00",
        ] {
            assert_eq!(parse(text), Err(NotATime(text.to_owned())), "{text}");
        }
    }
}
