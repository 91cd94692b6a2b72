//! Which fields of an object a change touches.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::iter::Peekable;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::element::Element;
use super::encoding::FieldsError;
use super::place::{Form, Place};
use super::set::{Branch, FieldSet};

/// The fields that differ between two states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// There now, not before.
    pub added: FieldSet,
    /// There before and now, with different values.
    pub modified: FieldSet,
    /// There before, not now.
    pub removed: FieldSet,
}

impl Comparison {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// What was written: added or modified.
    #[must_use]
    pub fn written(&self) -> Cow<'_, FieldSet> {
        if self.modified.is_empty() {
            Cow::Borrowed(&self.added)
        } else if self.added.is_empty() {
            Cow::Borrowed(&self.modified)
        } else {
            Cow::Owned(self.added.union(&self.modified))
        }
    }

    /// The same, of a comparison that is looked at no more.
    #[must_use]
    pub fn into_written(self) -> FieldSet {
        if self.modified.is_empty() { self.added } else { self.added.union(&self.modified) }
    }

    /// Whether this change touches something of a set that is at hand as FieldsV1.
    pub fn touches(&self, fields: &str) -> Result<bool, FieldsError> {
        for part in [&self.added, &self.modified, &self.removed] {
            if part.overlaps_text(fields)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Leaves out fields of the object's first level, with all below them.
    pub fn retain(&mut self, wanted: impl Fn(&str) -> bool + Copy) {
        for set in [&mut self.added, &mut self.modified, &mut self.removed] {
            set.retain(wanted);
        }
    }

    /// What is left of somebody else's fields after this change; none if it touches none of them.
    #[must_use]
    pub fn leaves_of(&self, set: &FieldSet) -> Option<FieldSet> {
        let touched = [&self.added, &self.modified, &self.removed];
        if !touched.iter().any(|part| set.overlaps(part)) {
            return None;
        }
        Some(touched.into_iter().fold(set.clone(), |left, part| left.difference(part)))
    }
}

/// Compares two states of an object.
#[must_use]
pub fn compare(place: Place<'_>, old: &Value, new: &Value) -> Comparison {
    let changes = walk(place, Some(old), Some(new));
    Comparison {
        added: changes.added.below,
        modified: changes.modified.below,
        removed: changes.removed.below,
    }
}

/// Compares a new object with none: everything is added, or modified where it is atomic and held by value.
#[must_use]
pub fn created(place: Place<'_>, new: &Value) -> Comparison {
    static NOTHING: LazyLock<Value> = LazyLock::new(|| Value::Object(Map::new()));
    compare(place, &NOTHING, new)
}

/// The changes at a place and below it.
#[derive(Default)]
struct Changes {
    added: Branch,
    modified: Branch,
    removed: Branch,
}

impl Changes {
    /// Takes in what changed below; the element is made only if something did.
    fn take(&mut self, below: Changes, element: impl Fn() -> Element) {
        let Changes { added, modified, removed } = below;
        for (whole, part) in
            [(&mut self.added, added), (&mut self.modified, modified), (&mut self.removed, removed)]
        {
            if !part.is_empty() {
                whole.below.push(element(), part);
            }
        }
    }

    fn sort(&mut self) {
        for branch in [&mut self.added, &mut self.modified, &mut self.removed] {
            branch.below.sort();
        }
    }
}

fn walk(place: Place<'_>, old: Option<&Value>, new: Option<&Value>) -> Changes {
    let Some(shown) = new.or(old) else { return Changes::default() };
    let form = place.form(shown);
    if let (Some(old), Some(new)) = (old, new)
        && place.form(old) != place.form(new)
    {
        return another_form(place, old, new);
    }
    let mut changes = match form {
        Form::Leaf => return leaf(old, new),
        Form::Fields => match (old.and_then(Value::as_object), new.and_then(Value::as_object)) {
            (a, b) if is_none_or_empty(a, Map::is_empty) && is_none_or_empty(b, Map::is_empty) => {
                return leaf(old, new);
            }
            (before, after) => fields(place, before, after, (old.is_some(), new.is_some())),
        },
        Form::Set | Form::Keyed(_) => match (old.and_then(Value::as_array), new.and_then(Value::as_array)) {
            (a, b) if is_none_or_empty(a, Vec::is_empty) && is_none_or_empty(b, Vec::is_empty) => {
                return leaf(old, new);
            }
            (Some(a), Some(b)) if a == b => return Changes::default(),
            (before, after) => {
                let (before, after) = (slice(before), slice(after));
                match (entries(place, form, before), entries(place, form, after)) {
                    (Some(before), Some(after)) => items(place, &before, &after),
                    // Items without keys are not told apart: the list counts as one thing.
                    _ => return leaf(old, new),
                }
            }
        },
    };
    changes.added.member = old.is_none();
    changes.removed.member = new.is_none();
    changes
}

fn is_none_or_empty<T>(value: Option<&T>, is_empty: impl Fn(&T) -> bool) -> bool {
    value.is_none_or(is_empty)
}

fn slice(items: Option<&Vec<Value>>) -> &[Value] {
    items.map(Vec::as_slice).unwrap_or_default()
}

fn leaf(old: Option<&Value>, new: Option<&Value>) -> Changes {
    let mut changes = Changes::default();
    match (old, new) {
        (None, Some(_)) => changes.added.member = true,
        (Some(_), None) => changes.removed.member = true,
        (Some(old), Some(new)) => changes.modified.member = old != new,
        (None, None) => {}
    }
    changes
}

/// Where no schema says which: a scalar became an object, or the other way round.
fn another_form(place: Place<'_>, old: &Value, new: &Value) -> Changes {
    Changes {
        added: Branch { member: false, below: walk(place, None, Some(new)).added.below },
        modified: Branch::leaf(),
        removed: Branch { member: false, below: walk(place, Some(old), None).removed.below },
    }
}

/// `there`: whether the object itself is there before and after, so that what it holds by value is there, too.
fn fields(
    place: Place<'_>,
    old: Option<&Map<String, Value>>,
    new: Option<&Map<String, Value>>,
    there: (bool, bool),
) -> Changes {
    let mut changes = Changes::default();
    let mut before = old.into_iter().flatten().peekable();
    let mut after = new.into_iter().flatten().peekable();
    while let Some((name, a, b)) = next_pair(&mut before, &mut after) {
        let child = place.child(name);
        let (a, b) = match (a, b) {
            (None, b) => (child.absent().filter(|_| there.0), b),
            (a, None) => (a, child.absent().filter(|_| there.1)),
            both => both,
        };
        changes.take(walk(child.place, a, b), || child.element(name));
    }
    changes
}

type Pair<'a> = (&'a String, Option<&'a Value>, Option<&'a Value>);

