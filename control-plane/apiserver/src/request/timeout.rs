//! How long a request may take: `?timeout=`, as far as the server allows it. Watches and streams are not bounded by it.
//!
//! The rules are those of upstream's `WithRequestDeadline`: a duration of Go's form, refused where it is none; nothing, zero, less
//! than zero and more than the server's own maximum all mean that maximum.

use super::query::Query;
use keelson_registry::status::Status;
use std::time::Duration;

/// The time that a request has, with `most` as the server's own bound.
///
/// # Errors
/// 400 in upstream's words where `timeout` is no duration.
pub(crate) fn of(query: &Query, most: Duration) -> Result<Duration, Status> {
    let Some(text) = query.non_empty("timeout") else { return Ok(most) };
    let wanted_ns = parse_go(text).map_err(|why| {
        Status::bad_request(format!("invalid timeout specified in the request URL - time: {why}"))
    })?;
    Ok(u64::try_from(wanted_ns)
        .ok()
        .filter(|ns| *ns > 0)
        .map_or(most, |ns| Duration::from_nanos(ns).min(most)))
}

/// Nanoseconds of a duration such as `1h15m30.5s`, by the rules and in the words of Go's `time.ParseDuration`
/// (<https://pkg.go.dev/time#ParseDuration>).
fn parse_go(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid duration {text:?}");
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if unsigned == "0" {
        return Ok(0);
    }
    if unsigned.is_empty() {
        return Err(invalid());
    }
    let mut rest = unsigned;
    let mut total_ns: f64 = 0.0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_end);
        if !number.contains(|c: char| c.is_ascii_digit()) || number.matches('.').count() > 1 {
            return Err(invalid());
        }
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        if unit.is_empty() {
            return Err(format!("missing unit in duration {text:?}"));
        }
        let unit_ns = unit_ns(unit).ok_or_else(|| format!("unknown unit {unit:?} in duration {text:?}"))?;
        let number: f64 = number.parse().map_err(|_| invalid())?;
        total_ns += number * unit_ns;
        rest = next;
    }
    // 2^63 ns are 292 years: what a double loses below a nanosecond does not matter to a deadline.
    if total_ns >= 9_223_372_036_854_775_808.0 {
        return Err(invalid());
    }
    let ns = total_ns as i64;
    Ok(if text.starts_with('-') { -ns } else { ns })
}

fn unit_ns(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1.0,
        // The micro sign and the Greek letter.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_ask_for_less_time_and_never_for_more() {
        let most = Duration::from_secs(60);
        let rows = [
            ("", most),
            ("timeout=", most),
            ("timeout=0s", most),
            ("timeout=0", most),
            ("timeout=-5s", most),
            ("timeout=5s", Duration::from_secs(5)),
            ("timeout=%2B1.5s", Duration::from_millis(1500)),
            ("timeout=250ms", Duration::from_millis(250)),
            ("timeout=1m5s", most),
            ("timeout=.5s", Duration::from_millis(500)),
            ("timeout=3%C2%B5s", Duration::from_micros(3)),
            ("timeout=5s&timeout=x", Duration::from_secs(5)),
            ("timeoutSeconds=1", most),
        ];
        for (query, wanted) in rows {
            assert_eq!(of(&Query::parse(query), most).unwrap(), wanted, "{query}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_in_upstreams_words() {
        let rows = [
            ("5", r#"missing unit in duration "5""#),
            ("abc", r#"invalid duration "abc""#),
            ("-", r#"invalid duration "-""#),
            ("1.2.3s", r#"invalid duration "1.2.3s""#),
            (".s", r#"invalid duration ".s""#),
            ("5d", r#"unknown unit "d" in duration "5d""#),
            ("5s3", r#"missing unit in duration "5s3""#),
            ("9999999h", r#"invalid duration "9999999h""#),
        ];
        for (text, wanted) in rows {
            let status = of(&Query::parse(&format!("timeout={text}")), Duration::from_secs(1)).unwrap_err();
            let wanted = format!("invalid timeout specified in the request URL - time: {wanted}");
            assert_eq!((status.code, status.message), (400, wanted), "{text}");
        }
    }
}
