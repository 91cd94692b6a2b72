//! `$(VAR)` in commands, arguments, environment values and `subPathExpr`.
//! Rules: API reference, Container.command: `$$` is one `$`, an unknown reference stays as written.

use std::collections::BTreeMap;

/// Expands references to `env` in `text`.
pub(crate) fn expand(text: &str, env: &BTreeMap<&str, &str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
            match env.get(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_expanded_by_the_rules_of_the_api_reference() {
        let env = BTreeMap::from([("A", "one"), ("B", "$(A)")]);
        for (text, expected) in [
            ("$(A)", "one"),
            ("x-$(A)-y", "x-one-y"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$one"),
            ("$(B)", "$(A)"),
            ("$(NONE)", "$(NONE)"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("price: 5$", "price: 5$"),
        ] {
            assert_eq!(expand(text, &env), expected, "{text}");
        }
    }
}
