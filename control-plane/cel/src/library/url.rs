//! `url("https://..")` and its functions. What counts as a URL is what Go's `url.ParseRequestURI` takes: an absolute
//! path, or a scheme and what follows it.

use super::{Args, Row};
use crate::EvalError;
use crate::value::Value;

/// A URL in its parts, as written.
#[derive(Debug, PartialEq, Eq)]
pub struct Url {
    text: String,
    scheme: String,
    host: String,
    path: String,
    query: String,
}

pub(crate) const ROWS: &[Row] = &[
    ("url", &["(string) -> URL"], |args| {
        let text = args.values[0].as_str().ok_or(EvalError::NoOverload)?;
        args.meter.walk(text.len())?;
        let url = parse(text).ok_or_else(|| {
            EvalError::other(format!(
                "URL parse error during conversion from string: parse {text:?}: invalid URI for request"
            ))
        });
        url.map(|url| Value::Url(url.into()))
    }),
    ("isURL", &["(string) -> bool"], |args| {
        let text = args.values[0].as_str().ok_or(EvalError::NoOverload)?;
        args.meter.walk(text.len())?;
        Ok(Value::Bool(parse(text).is_some()))
    }),
    ("getScheme", &["URL.() -> string"], |args| part(args, |url| url.scheme.clone())),
    ("getHost", &["URL.() -> string"], |args| part(args, |url| url.host.clone())),
    ("getHostname", &["URL.() -> string"], |args| part(args, |url| split(&url.host).0.to_owned())),
    ("getPort", &["URL.() -> string"], |args| part(args, |url| split(&url.host).1.to_owned())),
    ("getEscapedPath", &["URL.() -> string"], |args| part(args, |url| url.path.clone())),
    ("getQuery", &["URL.() -> map(string, list(string))"], query),
];

impl Url {
    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn part<'a>(args: &Args<'_, '_, '_>, of: fn(&Url) -> String) -> Result<Value<'a>, EvalError> {
    match args.values {
        [Value::Url(url)] => Ok(Value::text(of(url))),
        _ => Err(EvalError::NoOverload),
    }
}

fn parse(text: &str) -> Option<Url> {
    if text.is_empty() || text.chars().any(|c| c.is_ascii_control() || c == ' ') {
        return None;
    }
    let (scheme, rest) = match text.strip_prefix('/') {
        Some(_) => ("", text),
        None => text.split_once(':')?,
    };
    let mut letters = scheme.chars();
    let named = letters.next().is_none_or(|c| c.is_ascii_alphabetic())
        && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    if !named || (scheme.is_empty() && !text.starts_with('/')) {
        return None;
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = match rest.strip_prefix("//").filter(|_| !scheme.is_empty()) {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", rest),
    };
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (hostname, port) = split(host);
    let closed = !host.starts_with('[') || host.contains(']');
    if !closed
        || !port.chars().all(|c| c.is_ascii_digit())
        || hostname.contains(['<', '>', '"', '\\', '^', '`', '{', '}', '|'])
    {
        return None;
    }
    // `%` has to be followed by two digits of sixteen.
    let escapes = path
        .split('%')
        .skip(1)
        .all(|part| part.len() >= 2 && part.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit));
    let escaped = path.chars().map(|c| match c {
        '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '}' | '|' => format!("%{:02X}", c as u32),
        c if c.is_ascii() => c.to_string(),
        c => c.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect(),
    });
    escapes.then(|| Url {
        text: text.to_owned(),
        scheme: scheme.to_ascii_lowercase(),
        host: host.to_owned(),
        path: escaped.collect(),
        query: query.to_owned(),
    })
}

/// Name and port of `host`; a bracketed address without its brackets.
fn split(host: &str) -> (&str, &str) {
    if let Some(rest) = host.strip_prefix('[') {
        let (name, port) = rest.split_once(']').unwrap_or((rest, ""));
        return (name, port.strip_prefix(':').unwrap_or(""));
    }
    host.rsplit_once(':').unwrap_or((host, ""))
}

fn query<'a>(args: &mut Args<'_, '_, 'a>) -> Result<Value<'a>, EvalError> {
    let [Value::Url(url)] = args.values else { return Err(EvalError::NoOverload) };
    args.meter.charge(url.query.len() as u64)?;
    let mut all: std::collections::BTreeMap<String, Vec<Value<'a>>> = std::collections::BTreeMap::new();
    for pair in url.query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        all.entry(unescaped(key)).or_default().push(Value::text(unescaped(value)));
    }
    let entries = all.into_iter().map(|(key, values)| {
        (crate::value::Key::String(crate::value::Text::Own(key.into())), Value::list(values))
    });
    Ok(Value::map(entries.collect()))
}

fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match (bytes[at], code.and_then(|code| u8::from_str_radix(code, 16).ok())) {
            (_, Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', None) => out.push(b' '),
            (byte, None) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Whether the text is a URL.
pub(crate) fn is_url(text: &str) -> bool {
    parse(text).is_some()
}
