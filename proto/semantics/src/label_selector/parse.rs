//! Reads the text form of label selectors. Owns the tokens, the grammar and the wording of its errors.

use super::{Operator, Requirement};
use crate::names;

/// Longest list of requirements in one selector.
pub const REQUIREMENTS_MAX: usize = 1000;

/// Why a selector is none. The texts are those of the API server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The grammar does not allow what was found.
    #[error("found '{found}', expected: {expected}")]
    Unexpected {
        /// The token.
        found: String,
        /// What could have stood there.
        expected: String,
    },
    /// A `(` is missing after `in` or `notin`.
    #[error("found '{0}' expected: '('")]
    NoParenthesis(String),
    /// One of the requirements is wrong.
    #[error("unable to parse requirement: {0}")]
    Requirement(Box<SelectorError>),
    /// The key is no label key.
    #[error("key: Invalid value: {0:?}: {1}")]
    Key(String, String),
    /// The key, where the parser itself looks at it.
    #[error("<nil>: Invalid value: {0:?}: {1}")]
    BareKey(String, String),
    /// A value is no label value.
    #[error("values[{index}][{key}]: Invalid value: {value:?}: {reason}")]
    Value {
        /// Position in the sorted values.
        index: usize,
        /// The label's key.
        key: String,
        /// The value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The operator does not go with that many values.
    #[error("values: Invalid value: {0:?}: {1}")]
    Count(Vec<String>, &'static str),
    /// `>` and `<` compare integers.
    #[error("values[0]: Invalid value: {0:?}: for 'Gt', 'Lt' operators, the value must be an integer")]
    NotAnInteger(String),
    /// No such operator in `matchExpressions`.
    #[error("{0:?} is not a valid label selector operator")]
    Operator(String),
    /// More requirements than are allowed.
    #[error("a selector may have at most {REQUIREMENTS_MAX} requirements")]
    TooMany,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Identifier(&'a str),
    Symbol(&'a str),
    Error(&'a str),
    End,
}

impl Token<'_> {
    fn literal(&self) -> String {
        match self {
            Token::Identifier(text) | Token::Symbol(text) => (*text).to_owned(),
            Token::Error(text) => format!("error expected: keyword found '{text}'"),
            Token::End => String::new(),
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
}

pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    let mut parser = Parser { rest: text };
    let mut requirements = Vec::new();
    loop {
        match parser.peek() {
            Token::Identifier(_) | Token::Symbol("!") => {}
            Token::End => return Ok(requirements),
            other => return Err(unexpected(other, "!, identifier, or 'end of string'")),
        }
        if requirements.len() == REQUIREMENTS_MAX {
            return Err(SelectorError::TooMany);
        }
        requirements.push(parser.requirement().map_err(|e| SelectorError::Requirement(Box::new(e)))?);
        match parser.next() {
            Token::End => return Ok(requirements),
            Token::Symbol(",") => match parser.peek() {
                Token::Identifier(_) | Token::Symbol("!") => {}
                other => return Err(unexpected(other, "identifier after ','")),
            },
            other => return Err(unexpected(other, "',' or 'end of string'")),
        }
    }
}

fn unexpected(found: Token<'_>, expected: &str) -> SelectorError {
    SelectorError::Unexpected { found: found.literal(), expected: expected.to_owned() }
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        Parser { rest: self.rest }.next()
    }

    fn next(&mut self) -> Token<'a> {
        let is_symbol = |c: char| "=!(),><".contains(c);
        let is_space = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
        let text = self.rest.trim_start_matches(is_space);
        if text.is_empty() {
            self.rest = text;
            return Token::End;
        }
        let end = if text.starts_with(is_symbol) {
            match text.get(..2) {
                Some("==" | "!=") => 2,
                _ => 1,
            }
        } else {
            text.find(|c| is_symbol(c) || is_space(c)).unwrap_or(text.len())
        };
        let (token, rest) = text.split_at(end);
        self.rest = rest;
        match token {
            "\0" => Token::Error(token),
            _ if token.starts_with(is_symbol) => Token::Symbol(token),
            _ => Token::Identifier(token),
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let mut token = self.next();
        let negated = token == Token::Symbol("!");
        if negated {
            token = self.next();
        }
        let Token::Identifier(key) = token else { return Err(unexpected(token, "identifier")) };
        let complaints = names::qualified_name(key);
        if !complaints.is_empty() {
            return Err(SelectorError::BareKey(key.to_owned(), complaints.join("; ")));
        }
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            let operator = if negated { Operator::DoesNotExist } else { Operator::Exists };
            return Requirement::new(key, operator, Vec::new());
        }
        let operator = match self.next() {
            Token::Symbol("=") => Operator::Equals,
            Token::Symbol("==") => Operator::DoubleEquals,
            Token::Symbol("!=") => Operator::NotEquals,
            Token::Symbol(">") => Operator::GreaterThan,
            Token::Symbol("<") => Operator::LessThan,
            Token::Identifier("in") => Operator::In,
            Token::Identifier("notin") => Operator::NotIn,
            other => return Err(unexpected(other, "in, notin, =, ==, !=, gt, lt")),
        };
        let mut values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.exact_value()?],
        };
        values.sort();
        values.dedup();
        Requirement::new(key, operator, values)
    }

    fn exact_value(&mut self) -> Result<String, SelectorError> {
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Ok(String::new());
        }
        match self.next() {
            Token::Identifier(value) => Ok(value.to_owned()),
            other => Err(unexpected(other, "identifier")),
        }
    }

    /// `(a,b)`; an empty place between commas is the empty value.
    fn values(&mut self) -> Result<Vec<String>, SelectorError> {
        match self.next() {
            Token::Symbol("(") => {}
            other => return Err(SelectorError::NoParenthesis(other.literal())),
        }
        let mut values = Vec::new();
        loop {
            let value = match self.peek() {
                Token::Identifier(value) => {
                    self.next();
                    value
                }
                Token::Symbol("," | ")") => "",
                other => return Err(unexpected(other, "',', ')' or identifier")),
            };
            values.push(value.to_owned());
            match self.next() {
                Token::Symbol(",") => {}
                Token::Symbol(")") => return Ok(values),
                other => return Err(unexpected(other, "',' or ')'")),
            }
        }
    }
}

/// What holds for every requirement, however it was written.
pub(super) fn check(key: &str, operator: Operator, values: &[String]) -> Result<(), SelectorError> {
    let complaints = names::qualified_name(key);
    if !complaints.is_empty() {
        return Err(SelectorError::Key(key.to_owned(), complaints.join("; ")));
    }
    let wrong_count = match operator {
        Operator::In | Operator::NotIn if values.is_empty() => {
            Some("for 'in', 'notin' operators, values set can't be empty")
        }
        Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
            Some("exact-match compatibility requires one single value")
        }
        Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
            Some("values set must be empty for exists and does not exist")
        }
        Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
            Some("for 'Gt', 'Lt' operators, exactly one value is required")
        }
        _ => None,
    };
    if let Some(reason) = wrong_count {
        return Err(SelectorError::Count(values.to_vec(), reason));
    }
    if matches!(operator, Operator::GreaterThan | Operator::LessThan) && values[0].parse::<i64>().is_err() {
        return Err(SelectorError::NotAnInteger(values[0].clone()));
    }
    for (index, value) in values.iter().enumerate() {
        let complaints = names::label_value(value);
        if !complaints.is_empty() {
            return Err(SelectorError::Value {
                index,
                key: key.to_owned(),
                value: value.clone(),
                reason: complaints.join("; "),
            });
        }
    }
    Ok(())
}
