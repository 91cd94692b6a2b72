//! From text to the parser's tree, however hostile the text: size and nesting are bounded before the parser, which
//! recurses, sees it.

use cel::common::ast::{IdedExpr, SourceInfo};

use crate::CompileError;

/// Characters of an expression: cel-go's limit, as Kubernetes leaves it.
pub const EXPRESSION_CHARS_MAX: usize = 100_000;
/// How deep an expression may nest, also by its operators (`a + b + c` is two deep): cel-go's recursion limit.
pub const NESTING_MAX: usize = 250;
/// What the parser's descent may take of stack: sixteen times what [`NESTING_MAX`] was seen to need.
const STACK_BYTES: usize = 64 << 20;

/// Parses, and has `then` read the tree, with a stack of their own: the generated parser descends through a dozen
/// functions a level.
pub(crate) fn parse<T: Send>(
    source: &str,
    then: impl FnOnce(IdedExpr, &SourceInfo) -> Result<T, CompileError> + Send,
) -> Result<T, CompileError> {
    let size = source.chars().count();
    if size > EXPRESSION_CHARS_MAX {
        return Err(CompileError::TooLong { size, limit: EXPRESSION_CHARS_MAX });
    }
    if nesting(source) > NESTING_MAX {
        return Err(CompileError::TooDeep(NESTING_MAX));
    }
    let parser = || {
        // Without macros: they are ours to read (`lower`).
        let parser = cel::Env::default().parser().enable_optional_syntax(true);
        let parsed = parser.max_recursion_depth(NESTING_MAX as u16).parse_with_source_info(source);
        let (tree, info) = parsed.map_err(|errors| refusal(source, &errors))?;
        then(tree, &info)
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("cel".to_owned()).stack_size(STACK_BYTES);
        let failed = |why: String| CompileError::Invalid(format!("the parser failed: {why}"));
        let thread = thread.spawn_scoped(scope, parser).map_err(|error| failed(error.to_string()))?;
        thread.join().unwrap_or_else(|_| Err(failed("it panicked".to_owned())))
    })
}

/// Each error with its place, as cel-go writes it.
fn refusal(source: &str, errors: &cel::ParseErrors) -> CompileError {
    let lines: Vec<&str> = source.split('\n').collect();
    let texts = errors.errors.iter().map(|error| {
        let (line, column) = (error.pos.0.max(1), error.pos.1.max(1));
        marked(lines.get(line as usize - 1).unwrap_or(&""), line as usize, column as usize, &error.msg)
    });
    CompileError::Invalid(texts.collect::<Vec<_>>().join("\n"))
}

/// `ERROR: <input>:1:5: text`, and the line with a mark under the column.
fn marked(line: &str, number: usize, column: usize, text: &str) -> String {
    let dots = ".".repeat((column - 1).min(line.len()));
    format!("ERROR: <input>:{number}:{column}: {text}\n | {line}\n | {dots}^")
}

/// The same for a place by its distance from the start, in characters.
pub(crate) fn placed(expression: &str, at: usize, text: &str) -> String {
    let mut left = at;
    for (index, line) in expression.split('\n').enumerate() {
        let length = line.chars().count() + 1;
        if left < length {
            return marked(line, index + 1, left + 1, text);
        }
        left -= length;
    }
    format!("ERROR: <input>:1:1: {text}")
}

/// An upper bound of how deep the text nests by brackets and by operators that bind to their left. `&&`, `||`, `,` and
/// `?:` start anew: the first two are balanced by the parser, and what the last nest is limited there.
fn nesting(source: &str) -> usize {
    let (mut open, mut here, mut below, mut deepest) = (Vec::new(), 0_usize, 0_usize, 0);
    let bytes = source.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' | b'\'' => {
                at = after_text(bytes, at);
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at += bytes[at..].iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len() - at);
                continue;
            }
            b'(' | b'[' | b'{' => {
                open.push(here + 1);
                below += here + 1;
                here = 0;
            }
            b')' | b']' | b'}' => {
                // What was in the brackets is an operand; what follows them hangs on the chain before them.
                here = open.pop().unwrap_or(0);
                below = below.saturating_sub(here);
            }
            b',' | b'&' | b'|' | b'?' | b':' => here = 0,
            b'.' | b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=' | b'!' => here += 1,
            b'i' if is_in(bytes, at) => here += 1,
            _ => {}
        }
        deepest = deepest.max(below + here);
        at += 1;
    }
    deepest
}

/// Whether the operator `in` stands here, and not a name with these letters.
fn is_in(bytes: &[u8], at: usize) -> bool {
    let word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    bytes[at..].starts_with(b"in") && !word(bytes.get(at + 2)) && (at == 0 || !word(bytes.get(at - 1)))
}

/// The place behind a text literal that opens here. A raw one's prefix does not matter but for what a backslash means.
fn after_text(bytes: &[u8], at: usize) -> usize {
    let quote = bytes[at];
    let raw = at > 0
        && (matches!(bytes[at - 1], b'r' | b'R')
            || (at > 1 && matches!(bytes[at - 2], b'r' | b'R') && matches!(bytes[at - 1], b'b' | b'B')));
    let triple = bytes[at..].starts_with(&[quote; 3]);
    let close: &[u8] = if triple { &[quote; 3] } else { &[quote] };
    let mut at = at + close.len();
    while at < bytes.len() {
        if bytes[at] == b'\\' && !raw {
            at += 2;
        } else if bytes[at..].starts_with(close) {
            return at + close.len();
        } else {
            at += 1;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_counted_by_brackets_and_chains() {
        let rows = [
            ("a", 0),
            ("a.b.c", 2),
            ("a + b + c", 2),
            ("a && b && c", 0),
            ("bind(int in inner)", 2),
            ("f(g(1))", 2),
            ("f(1).g(2).h(3)", 5),
            ("'((((((' + \"((\\\"((\"", 1),
            ("r'\\' + '(('", 1),
            ("'''a'b((''' + 1 // ((((", 1),
        ];
        for (source, expected) in rows {
            assert_eq!(nesting(source), expected, "{source}");
        }
    }

    #[test]
    fn whatever_is_too_long_or_too_deep_is_refused_before_it_is_parsed() {
        for (open, close) in [("(", ")"), ("[", "]"), ("f(", ")"), ("{1:", "}"), ("!(", ")")] {
            let source = format!("{}1{}", open.repeat(20_000), close.repeat(20_000));
            assert_eq!(parse(&source, |_, _| Ok(())), Err(CompileError::TooDeep(NESTING_MAX)));
        }
        for chain in [".b", "+1", "[0]", " in b", "==1", ".f()"] {
            let source = format!("a{}", chain.repeat(10_000));
            assert_eq!(parse(&source, |_, _| Ok(())), Err(CompileError::TooDeep(NESTING_MAX)), "{chain}");
        }
        let ternaries = format!("{}c", "a?b:".repeat(10_000));
        assert!(parse(&ternaries, |_, _| Ok(())).is_err());
        let long = "a".repeat(EXPRESSION_CHARS_MAX + 1);
        let refused = CompileError::TooLong { size: EXPRESSION_CHARS_MAX + 1, limit: EXPRESSION_CHARS_MAX };
        assert_eq!(parse(&long, |_, _| Ok(())), Err(refused));
        assert!(parse(&vec!["a"; 10_000].join(" && "), |_, _| Ok(())).is_ok());
    }
}
