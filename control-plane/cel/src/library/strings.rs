//! CEL's string functions and the strings extension.

use super::{Args, Row, strings_format};
use crate::EvalError;
use crate::value::{Text, Value};

type Result<'a> = std::result::Result<Value<'a>, EvalError>;

pub(crate) const ROWS: &[Row] = &[
    ("contains", &["string.(string) -> bool"], |args| {
        let (text, part) = two(args)?;
        args.meter.charge((text.len() as u64).div_ceil(10) * (part.len() as u64).div_ceil(10).max(1))?;
        Ok(Value::Bool(text.contains(part)))
    }),
    ("startsWith", &["string.(string) -> bool"], |args| {
        let (text, part) = two(args)?;
        args.meter.walk(part.len())?;
        Ok(Value::Bool(text.starts_with(part)))
    }),
    ("endsWith", &["string.(string) -> bool"], |args| {
        let (text, part) = two(args)?;
        args.meter.walk(part.len())?;
        Ok(Value::Bool(text.ends_with(part)))
    }),
    ("charAt", &["string.(int) -> string"], char_at),
    ("lowerAscii", &["string.() -> string"], |args| mapped(args, str::to_ascii_lowercase)),
    ("upperAscii", &["string.() -> string"], |args| mapped(args, str::to_ascii_uppercase)),
    ("trim", &["string.() -> string"], |args| mapped(args, |text| text.trim().to_owned())),
    ("reverse", &["string.() -> string"], |args| mapped(args, |text| text.chars().rev().collect())),
    ("strings.quote", &["(string) -> string"], |args| mapped(args, quote)),
    ("format", &["string.(list(dyn)) -> string"], strings_format::format),
    ("join", &["list(string).() -> string", "list(string).(string) -> string"], join),
    ("replace", &["string.(string, string) -> string", "string.(string, string, int) -> string"], replace),
    ("split", &["string.(string) -> list(string)", "string.(string, int) -> list(string)"], split),
    ("substring", &["string.(int) -> string", "string.(int, int) -> string"], substring),
    ("jsonpatch.escapeKey", &["(string) -> string"], |args| {
        mapped(args, |text| text.replace('~', "~0").replace('/', "~1"))
    }),
];

fn two<'r>(args: &Args<'r, '_, '_>) -> std::result::Result<(&'r str, &'r str), EvalError> {
    match args.values {
        [Value::String(a), Value::String(b), ..] => Ok((a, b)),
        _ => Err(EvalError::NoOverload),
    }
}

fn mapped<'a>(args: &mut Args<'_, '_, 'a>, map: fn(&str) -> String) -> Result<'a> {
    let [Value::String(text)] = args.values else { return Err(EvalError::NoOverload) };
    args.meter.walk(text.len())?;
    Ok(Value::text(map(text)))
}

/// As a literal of CEL.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// An index of characters, as bytes; the end counts as a place.
fn place(text: &str, index: i64) -> std::result::Result<usize, EvalError> {
    let wrong = || EvalError::other(format!("index out of range: {index}"));
    let index = usize::try_from(index).map_err(|_| wrong())?;
    text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(index).ok_or_else(wrong)
}

fn char_at<'a>(args: &mut Args<'_, '_, 'a>) -> Result<'a> {
    let [Value::String(text), Value::Int(index)] = args.values else { return Err(EvalError::NoOverload) };
    args.meter.walk(text.len())?;
    let at = place(text, *index)?;
    Ok(Value::text(text[at..].chars().next().map(String::from).unwrap_or_default()))
}

fn substring<'a>(args: &mut Args<'_, '_, 'a>) -> Result<'a> {
    let (text, from, to) = match args.values {
        [Value::String(text), Value::Int(from)] => (text, *from, None),
        [Value::String(text), Value::Int(from), Value::Int(to)] => (text, *from, Some(*to)),
        _ => return Err(EvalError::NoOverload),
    };
    args.meter.walk(text.len())?;
    if let Some(to) = to
        && from > to
    {
        return Err(EvalError::other(format!("invalid substring range. start: {from}, end: {to}")));
    }
    let from = place(text, from)?;
    let to = to.map_or(Ok(text.len()), |to| place(text, to))?;
    Ok(match text {
        Text::Borrowed(text) => Value::String(Text::Borrowed(&text[from..to])),
        Text::Own(text) => Value::text(&text[from..to]),
    })
}

fn join<'a>(args: &mut Args<'_, '_, 'a>) -> Result<'a> {
    let (list, between) = match args.values {
        [Value::List(list)] => (list, ""),
        [Value::List(list), Value::String(between)] => (list, &**between),
        _ => return Err(EvalError::NoOverload),
    };
    let mut joined = String::new();
    for (index, item) in list.iter().enumerate() {
        let Value::String(item) = item else { return Err(EvalError::NoOverload) };
        args.meter.walk(item.len() + between.len() + 1)?;
        if index > 0 {
            joined.push_str(between);
        }
        joined.push_str(&item);
    }
    Ok(Value::text(joined))
}

fn replace<'a>(args: &mut Args<'_, '_, 'a>) -> Result<'a> {
    let (text, from, to, limit) = match args.values {
        [Value::String(text), Value::String(from), Value::String(to)] => (text, from, to, -1),
        [Value::String(text), Value::String(from), Value::String(to), Value::Int(limit)] => {
            (text, from, to, *limit)
        }
        _ => return Err(EvalError::NoOverload),
    };
    args.meter.charge((text.len() as u64).div_ceil(10) * (from.len() as u64).div_ceil(10).max(1))?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let count = text.matches(&**from).count().min(limit);
    args.meter.walk(text.len().saturating_add(count.saturating_mul(to.len())))?;
    Ok(Value::text(text.replacen(&**from, to, limit)))
}

fn split<'a>(args: &mut Args<'_, '_, 'a>) -> Result<'a> {
    let (text, by, limit) = match args.values {
        [Value::String(text), Value::String(by)] => (text, by, -1),
        [Value::String(text), Value::String(by), Value::Int(limit)] => (text, by, *limit),
        _ => return Err(EvalError::NoOverload),
    };
    args.meter.charge(text.len() as u64)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let parts: Vec<&str> = match limit {
        0 => Vec::new(),
        // Go splits into characters by nothing, without the empty ends that Rust sees.
        _ if by.is_empty() => {
            let mut parts: Vec<&str> = Vec::new();
            let mut rest = &**text;
            while let Some(c) = rest.chars().next().filter(|_| parts.len() + 1 < limit) {
                let (head, tail) = rest.split_at(c.len_utf8());
                parts.push(head);
                rest = tail;
            }
            parts.extend(Some(rest).filter(|rest| !rest.is_empty()));
            parts
        }
        limit => text.splitn(limit, &**by).collect(),
    };
    Ok(Value::list(parts.into_iter().map(Value::text).collect()))
}
