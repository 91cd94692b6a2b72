//! Field selectors: `spec.nodeName=a,status.phase!=Failed`, and their escapes.
//!
//! Only reads and compares. Which fields a kind lets one select by is the kind table's affair.

use std::fmt;

/// Most terms in one selector.
pub const TERMS_MAX: usize = 100;

/// Why a text is no field selector. The text is that of the API server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldSelectorError {
    /// A term without operator, or with more than one.
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Term {
        /// All of it.
        selector: String,
        /// The term that is wrong.
        term: String,
    },
    /// A backslash before something else than a comma, an equals sign or a backslash.
    #[error("invalid field selector: invalid escape sequence: {0}")]
    Escape(String),
    /// More terms than are allowed.
    #[error("a field selector may have at most {TERMS_MAX} terms")]
    TooMany,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// The field's label, e.g. `metadata.name`.
    pub field: String,
    /// False for `!=`.
    pub equal: bool,
    /// What the field's text is compared with.
    pub value: String,
}

/// All terms must hold; without any it selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// In the order of their text.
    pub terms: Vec<Term>,
}

impl FieldSelector {
    /// Reads the form of query strings.
    pub fn parse(text: &str) -> Result<FieldSelector, FieldSelectorError> {
        let mut parts = split_unescaped(text, ',');
        parts.sort_unstable();
        parts.retain(|part| !part.is_empty());
        if parts.len() > TERMS_MAX {
            return Err(FieldSelectorError::TooMany);
        }
        let terms = parts.into_iter().map(|part| parse_term(text, part)).collect::<Result<_, _>>()?;
        Ok(FieldSelector { terms })
    }

    /// Whether an object is selected; `field` gives the text of a field, empty when it is unset.
    pub fn matches<'a>(&self, mut field: impl FnMut(&str) -> &'a str) -> bool {
        self.terms.iter().all(|term| (field(&term.field) == term.value) == term.equal)
    }

    /// Whether it selects everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that the field must have, when a term says so: `metadata.name=x` makes a list a get.
    #[must_use]
    pub fn required_value(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.equal && term.field == field).map(|term| term.value.as_str())
    }
}

fn parse_term(selector: &str, part: &str) -> Result<Term, FieldSelectorError> {
    let wrong = || FieldSelectorError::Term { selector: selector.to_owned(), term: part.to_owned() };
    let at = find_operator(part).ok_or_else(wrong)?;
    let (field, rest) = part.split_at(at);
    let (equal, value) = if let Some(value) = rest.strip_prefix("!=") {
        (false, value)
    } else if let Some(value) = rest.strip_prefix("==") {
        (true, value)
    } else {
        (true, &rest[1..])
    };
    Ok(Term { field: field.to_owned(), equal, value: unescape(value)? })
}

/// Where the first operator that is not escaped begins.
fn find_operator(part: &str) -> Option<usize> {
    let bytes = part.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'=' => return Some(at),
            b'!' if bytes.get(at + 1) == Some(&b'=') => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

fn split_unescaped(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == separator {
            parts.push(&text[start..at]);
            start = at + c.len_utf8();
        }
    }
    parts.push(&text[start..]);
    parts
}

fn unescape(value: &str) -> Result<String, FieldSelectorError> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => out.push(escaped),
                Some(other) => return Err(FieldSelectorError::Escape(format!("\\{other}"))),
                None => return Err(FieldSelectorError::Escape("\\".to_owned())),
            },
            '=' => return Err(FieldSelectorError::Escape("=".to_owned())),
            other => out.push(other),
        }
    }
    Ok(out)
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, term) in self.terms.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let operator = if term.equal { "=" } else { "!=" };
            let value = term.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            write!(f, "{comma}{}{operator}{value}", term.field)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_read_and_matched() {
        let object = |field: &str| match field {
            "metadata.name" => "a",
            "spec.nodeName" => "n1",
            _ => "",
        };
        for (selector, expected) in [
            ("", true),
            ("metadata.name=a", true),
            ("metadata.name==a", true),
            ("metadata.name!=a", false),
            ("metadata.name=a,spec.nodeName=n1", true),
            ("metadata.name=a,spec.nodeName=n2", false),
            ("status.phase=", true),
            ("status.phase!=Running", true),
        ] {
            let parsed = FieldSelector::parse(selector).unwrap_or_else(|e| panic!("{selector}: {e}"));
            assert_eq!(parsed.matches(object), expected, "{selector}");
        }
    }

    #[test]
    fn escapes_round_trip() {
        let parsed = FieldSelector::parse(r"a=x\,y\=z\\,b!=c").expect("a selector");
        assert_eq!(parsed.required_value("a"), Some(r"x,y=z\"));
        assert_eq!(FieldSelector::parse(&parsed.to_string()), Ok(parsed));
    }

    #[test]
    fn what_is_wrong_is_said_in_the_servers_words() {
        let error = FieldSelector::parse("metadata.name").expect_err("no operator").to_string();
        assert_eq!(error, "invalid selector: 'metadata.name'; can't understand 'metadata.name'");
        assert!(FieldSelector::parse(r"a=\x").is_err());
        assert!(FieldSelector::parse("a=b=c").is_err());
    }
}
