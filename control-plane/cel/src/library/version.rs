//! `semver("1.2.3")` and its functions; comparisons are with the quantities'.

use semver::Version;

use super::{Args, Row};
use crate::EvalError;
use crate::value::Value;

pub(crate) const ROWS: &[Row] = &[
    ("semver", &["(string) -> Semver", "(string, bool) -> Semver"], |args| {
        let version = read(args)?.map_err(EvalError::Other)?;
        Ok(Value::Semver(version.into()))
    }),
    ("isSemver", &["(string) -> bool", "(string, bool) -> bool"], |args| {
        Ok(Value::Bool(read(args)?.is_ok()))
    }),
    ("major", &["Semver.() -> int"], |args| part(args, |version| version.major)),
    ("minor", &["Semver.() -> int"], |args| part(args, |version| version.minor)),
    ("patch", &["Semver.() -> int"], |args| part(args, |version| version.patch)),
];

fn part<'a>(args: &Args<'_, '_, '_>, of: fn(&Version) -> u64) -> Result<Value<'a>, EvalError> {
    match args.values {
        [Value::Semver(version)] => {
            i64::try_from(of(version)).map(Value::Int).map_err(|_| EvalError::Overflow)
        }
        _ => Err(EvalError::NoOverload),
    }
}

fn read(args: &mut Args<'_, '_, '_>) -> Result<Result<Version, String>, EvalError> {
    let (text, lenient) = match args.values {
        [Value::String(text)] => (text, false),
        [Value::String(text), Value::Bool(lenient)] => (text, *lenient),
        _ => return Err(EvalError::NoOverload),
    };
    args.meter.walk(text.len())?;
    let text = if lenient { normalized(text) } else { text.to_string() };
    Ok(Version::parse(&text).map_err(|error| error.to_string()))
}

/// Without `v`, with the parts that are missing, without leading zeros.
fn normalized(text: &str) -> String {
    let text = text.strip_prefix('v').unwrap_or(text);
    let (core, rest) = text.split_at(text.find(['-', '+']).unwrap_or(text.len()));
    let mut parts: Vec<&str> = core
        .split('.')
        .map(|part| match part.trim_start_matches('0') {
            "" if !part.is_empty() => "0",
            part => part,
        })
        .collect();
    while parts.len() < 3 {
        parts.push("0");
    }
    format!("{}{rest}", parts.join("."))
}
