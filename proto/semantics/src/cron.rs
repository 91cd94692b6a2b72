//! Schedules in the five fields of crontab(5): minute, hour, day of the month, month, day of the week.
//!
//! Owns which texts are schedules and which times they name. Does not own time zones, nor what happens at such a time.
//! The dialect is that of CronJobs
//! (<https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#schedule-syntax>): lists, ranges, steps, `?` as
//! `*`, names of months and days, `@daily` and its kin, `@every 1h30m`.

use time::Duration;

/// Minutes, hours, days, months and weekdays that a schedule names; bit n stands for n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// 0 to 59.
    pub minutes: u64,
    /// 0 to 23.
    pub hours: u64,
    /// Of the month, 1 to 31.
    pub days: u64,
    /// 1 to 12.
    pub months: u64,
    /// 0, Sunday, to 6.
    pub weekdays: u64,
    /// Whether `days` was written as `*`: a day must then fit both fields, else either.
    pub any_day: bool,
    /// Whether `weekdays` was written as `*`.
    pub any_weekday: bool,
}

/// When something is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// At the times that the fields name.
    At(Fields),
    /// After each such time; at least a second.
    Every(Duration),
}

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// There is nothing.
    #[error("empty spec string")]
    Empty,
    /// Not five fields.
    #[error("expected exactly 5 fields, found {0}: [{1}]")]
    FieldCount(usize, String),
    /// After an `@` stands no known word.
    #[error("unrecognized descriptor: {0}")]
    Descriptor(String),
    /// After `@every` stands no duration.
    #[error("failed to parse duration {0}")]
    Duration(String),
    /// Neither a number nor a name of the field.
    #[error("failed to parse int from {0}")]
    Number(String),
    /// More than one `-` or `/` in a part.
    #[error("too many {0}: {1}")]
    Separators(&'static str, String),
    /// Below what the field begins with.
    #[error("beginning of range ({0}) below minimum ({1}): {2}")]
    BelowMinimum(u64, u64, String),
    /// Above what the field ends with.
    #[error("end of range ({0}) above maximum ({1}): {2}")]
    AboveMaximum(u64, u64, String),
    /// `5-3`.
    #[error("beginning of range ({0}) beyond end of range ({1}): {2}")]
    Backwards(u64, u64, String),
    /// `*/0`.
    #[error("step of range should be a positive number: {0}")]
    Step(String),
}

/// A field's bounds and the names that stand for its numbers.
struct Field {
    min: u64,
    max: u64,
    names: &'static [&'static str],
}

