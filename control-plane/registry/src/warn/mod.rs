//! What the API warns of: objects that are taken though something in them has no effect, is old or surprises. One file per
//! concept; texts and occasions are upstream's (`pkg/api/*/warnings.go`, `WarningsOnCreate` and `WarningsOnUpdate` of its
//! strategies), so that whoever looks for one finds the same answers.
//!
//! Every object that is written passes here, so nothing is allocated until there is something to say: a [`Place`] is a chain on
//! the stack, written out in the warning alone. Functions rely on the schema: JSON types are right.

mod address;
mod amount;
pub mod claim;
pub mod job;
mod node_labels;
mod place;
pub mod pod;
mod repeats;
pub mod service;
pub mod storage;
pub mod volume;

pub use place::Place;

use crate::{context::WARNINGS_MAX, meta};
use keelson_semantics::names;
use serde_json::Value;
use std::fmt::Display;

/// Of a longer list the first items alone are compared each with each: nobody wrote the others by hand, and it takes long.
const COMPARED_MAX: usize = 256;

/// Warnings of one object, [`WARNINGS_MAX`] at most.
#[derive(Debug, Default)]
pub struct Notes(Vec<String>);

impl Notes {
    /// Says `text` of the field at `place`.
    pub fn add(&mut self, place: &Place<'_>, text: impl Display) {
        self.say(format_args!("{place}: {text}"));
    }

    /// Says what names its field itself.
    pub fn say(&mut self, text: impl Display) {
        if !self.is_full() {
            self.0.push(text.to_string());
        }
    }

    /// Whether nothing more would be kept.
    pub fn is_full(&self) -> bool {
        self.0.len() >= WARNINGS_MAX
    }

    /// All of them, in the order in which they were said.
    pub fn into_texts(self) -> Vec<String> {
        self.0
    }
}

impl From<Vec<String>> for Notes {
    fn from(texts: Vec<String>) -> Self {
        Self(texts)
    }
}

/// Whether an update is more than one of metadata: nobody is told again what he did not touch.
pub fn is_new(new: &Value, old: Option<&Value>) -> bool {
    old.is_none_or(|old| meta::generation(old) != meta::generation(new))
}

/// A name that pods get, on create; `used` says in what.
pub fn name(object: &Value, used: &str, notes: &mut Notes) {
    let problems = names::dns1123_label(meta::field(object, "name"));
    if !problems.is_empty() {
        notes.say(format_args!(
            "metadata.name: this is used in {used}, which can result in surprising behavior; a DNS label is recommended: [{}]",
            problems.join(" ")
        ));
    }
}

/// What pods' names are part of, for [`name`] of whatever makes pods.
pub const IN_POD_NAMES: &str = "Pod names and hostnames";

/// Says `text` where an annotation is there, whatever its value.
fn annotation(object: &Value, key: &str, text: &str, notes: &mut Notes) {
    if meta::at(object, &["metadata", "annotations", key]).is_some() {
        notes.add(&Place::Root.field("metadata.annotations").key(key), text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_new_generation_is_warned_of() {
        let at = |generation: i64| json!({"metadata": {"generation": generation}});
        for (old, expected) in [(None, true), (Some(at(1)), true), (Some(at(2)), false)] {
            assert_eq!(is_new(&at(2), old.as_ref()), expected, "{old:?}");
        }
    }

    #[test]
    fn names_that_are_no_labels_are_warned_of() {
        let told = |text: &str| {
            let mut notes = Notes::default();
            name(&json!({"metadata": {"name": text}}), IN_POD_NAMES, &mut notes);
            notes.into_texts()
        };
        assert!(told("web").is_empty());
        assert_eq!(
            told("web.example"),
            [
                "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS \
              label is recommended: [must not contain dots]"
            ]
        );
    }

    #[test]
    fn no_more_is_kept_than_a_request_has_warnings() {
        let mut notes = Notes::default();
        (0..2 * WARNINGS_MAX).for_each(|index| notes.say(index));
        assert_eq!(notes.into_texts().len(), WARNINGS_MAX);
    }
}
