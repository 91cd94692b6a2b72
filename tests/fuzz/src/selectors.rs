//! The small languages of fields and parameters.

use keelson_semantics::{FieldSelector, IntOrString, LabelSelector, Quantity, cron, names, timestamp};
use std::{collections::BTreeMap, fmt::Display};

/// Text, read as each of them.
pub fn run(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    again(text, |text| LabelSelector::parse(text).ok());
    again(text, |text| FieldSelector::parse(text).ok().map(sorted));
    again(text, |text| text.parse::<Quantity>().ok());
    if let Ok(selector) = LabelSelector::parse(text) {
        selector.matches(&BTreeMap::from([("a".to_owned(), "1".to_owned())]));
    }
    if let Ok(selector) = FieldSelector::parse(text) {
        selector.matches(|_| "a");
    }
    if let Ok(time) = timestamp::parse(text) {
        let micros = timestamp::format_micros(time);
        let again = timestamp::parse(&micros).expect("what is shown can be read");
        assert_eq!(timestamp::format_micros(again), micros);
    }
    drop(cron::parse(text));
    drop(IntOrString::String(text.to_owned()).scaled(7, keelson_semantics::int_or_string::Rounding::Up));
    for check in [names::dns1123_label, names::dns1123_subdomain, names::qualified_name, names::label_value] {
        check(text);
    }
}

/// Terms stand in the order of how they were written, of which `=` and `==` are shown alike.
fn sorted(mut selector: FieldSelector) -> FieldSelector {
    selector.terms.sort_by(|a, b| (&a.field, a.equal, &a.value).cmp(&(&b.field, b.equal, &b.value)));
    selector
}

/// What is shown of something reads as what is shown the same.
fn again<T: Display>(text: &str, read: impl Fn(&str) -> Option<T>) {
    let Some(first) = read(text) else { return };
    let shown = first.to_string();
    let second = read(&shown).map(|second| second.to_string());
    assert_eq!(second.as_ref(), Some(&shown), "{text:?}");
}
