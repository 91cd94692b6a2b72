//! Field numbers by message, read from the embedded facts when the first protobuf body arrives.

use std::{collections::HashMap, sync::LazyLock};

const FACTS: &str = include_str!("../../facts/protobuf.tsv");

/// How a field stands in its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    /// Once.
    One,
    /// A list.
    Many,
    /// A map from text.
    Map,
    /// Its own fields stand in the parent, in JSON.
    Inline,
    /// The message is this list, in JSON.
    Itself,
}

/// A field of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct FieldFacts {
    pub(super) number: u64,
    pub(super) name: &'static str,
    pub(super) label: Label,
    /// A scalar's name, or a message's.
    pub(super) kind: &'static str,
}

/// A message with its fields.
#[derive(Debug)]
pub(super) struct MessageFacts {
    pub(super) name: &'static str,
    pub(super) fields: Vec<FieldFacts>,
}

static TABLE: LazyLock<HashMap<&'static str, MessageFacts>> = LazyLock::new(|| {
    let mut table: HashMap<&'static str, MessageFacts> = HashMap::new();
    for line in FACTS.lines().skip(1) {
        let mut cells = line.split('\t');
        let mut cell = || cells.next().unwrap_or_default();
        let (message, number, name, label, kind) = (cell(), cell(), cell(), cell(), cell());
        let label = match label {
            "many" => Label::Many,
            "map" => Label::Map,
            "inline" => Label::Inline,
            "itself" => Label::Itself,
            _ => Label::One,
        };
        let field = FieldFacts { number: number.parse().unwrap_or_default(), name, label, kind };
        let facts =
            table.entry(message).or_insert_with(|| MessageFacts { name: message, fields: Vec::new() });
        facts.fields.push(field);
    }
    table
});

/// The message of that name.
pub(super) fn message(name: &str) -> Option<&'static MessageFacts> {
    TABLE.get(name)
}

impl MessageFacts {
    pub(super) fn field(&self, number: u64) -> Option<&FieldFacts> {
        self.fields.iter().find(|field| field.number == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALARS: [&str; 5] = ["string", "bytes", "bool", "int", "double"];

    #[test]
    fn every_row_is_complete_and_every_message_has_fields() {
        for message in TABLE.values() {
            for field in &message.fields {
                assert!(field.number > 0 && !field.name.is_empty(), "{} {field:?}", message.name);
                // Messages without fields (such as an empty selector) have no rows.
                assert!(
                    SCALARS.contains(&field.kind) || field.kind.contains('.'),
                    "{} {field:?}",
                    message.name
                );
            }
        }
        assert_eq!(message("core.v1.Pod").and_then(|pod| pod.field(2)).map(|f| f.name), Some("spec"));
    }
}
