//! Label and field selectors of a request, resolved against a kind: which entries it means.
//!
//! Only heads are looked at. Which fields may be named, and the texts of refusals, follow the kind's row; see
//! `facts/README.md` for their source.

use crate::{entry::Entry, kind::Kind, status::Status};
use keelson_semantics::{FieldSelector, LabelSelector, label_selector::Labels};

/// A resolved selector.
#[derive(Debug, Default)]
pub(crate) struct Select {
    labels: LabelSelector,
    fields: Vec<Term>,
}

#[derive(Debug)]
struct Term {
    place: Place,
    equal: bool,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Name,
    Namespace,
    /// Index into the kind's selectable fields.
    Field(usize),
}

struct EntryLabels<'a>(&'a Entry);

impl Labels for EntryLabels<'_> {
    fn label(&self, key: &str) -> Option<&str> {
        self.0.head.label(key)
    }
}

impl Select {
    /// Reads both selectors; 400 for what cannot be understood or names an unknown field.
    pub(crate) fn parse(kind: &Kind, labels: &str, fields: &str) -> Result<Self, Status> {
        let labels = LabelSelector::parse(labels).map_err(|error| Status::bad_request(error.to_string()))?;
        let parsed = FieldSelector::parse(fields).map_err(|error| Status::bad_request(error.to_string()))?;
        let fields = parsed
            .terms
            .into_iter()
            .map(|term| Ok(Term { place: place(kind, &term.field)?, equal: term.equal, value: term.value }))
            .collect::<Result<_, Status>>()?;
        Ok(Self { labels, fields })
    }

    /// Whether everything is meant.
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// The one name that is meant, if the selector says so.
    pub(crate) fn name(&self) -> Option<&str> {
        self.required(Place::Name)
    }

    /// The one namespace that is meant, if the selector says so.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.required(Place::Namespace)
    }

    fn required(&self, place: Place) -> Option<&str> {
        self.fields.iter().find(|term| term.equal && term.place == place).map(|term| term.value.as_str())
    }

    /// Whether the entry is meant.
    pub(crate) fn matches(&self, entry: &Entry) -> bool {
        self.fields.iter().all(|term| {
            let value = match term.place {
                Place::Name => entry.head.name(),
                Place::Namespace => entry.head.namespace(),
                Place::Field(index) => &entry.head.fields[index],
            };
            (value == term.value) == term.equal
        }) && (self.labels.is_empty() || self.labels.matches(&EntryLabels(entry)))
    }
}

fn place(kind: &Kind, field: &str) -> Result<Place, Status> {
    let own_list = !kind.selectable_fields.is_empty();
    match field {
        "metadata.name" => return Ok(Place::Name),
        // Kinds with a list of their own name the namespace only where they have one.
        "metadata.namespace" if kind.namespaced || !own_list => return Ok(Place::Namespace),
        _ => {}
    }
    if let Some(index) = kind.selectable_fields.iter().position(|known| known == field) {
        return Ok(Place::Field(index));
    }
    Err(Status::bad_request(if own_list {
        format!("field label not supported: {field}")
    } else {
        format!("\"{field}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
    }))
}
