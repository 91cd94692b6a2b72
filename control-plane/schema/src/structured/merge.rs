//! A configuration merged into what is there: maps by key, lists by their items, the rest replaced.

use serde_json::{Map, Value};

use super::element::Element;
use super::place::{Form, Place};

/// The state with the configuration in it. The configuration has been checked: its lists have keys and no duplicates.
pub(super) fn merge(place: Place<'_>, live: Option<&Value>, config: &Value) -> Value {
    let Some(live) = live else { return config.clone() };
    if place.form(live) != place.form(config) {
        return config.clone();
    }
    match (place.form(config), live, config) {
        (Form::Fields, Value::Object(live), Value::Object(config)) => {
            Value::Object(fields(place, live, config))
        }
        // Nothing said of a map or list that merges leaves it as it is.
        (Form::Fields, Value::Object(old), Value::Null) if !old.is_empty() => live.clone(),
        (Form::Set | Form::Keyed(_), Value::Array(old), Value::Null) if !old.is_empty() => live.clone(),
        (form @ (Form::Set | Form::Keyed(_)), Value::Array(old), Value::Array(new)) => {
            Value::Array(items(place, form, old, new))
        }
        _ => config.clone(),
    }
}

fn fields(place: Place<'_>, live: &Map<String, Value>, config: &Map<String, Value>) -> Map<String, Value> {
    let mut merged = live.clone();
    for (name, value) in config {
        let value = merge(place.field(name), live.get(name), value);
        merged.insert(name.clone(), value);
    }
    merged
}

/// Items that the configuration names come in its order; all others keep their place before the item that followed them.
fn items(place: Place<'_>, form: Form<'_>, live: &[Value], config: &[Value]) -> Vec<Value> {
    let element = |item: &Value| place.element(form, item).ok();
    let (ours, theirs): (Vec<Option<Element>>, Vec<Option<Element>>) =
        (live.iter().map(element).collect(), config.iter().map(element).collect());
    let named = |at: usize| ours[at].is_some() && theirs.contains(&ours[at]);
    // Of several live items with one key none is the one to merge with.
    let single = |wanted: &Option<Element>| {
        let mut found = (0..ours.len()).filter(|at| wanted.is_some() && ours[*at] == *wanted);
        found.next().filter(|_| found.next().is_none())
    };
    let mut merged = Vec::with_capacity(live.len().max(config.len()));
    let mut at = 0;
    for (next, item) in config.iter().enumerate() {
        let shared = |at: usize| theirs[next..].iter().position(|other| *other == ours[at]);
        while at < live.len() {
            let first_shared = (next..theirs.len()).find(|i| ours.contains(&theirs[*i]));
            match shared(at) {
                None if !named(at) => merged.push(live[at].clone()),
                // This one's turn is now, or after new items of the configuration.
                Some(ahead) if first_shared == Some(next + ahead) => break,
                // Merged already, or later.
                _ => {}
            }
            at += 1;
        }
        merged.push(merge(place.item(), single(&theirs[next]).map(|at| &live[at]), item));
        if at < live.len() && ours[at] == theirs[next] {
            at += 1;
        }
    }
    merged.extend((at..live.len()).filter(|at| !named(*at)).map(|at| live[at].clone()));
    merged
}