/// The next key of either map with its value in each; both are sorted by key.
fn next_pair<'a, I>(before: &mut Peekable<I>, after: &mut Peekable<I>) -> Option<Pair<'a>>
where
    I: Iterator<Item = (&'a String, &'a Value)>,
{
    let order = match (before.peek(), after.peek()) {
        (Some((a, _)), Some((b, _))) => a.cmp(b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => return None,
    };
    let a = if order.is_le() { before.next() } else { None };
    let b = if order.is_ge() { after.next() } else { None };
    let name = a.or(b)?.0;
    Some((name, a.map(|(_, value)| value), b.map(|(_, value)| value)))
}

type Entry<'a> = (Element, &'a Value);

/// A list's items by their elements, sorted; equal ones stay in order. None: an item has none.
fn entries<'a>(place: Place<'_>, form: Form<'_>, items: &'a [Value]) -> Option<Vec<Entry<'a>>> {
    let mut entries: Vec<Entry<'a>> =
        items.iter().map(|item| Some((place.element(form, item).ok()?, item))).collect::<Option<_>>()?;
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    Some(entries)
}

/// Items that stand alone are compared with each other; several of one key, which only old objects have, are one thing.
fn items(place: Place<'_>, mut old: &[Entry<'_>], mut new: &[Entry<'_>]) -> Changes {
    let mut changes = Changes::default();
    while let Some(element) = [old.first(), new.first()].into_iter().flatten().map(|(e, _)| e).min() {
        let (before, after) = (run(&mut old, element), run(&mut new, element));
        let item = |a: Option<&Entry<'_>>, b: Option<&Entry<'_>>| {
            walk(place.item(), a.map(|(_, value)| *value), b.map(|(_, value)| *value))
        };
        let below = match (before, after) {
            ([] | [_], [] | [_]) => item(before.first(), after.first()),
            ([_, _, ..], [_, _, ..]) => {
                let same = before.iter().map(|(_, v)| v).eq(after.iter().map(|(_, v)| v));
                Changes { modified: Branch { member: !same, ..Branch::default() }, ..Changes::default() }
            }
            ([_, _, ..], after) => {
                let mut below = after.first().map(|after| item(None, Some(after))).unwrap_or_default();
                below.removed.member = true;
                below
            }
            (before, _) => {
                let mut below = before.first().map(|before| item(Some(before), None)).unwrap_or_default();
                below.added.member = true;
                below
            }
        };
        changes.take(below, || element.clone());
    }
    changes.sort();
    changes
}

/// Takes the entries of one element off the front.
fn run<'a, 'v>(entries: &mut &'a [Entry<'v>], element: &Element) -> &'a [Entry<'v>] {
    let count = entries.iter().take_while(|(own, _)| own == element).count();
    let (taken, rest) = entries.split_at(count);
    *entries = rest;
    taken
}
