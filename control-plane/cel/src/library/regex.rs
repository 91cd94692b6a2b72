//! `matches`, `find`, `findAll`. Matching takes time linear in the text; what a pattern may compile to is bounded.

use std::borrow::Cow;

use regex::{Regex, RegexBuilder};

use super::{Args, Row};
use crate::EvalError;
use crate::value::Value;

type Result<'a> = std::result::Result<Value<'a>, EvalError>;

/// What a compiled pattern may take of memory.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// What compiling a pattern costs that is not known before, for each of its characters.
const COMPILE_COST: u64 = 50;

pub(crate) const ROWS: &[Row] = &[
    ("matches", &["string.(string) -> bool", "(string, string) -> bool"], |args| {
        with(args, |regex, text, _| Ok(Value::Bool(regex.is_match(text))))
    }),
    ("find", &["string.(string) -> string"], |args| {
        with(args, |regex, text, _| Ok(Value::text(regex.find(text).map_or("", |found| found.as_str()))))
    }),
    ("findAll", &["string.(string) -> list(string)", "string.(string, int) -> list(string)"], |args| {
        with(args, |regex, text, limit| {
            let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
            let found = regex.find_iter(text).take(limit).map(|found| Value::text(found.as_str()));
            Ok(Value::list(found.collect()))
        })
    }),
];

/// Compiles a pattern.
pub(crate) fn compile(pattern: &str) -> std::result::Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX).build()
}

fn with<'a>(
    args: &mut Args<'_, '_, 'a>,
    then: impl FnOnce(&Regex, &str, Option<i64>) -> Result<'a>,
) -> Result<'a> {
    let (text, pattern, limit) = match args.values {
        [Value::String(text), Value::String(pattern)] => (text, pattern, None),
        [Value::String(text), Value::String(pattern), Value::Int(limit)] => (text, pattern, Some(*limit)),
        _ => return Err(EvalError::NoOverload),
    };
    let walked = (text.len() as u64 + 1).div_ceil(10);
    args.meter.charge(walked.saturating_mul((pattern.len() as u64).div_ceil(4).max(1)))?;
    let regex = match args.regex {
        Some(regex) => Cow::Borrowed(regex),
        None => {
            args.meter.charge(COMPILE_COST * pattern.len() as u64)?;
            Cow::Owned(compile(pattern).map_err(|error| EvalError::other(error.to_string()))?)
        }
    };
    then(&regex, text, limit)
}
