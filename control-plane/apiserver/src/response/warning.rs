//! Warning headers: what kubectl shows its user beside an answer, bounded in size.
//!
//! The bound is upstream's (`endpoints/filters/warning.go`): as long as all texts together fit they are whole; where they do not, each
//! is cut, and what still does not fit is left out. <https://kubernetes.io/blog/2020/09/03/warnings/>

use http::HeaderValue;

/// Characters of all warnings of an answer together.
const TOTAL_CHARS_MAX: usize = 4 * 1024;
/// Characters of one, where all together are too many.
const CUT_CHARS: usize = 256;

/// The values of an answer's Warning headers, in the order of the warnings.
pub(super) fn values(warnings: &[String]) -> Vec<HeaderValue> {
    let total: usize = warnings.iter().map(|warning| warning.chars().count()).sum();
    if total <= TOTAL_CHARS_MAX {
        return warnings.iter().filter_map(|warning| value(warning)).collect();
    }
    tracing::warn!(total, "an answer has more warnings than fit into its headers");
    let mut left = TOTAL_CHARS_MAX;
    let mut values = Vec::new();
    for warning in warnings {
        if left == 0 {
            break;
        }
        let cut: String = warning.chars().take(CUT_CHARS).collect();
        left = left.saturating_sub(cut.chars().count());
        values.extend(value(&cut));
    }
    values
}

/// RFC 7234 warn-code 299, no agent, quoted text. A control character, for which upstream drops the warning, becomes a space.
fn value(text: &str) -> Option<HeaderValue> {
    let mut quoted = String::with_capacity(text.len() + 10);
    quoted.push_str("299 - \"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push(' '),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    HeaderValue::from_bytes(quoted.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(warnings: &[String]) -> Vec<String> {
        let values = values(warnings);
        values.iter().map(|value| String::from_utf8(value.as_bytes().to_vec()).unwrap()).collect()
    }

    #[test]
    fn warnings_are_quoted() {
        let warnings = ["unknown field \"spec.x\"", "a\\b\nc", "jané"].map(str::to_owned);
        let wanted = [r#"299 - "unknown field \"spec.x\"""#, r#"299 - "a\\b c""#, r#"299 - "jané""#];
        assert_eq!(texts(&warnings), wanted);
    }

    #[test]
    fn too_many_are_cut_before_any_is_left_out() {
        let long = |c: &str, chars: usize| c.repeat(chars);
        // Exactly as many as fit.
        let fits = [long("a", TOTAL_CHARS_MAX - 1), "b".to_owned()];
        assert_eq!(texts(&fits)[0].len(), TOTAL_CHARS_MAX - 1 + 8);
        let over = [long("é", TOTAL_CHARS_MAX), "b".to_owned()];
        assert_eq!(texts(&over), [format!("299 - \"{}\"", long("é", CUT_CHARS)), "299 - \"b\"".to_owned()]);
        let many: Vec<String> = (0..100).map(|_| long("c", 300)).collect();
        assert_eq!(texts(&many).len(), TOTAL_CHARS_MAX / CUT_CHARS);
    }
}
