//! Labels of an object, as small as they can be kept.

use keelson_semantics::label_selector::Labels;

/// Labels, sorted by key.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct LabelSet(Box<[(Box<str>, Box<str>)]>);

impl<'a> FromIterator<(&'a str, &'a str)> for LabelSet {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(labels: I) -> Self {
        let mut labels: Vec<(Box<str>, Box<str>)> =
            labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        labels.sort_unstable();
        Self(labels.into_boxed_slice())
    }
}

impl Labels for LabelSet {
    fn label(&self, key: &str) -> Option<&str> {
        let found = self.0.binary_search_by(|(own, _)| (**own).cmp(key)).ok()?;
        Some(&self.0[found].1)
    }
}
