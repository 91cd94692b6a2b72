//! JSONPath as columns, scales and selectable fields use it: `.spec.replicas`, `.items[0].name`, `.a['b.c']`,
//! `.status.conditions[?(@.type=="Ready")].status`.
//!
//! Of the template language that kubectl shares: fields, indexes (negative ones count from the end), `[*]`, and filters
//! that compare one field with a text, a number or a boolean. The rest (unions, slices, recursive descent, functions) is
//! refused when a definition names it.

use serde_json::Value;

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    Each,
    /// Items whose field is (or is not) this; without a value, those that have the field.
    Where {
        field: Vec<String>,
        equal: bool,
        value: Option<Value>,
    },
}

impl JsonPath {
    /// Reads a path; Err says what cannot be read.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text.trim();
        if let Some(inner) = rest.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            rest = inner.trim();
        }
        rest = rest.strip_prefix('$').unwrap_or(rest);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, after) = match rest.as_bytes()[0] {
                b'[' => bracket(rest)?,
                b'.' => field(&rest[1..])?,
                _ if steps.is_empty() => field(rest)?,
                _ => return Err(format!("unexpected {rest:?}")),
            };
            steps.extend(step);
            rest = after;
        }
        Ok(Self(steps))
    }

    /// The names of a path that is made of fields alone.
    pub(crate) fn fields(&self) -> Option<Vec<&str>> {
        self.0
            .iter()
            .map(|step| match step {
                Step::Field(name) => Some(name.as_str()),
                _ => None,
            })
            .collect()
    }

    /// The first value that the path leads to.
    pub(crate) fn first<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        lead(&self.0, value)
    }
}

fn lead<'v>(steps: &[Step], value: &'v Value) -> Option<&'v Value> {
    let Some((step, rest)) = steps.split_first() else { return Some(value) };
    match step {
        Step::Field(name) => lead(rest, value.get(name)?),
        Step::Index(index) => {
            let items = value.as_array()?;
            let at = if *index < 0 {
                items.len().checked_sub(index.unsigned_abs() as usize)?
            } else {
                *index as usize
            };
            lead(rest, items.get(at)?)
        }
        Step::Each => match value {
            Value::Array(items) => items.iter().find_map(|item| lead(rest, item)),
            Value::Object(entries) => entries.values().find_map(|entry| lead(rest, entry)),
            _ => None,
        },
        Step::Where { field, equal, value: wanted } => {
            let holds = |item: &&Value| {
                let found = field.iter().try_fold(*item, |value, name| value.get(name));
                match wanted {
                    Some(wanted) => found.is_some_and(|found| (found == wanted) == *equal),
                    None => found.is_some(),
                }
            };
            value.as_array()?.iter().filter(holds).find_map(|item| lead(rest, item))
        }
    }
}

/// A name up to the next dot or bracket; a backslash takes the next character as it is.
fn field(text: &str) -> Result<(Option<Step>, &str), String> {
    if text.starts_with('.') {
        return Err("recursive descent (..) is not supported".to_owned());
    }
    let mut name = String::new();
    let mut chars = text.char_indices();
    let mut end = text.len();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' => {
                end = at;
                break;
            }
            c if c.is_whitespace() || "]{}()".contains(c) => {
                return Err(format!("unexpected {c:?} in a name"));
            }
            c => name.push(c),
        }
    }
    let step = match name.as_str() {
        "" if end == text.len() => None,
        "" => return Err("a name is missing".to_owned()),
        "*" => Some(Step::Each),
        _ => Some(Step::Field(name)),
    };
    Ok((step, &text[end..]))
}

fn bracket(text: &str) -> Result<(Option<Step>, &str), String> {
    let end = closing(text).ok_or_else(|| "a bracket is not closed".to_owned())?;
    let (inner, rest) = (text[1..end].trim(), &text[end + 1..]);
    if inner == "*" {
        return Ok((Some(Step::Each), rest));
    }
    if let Some(filter) = inner.strip_prefix("?(").and_then(|inner| inner.strip_suffix(')')) {
        return Ok((Some(condition(filter.trim())?), rest));
    }
    if let Some(name) = quoted(inner) {
        return Ok((Some(Step::Field(name.to_owned())), rest));
    }
    let index = inner.parse().map_err(|_| format!("[{inner}] is not supported"))?;
    Ok((Some(Step::Index(index)), rest))
}

/// The bracket that closes the first one, outside of quotes.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0_u32, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

fn quoted(text: &str) -> Option<&str> {
    ['\'', '"'].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))
}

fn condition(text: &str) -> Result<Step, String> {
    let path = |text: &str| -> Result<Vec<String>, String> {
        let text =
            text.trim().strip_prefix('@').ok_or_else(|| format!("a filter starts with @, not {text:?}"))?;
        let path = JsonPath::parse(text)?;
        let fields = path.fields().ok_or_else(|| "a filter compares a field".to_owned())?;
        Ok(fields.into_iter().map(str::to_owned).collect())
    };
    for (operator, equal) in [("==", true), ("!=", false)] {
        let Some((left, right)) = text.split_once(operator) else { continue };
        let right = right.trim();
        let value = match quoted(right) {
            Some(text) => Value::String(text.to_owned()),
            None => {
                serde_json::from_str(right).map_err(|_| format!("{right} is no value to compare with"))?
            }
        };
        return Ok(Step::Where { field: path(left)?, equal, value: Some(value) });
    }
    if text.contains(['<', '>', '&', '|']) {
        return Err(format!("the filter {text:?} is not supported: only == and != are"));
    }
    Ok(Step::Where { field: path(text)?, equal: true, value: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_to_the_first_value() {
        let object = json!({
            "spec": {"replicas": 3, "a.b": "dotted", "list": [{"n": 1}, {"n": 2}]},
            "status": {"conditions": [{"type": "A", "status": "False"}, {"type": "Ready", "status": "True"}]}
        });
        for (path, expected) in [
            (".spec.replicas", json!(3)),
            ("spec.replicas", json!(3)),
            (".spec['a.b']", json!("dotted")),
            (r".spec.a\.b", json!("dotted")),
            (".spec.list[1].n", json!(2)),
            (".spec.list[-1].n", json!(2)),
            (".spec.list[*].n", json!(1)),
            (r#".status.conditions[?(@.type=="Ready")].status"#, json!("True")),
            (".status.conditions[?(@.type!='A')].type", json!("Ready")),
        ] {
            let parsed = JsonPath::parse(path).expect(path);
            assert_eq!(parsed.first(&object), Some(&expected), "{path}");
        }
        assert_eq!(JsonPath::parse(".spec.none").expect("a path").first(&object), None);
        for bad in [".spec[", "..name", ".a[1:2]", ".a[?(@.n>1)]", ".a b"] {
            assert!(JsonPath::parse(bad).is_err(), "{bad}");
        }
    }
}