const MINUTES: Field = Field { min: 0, max: 59, names: &[] };
const HOURS: Field = Field { min: 0, max: 23, names: &[] };
const DAYS: Field = Field { min: 1, max: 31, names: &[] };
const MONTHS: Field = Field {
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAYS: Field = Field { min: 0, max: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

/// Words for common schedules.
const DESCRIPTORS: &[(&str, &str)] = &[
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// Reads a schedule without a time zone.
pub fn parse(text: &str) -> Result<Schedule, CronError> {
    if text.is_empty() {
        return Err(CronError::Empty);
    }
    if let Some(interval) = text.strip_prefix("@every ") {
        return every(interval).map(Schedule::Every).ok_or_else(|| CronError::Duration(text.to_owned()));
    }
    if text.starts_with('@') {
        let known = DESCRIPTORS.iter().find(|(word, _)| *word == text);
        let (_, fields) = known.ok_or_else(|| CronError::Descriptor(text.to_owned()))?;
        return parse(fields);
    }
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [minutes, hours, days, months, weekdays] = parts[..] else {
        return Err(CronError::FieldCount(parts.len(), parts.join(" ")));
    };
    Ok(Schedule::At(Fields {
        minutes: MINUTES.parse(minutes)?,
        hours: HOURS.parse(hours)?,
        days: DAYS.parse(days)?,
        months: MONTHS.parse(months)?,
        weekdays: WEEKDAYS.parse(weekdays)?,
        any_day: is_any(days),
        any_weekday: is_any(weekdays),
    }))
}

fn is_any(field: &str) -> bool {
    field.split(',').any(|part| matches!(part.split('/').next(), Some("*" | "?")))
}

impl Field {
    fn parse(&self, text: &str) -> Result<u64, CronError> {
        let parts = text.split(',').filter(|part| !part.is_empty());
        parts.map(|part| self.part(part)).try_fold(0, |all, part| Ok(all | part?))
    }

    /// `*`, `5`, `1-5`, each with `/step`; a single number with a step goes on to the field's end.
    fn part(&self, text: &str) -> Result<u64, CronError> {
        let mut halves = text.split('/');
        let (range, step) = (halves.next().unwrap_or_default(), halves.next());
        if halves.next().is_some() {
            return Err(CronError::Separators("slashes", text.to_owned()));
        }
        let step_size = match step {
            None => 1,
            Some(digits) => number(digits)?,
        };
        let mut ends = range.split('-');
        let (first, last) = (ends.next().unwrap_or_default(), ends.next());
        if ends.next().is_some() {
            return Err(CronError::Separators("hyphens", text.to_owned()));
        }
        let (start, end) = match (first, last) {
            ("*" | "?", None) => (self.min, self.max),
            (first, Some(last)) => (self.value(first)?, self.value(last)?),
            (first, None) if step.is_some() => (self.value(first)?, self.max),
            (first, None) => (self.value(first)?, self.value(first)?),
        };
        if start < self.min {
            return Err(CronError::BelowMinimum(start, self.min, text.to_owned()));
        }
        if end > self.max {
            return Err(CronError::AboveMaximum(end, self.max, text.to_owned()));
        }
        if start > end {
            return Err(CronError::Backwards(start, end, text.to_owned()));
        }
        let step_size = usize::try_from(step_size).unwrap_or(usize::MAX);
        if step_size == 0 {
            return Err(CronError::Step(text.to_owned()));
        }
        Ok((start..=end).step_by(step_size).fold(0, |bits, at| bits | 1 << at))
    }

    fn value(&self, text: &str) -> Result<u64, CronError> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        match named {
            Some(at) => Ok(self.min + at as u64),
            None => number(text),
        }
    }
}

fn number(text: &str) -> Result<u64, CronError> {
    text.parse().map_err(|_| CronError::Number(text.to_owned()))
}

/// `1h30m`, as Go writes durations; less than a second counts as one, and fractions of seconds are cut.
fn every(text: &str) -> Option<Duration> {
    const UNITS: &[(&str, f64)] =
        &[("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (amount, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let (_, size) = UNITS.iter().find(|(name, _)| *name == unit)?;
        seconds += amount.parse::<f64>().ok()? * size;
        rest = tail;
    }
    let whole = Duration::checked_seconds_f64(seconds)?.whole_seconds();
    (!text.is_empty()).then(|| Duration::seconds(whole.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        match parse(text) {
            Ok(Schedule::At(fields)) => fields,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn numbers(bits: u64) -> Vec<u32> {
        (0..64).filter(|at| bits & 1 << at != 0).collect()
    }

    #[test]
    fn fields_are_lists_of_ranges_with_steps() {
        let all = fields("*/20 1-3,22 1 jan-Mar,12 mon");
        assert_eq!(numbers(all.minutes), [0, 20, 40]);
        assert_eq!(numbers(all.hours), [1, 2, 3, 22]);
        assert_eq!(numbers(all.days), [1]);
        assert_eq!(numbers(all.months), [1, 2, 3, 12]);
        assert_eq!(numbers(all.weekdays), [1]);
        assert!(!all.any_day && !all.any_weekday);
        let any = fields("5/25 ? * * ?");
        assert_eq!(numbers(any.minutes), [5, 30, 55]);
        assert!(any.any_day && any.any_weekday);
        assert_eq!(fields("@daily"), fields("0 0 * * *"));
        assert_eq!(fields("@weekly"), fields("0 0 * * sun"));
        assert_eq!(parse("@every 1h30m"), Ok(Schedule::Every(Duration::minutes(90))));
        assert_eq!(parse("@every 5ms"), Ok(Schedule::Every(Duration::seconds(1))));
    }

    #[test]
    fn what_is_no_schedule_is_said() {
        let rows = [
            ("", "empty spec string"),
            ("* * *", "expected exactly 5 fields, found 3: [* * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("* 5-3 * * *", "beginning of range (5) beyond end of range (3): 5-3"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("x * * * *", "failed to parse int from x"),
            ("* * * * 7", "end of range (7) above maximum (6): 7"),
            ("@sometimes", "unrecognized descriptor: @sometimes"),
            ("@every day", "failed to parse duration @every day"),
        ];
        for (text, message) in rows {
            assert_eq!(parse(text).map_err(|error| error.to_string()), Err(message.to_owned()), "{text}");
        }
    }
}
