//! Durations and timestamps. Hours and dates are of UTC, or of a zone that is given.

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, UtcOffset};

use super::{Args, Row, zones};
use crate::EvalError;
use crate::value::Value;

type Result<'a> = std::result::Result<Value<'a>, EvalError>;

const CALENDAR: &[&str] = &["timestamp.() -> int", "timestamp.(string) -> int"];
const CLOCK: &[&str] = &["timestamp.() -> int", "timestamp.(string) -> int", "duration.() -> int"];
const NANOS: i64 = 1_000_000_000;

pub(crate) const ROWS: &[Row] = &[
    (
        "duration",
        &["(string) -> duration", "(duration) -> duration", "(int) -> duration"],
        |args| match &args.values[0] {
            Value::Duration(nanos) | Value::Int(nanos) => Ok(Value::Duration(*nanos)),
            Value::String(text) => duration(text)
                .map(Value::Duration)
                .ok_or_else(|| EvalError::other(format!("time: invalid duration {:?}", &**text))),
            _ => Err(EvalError::NoOverload),
        },
    ),
    ("timestamp", &["(string) -> timestamp", "(timestamp) -> timestamp", "(int) -> timestamp"], |args| {
        match &args.values[0] {
            Value::Timestamp(time) => Ok(Value::Timestamp(*time)),
            Value::Int(seconds) => OffsetDateTime::from_unix_timestamp(*seconds)
                .map(Value::Timestamp)
                .map_err(|_| EvalError::Overflow),
            Value::String(text) => timestamp(text).map(Value::Timestamp).ok_or_else(|| {
                EvalError::other(format!(
                    "parsing time {:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse",
                    &**text
                ))
            }),
            _ => Err(EvalError::NoOverload),
        }
    }),
    ("getFullYear", CALENDAR, |args| calendar(args, |time| time.year().into())),
    ("getMonth", CALENDAR, |args| calendar(args, |time| i64::from(u8::from(time.month())) - 1)),
    ("getDate", CALENDAR, |args| calendar(args, |time| time.day().into())),
    ("getDayOfMonth", CALENDAR, |args| calendar(args, |time| i64::from(time.day()) - 1)),
    ("getDayOfWeek", CALENDAR, |args| calendar(args, |time| time.weekday().number_days_from_sunday().into())),
    ("getDayOfYear", CALENDAR, |args| calendar(args, |time| i64::from(time.ordinal()) - 1)),
    ("getHours", CLOCK, |args| clock(args, 3600 * NANOS, |time| time.hour().into())),
    ("getMinutes", CLOCK, |args| clock(args, 60 * NANOS, |time| time.minute().into())),
    ("getSeconds", CLOCK, |args| clock(args, NANOS, |time| time.second().into())),
    ("getMilliseconds", CLOCK, |args| match args.values {
        // Of a duration: of its last second, as upstream.
        [Value::Duration(nanos)] => Ok(Value::Int(nanos / 1_000_000 % 1000)),
        _ => calendar(args, |time| time.millisecond().into()),
    }),
];

fn clock<'a>(args: &Args<'_, '_, '_>, unit: i64, of: fn(OffsetDateTime) -> i64) -> Result<'a> {
    match args.values {
        [Value::Duration(nanos)] => Ok(Value::Int(nanos / unit)),
        _ => calendar(args, of),
    }
}

fn calendar<'a>(args: &Args<'_, '_, '_>, of: fn(OffsetDateTime) -> i64) -> Result<'a> {
    let time = match args.values {
        [Value::Timestamp(time)] => *time,
        [Value::Timestamp(time), Value::String(zone)] => zones::local(*time, zone)?,
        _ => return Err(EvalError::NoOverload),
    };
    Ok(Value::Int(of(time)))
}

/// RFC 3339, in UTC.
pub(crate) fn timestamp(text: &str) -> Option<OffsetDateTime> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    time.checked_to_offset(UtcOffset::UTC)
}

/// As `date-time` and `date` fields hold it.
pub(crate) fn timestamp_or_date(text: &str) -> Option<OffsetDateTime> {
    timestamp(text).or_else(|| Some(date(text)?.midnight().assume_utc()))
}

fn date(text: &str) -> Option<Date> {
    Date::parse(text, format_description!("[year]-[month]-[day]")).ok()
}

/// Whether the text is a day.
pub(crate) fn is_date(text: &str) -> bool {
    date(text).is_some()
}

/// RFC 3339, with as many digits of the second as there are.
pub(crate) fn timestamp_text(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_else(|_| time.unix_timestamp().to_string())
}

/// Seconds: `5400s`, `1.5s`.
pub(crate) fn duration_text(nanos: i64) -> String {
    let (seconds, rest) = (nanos.unsigned_abs() / NANOS as u64, nanos.unsigned_abs() % NANOS as u64);
    let sign = if nanos < 0 { "-" } else { "" };
    let fraction =
        if rest == 0 { String::new() } else { format!(".{rest:09}").trim_end_matches('0').to_owned() };
    format!("{sign}{seconds}{fraction}s")
}

/// Go's form: `1h30m`, `-1.5s`, `300ms`. In nanoseconds.
pub fn duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0_i128;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let nanos: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || whole.len() > 19 || fraction.contains('.') {
            return None;
        }
        total += whole.parse::<i128>().unwrap_or(0) * nanos;
        let fraction = &fraction[..fraction.len().min(18)];
        if !fraction.is_empty() {
            total += fraction.parse::<i128>().ok()? * nanos / 10_i128.pow(fraction.len() as u32);
        }
        rest = tail;
    }
    i64::try_from(total * sign).ok()
}
