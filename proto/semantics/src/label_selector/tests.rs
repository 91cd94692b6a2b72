//! The documentation's examples, and each way in which a selector can be wrong.

use std::collections::BTreeMap;

use super::{LabelSelector, LabelSelectorRequirement, LabelSelectorSpec};

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn text_selectors_select() {
    let object = labels(&[("app", "web"), ("tier", "front"), ("n", "5"), ("empty", "")]);
    for (selector, expected) in [
        ("", true),
        ("app", true),
        ("!app", false),
        ("!gone", true),
        ("app=web", true),
        ("app==web", true),
        ("app!=web", false),
        ("gone!=web", true),
        ("app in (web,db)", true),
        ("app notin (web)", false),
        ("gone notin (web)", true),
        ("gone in (web)", false),
        ("app=web,tier=front", true),
        ("app=web,tier=back", false),
        (" app = web , tier ", true),
        ("n>4", true),
        ("n<5", false),
        ("app>4", false),
        ("empty=", true),
        ("empty in ()", true),
        ("empty in (,a)", true),
        ("app in (in, notin, web)", true),
    ] {
        let parsed = LabelSelector::parse(selector).unwrap_or_else(|e| panic!("{selector}: {e}"));
        assert_eq!(parsed.matches(&object), expected, "{selector}");
    }
}

#[test]
fn the_text_is_written_back_sorted() {
    let parsed = LabelSelector::parse("z,x in (foo,,baz),!y,a==b").expect("a selector");
    assert_eq!(parsed.to_string(), "a==b,x in (,baz,foo),!y,z");
}

#[test]
fn what_is_wrong_is_said_in_the_servers_words() {
    for (selector, expected) in [
        ("a=b,", "found '', expected: identifier after ','"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("=a", "found '=', expected: !, identifier, or 'end of string'"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("a==!b", "unable to parse requirement: found '!', expected: identifier"),
        (
            "a>b",
            "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
    ] {
        let error = LabelSelector::parse(selector).expect_err(selector);
        assert_eq!(error.to_string(), expected, "{selector}");
    }
    let error = LabelSelector::parse("a=-b").expect_err("not a label value").to_string();
    assert!(
        error.starts_with("unable to parse requirement: values[0][a]: Invalid value: \"-b\": a valid label"),
        "{error}"
    );
    let error = LabelSelector::parse("a/b/c").expect_err("not a label key").to_string();
    assert!(
        error.starts_with("unable to parse requirement: <nil>: Invalid value: \"a/b/c\": a valid label key"),
        "{error}"
    );
}

#[test]
fn object_selectors_select() {
    let expression = |key: &str, operator: &str, values: &[&str]| LabelSelectorRequirement {
        key: key.into(),
        operator: operator.into(),
        values: values.iter().map(|v| (*v).to_owned()).collect(),
    };
    let spec = LabelSelectorSpec {
        match_labels: labels(&[("app", "web")]),
        match_expressions: vec![
            expression("tier", "In", &["front"]),
            expression("gone", "DoesNotExist", &[]),
        ],
    };
    let selector = LabelSelector::from_spec(&spec).expect("a valid selector");
    assert!(selector.matches(&labels(&[("app", "web"), ("tier", "front")])));
    assert!(!selector.matches(&labels(&[("app", "web")])));
    assert!(!selector.matches(&labels(&[("app", "web"), ("tier", "front"), ("gone", "")])));
    assert!(LabelSelector::everything().matches(&labels(&[])));

    assert!(expression("a", "Gt", &["1"]).to_requirement(false).is_err());
    assert!(expression("a", "Gt", &["1"]).to_requirement(true).is_ok());
    assert!(expression("a", "In", &[]).to_requirement(true).is_err());
}
