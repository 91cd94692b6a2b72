//! One pass over a stored body for what an [`crate::entry::Entry`] keeps apart: metadata and the selectable fields.
//!
//! The body is our own canonical JSON (sorted keys, no white space), so the place where the resourceVersion belongs is
//! known: before `"uid"`, which is the last key of metadata.

use crate::kind::{Name, SelectableField};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap, fmt, ops::Range};

/// Where the selectable fields of a kind are, as a tree of object keys.
#[derive(Debug, Default)]
pub(crate) struct FieldTree {
    fields: usize,
    root: Node,
    absent: Vec<&'static str>,
}

#[derive(Debug, Default)]
struct Node {
    children: Vec<(Name, Node)>,
    /// (field, rank of the path among the field's paths).
    leaves: Vec<(usize, usize)>,
}

impl FieldTree {
    pub(crate) fn of(fields: &'static [SelectableField]) -> Self {
        let mut root = Node::default();
        for (field, declared) in fields.iter().enumerate() {
            for (rank, path) in declared.paths.iter().enumerate() {
                let node = path.split('.').map(Name::Borrowed).fold(&mut root, Node::child);
                node.leaves.push((field, rank));
            }
        }
        Self { fields: fields.len(), root, absent: fields.iter().map(|field| field.absent).collect() }
    }

    /// Fields that are named by their one path, as custom kinds have them.
    pub(crate) fn of_paths(paths: &[Name]) -> Self {
        let mut root = Node::default();
        for (field, path) in paths.iter().enumerate() {
            let node = path.split('.').map(|step| Name::Owned(step.to_owned())).fold(&mut root, Node::child);
            node.leaves.push((field, 0));
        }
        Self { fields: paths.len(), root, absent: vec![""; paths.len()] }
    }
}

impl Node {
    fn child(&mut self, key: Name) -> &mut Node {
        let at = self.children.iter().position(|(name, _)| *name == key).unwrap_or_else(|| {
            self.children.push((key, Node::default()));
            self.children.len() - 1
        });
        &mut self.children[at].1
    }
}

/// What one pass finds.
#[derive(Debug)]
pub(crate) struct Scanned<'a> {
    pub(crate) metadata: Metadata<'a>,
    /// One value per selectable field.
    pub(crate) fields: Vec<Cow<'a, str>>,
    /// Byte offset of `"uid":` within the body.
    pub(crate) split: usize,
    /// Where the value of metadata.managedFields is within the body; empty where there is none.
    pub(crate) managed: Range<usize>,
    /// Where the values of `fieldsV1` are in that.
    pub(crate) texts: Vec<Range<usize>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata<'a> {
    #[serde(borrow)]
    pub(crate) name: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) namespace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) uid: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) labels: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    #[serde(default)]
    pub(crate) deletion_timestamp: Option<IgnoredAny>,
    #[serde(default)]
    pub(crate) generation: i64,
    #[serde(default)]
    pub(crate) finalizers: Vec<IgnoredAny>,
    #[serde(borrow, default)]
    managed_fields: Option<&'a RawValue>,
}

/// What is looked at in an entry of metadata.managedFields.
#[derive(Deserialize)]
struct ManagedEntry<'a> {
    #[serde(borrow, default, rename = "fieldsV1")]
    fields: Option<&'a RawValue>,
}

/// An object key; a plain `Cow` would copy each one.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Scans a canonical body.
pub(crate) fn scan<'a>(body: &'a [u8], tree: &FieldTree) -> Result<Scanned<'a>, serde_json::Error> {
    let mut found = Found { values: vec![None; tree.fields], metadata: None };
    let mut input = serde_json::Deserializer::from_slice(body);
    Walk { node: &tree.root, top: true, found: &mut found }.deserialize(&mut input)?;
    input.end()?;
    let raw = found.metadata.ok_or_else(|| serde_json::Error::custom("the body has no metadata"))?.get();
    let start = raw.as_ptr() as usize - body.as_ptr() as usize;
    let uid = raw.rfind("\"uid\":").ok_or_else(|| serde_json::Error::custom("metadata has no uid"))?;
    let fields = found
        .values
        .into_iter()
        .zip(&tree.absent)
        .map(|(value, absent)| value.map_or(Cow::Borrowed(*absent), |(_, text)| text))
        .collect();
    let metadata: Metadata<'a> = serde_json::from_str(raw)?;
    let place = |value: &RawValue| {
        let at = value.get().as_ptr() as usize - body.as_ptr() as usize;
        at..at + value.get().len()
    };
    let entries: Vec<ManagedEntry<'a>> =
        metadata.managed_fields.map_or(Ok(Vec::new()), |value| serde_json::from_str(value.get()))?;
    let texts = entries.iter().filter_map(|entry| entry.fields).map(place).collect();
    let managed = metadata.managed_fields.map_or(0..0, place);
    Ok(Scanned { metadata, fields, split: start + uid, managed, texts })
}

struct Found<'a> {
    values: Vec<Option<(usize, Cow<'a, str>)>>,
    metadata: Option<&'a RawValue>,
}

struct Walk<'t, 'f, 'a> {
    node: &'t Node,
    top: bool,
    found: &'f mut Found<'a>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_any(self)
    }
}

impl<'a> Walk<'_, '_, 'a> {
    fn scalar(self, text: Cow<'a, str>) {
        if text.is_empty() {
            return;
        }
        for (field, rank) in &self.node.leaves {
            let slot = &mut self.found.values[*field];
            if slot.as_ref().is_none_or(|(best, _)| rank < best) {
                *slot = Some((*rank, text.clone()));
            }
        }
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            if self.top && key == "metadata" {
                self.found.metadata = Some(map.next_value()?);
                continue;
            }
            match self.node.children.iter().find(|(name, _)| *name == key) {
                Some((_, node)) => map.next_value_seed(Walk { node, top: false, found: self.found })?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<(), S::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<(), E> {
        self.scalar(Cow::Borrowed(text));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.scalar(Cow::Owned(text.to_owned()));
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.scalar(Cow::Borrowed(if value { "true" } else { "false" }));
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.scalar(Cow::Owned(value.to_string()));
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.scalar(Cow::Owned(value.to_string()));
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.scalar(Cow::Owned(value.to_string()));
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[SelectableField] = &[
        SelectableField { name: "spec.nodeName", paths: &["spec.nodeName"], absent: "" },
        SelectableField { name: "spec.hostNetwork", paths: &["spec.hostNetwork"], absent: "false" },
        SelectableField { name: "source", paths: &["source.component", "reporting"], absent: "" },
        SelectableField { name: "never", paths: &[], absent: "" },
    ];

    #[test]
    fn finds_fields_labels_and_the_split() {
        let body = br#"{"metadata":{"labels":{"a":"b\"c"},"managedFields":[{"fieldsV1":{"f:uid":{}}}],"name":"n","uid":"u-1"},"reporting":"r","source":{"component":"c"},"spec":{"hostNetwork":true,"nodeName":"node"}}"#;
        let scanned = scan(body, &FieldTree::of(FIELDS)).expect("the body is canonical");
        assert_eq!(scanned.fields, ["node", "true", "c", ""]);
        assert_eq!(scanned.metadata.labels["a"], "b\"c");
        assert!(body[scanned.split..].starts_with(b"\"uid\":\"u-1\""));
        assert_eq!(&body[scanned.managed], br#"[{"fieldsV1":{"f:uid":{}}}]"#);
        assert_eq!(scanned.texts.len(), 1);
        assert_eq!(&body[scanned.texts[0].clone()], br#"{"f:uid":{}}"#);
    }

    #[test]
    fn an_empty_text_does_not_hide_the_next_path() {
        let body = br#"{"metadata":{"name":"n","uid":"u"},"reporting":"r","source":{"component":""}}"#;
        let scanned = scan(body, &FieldTree::of(FIELDS)).expect("the body is canonical");
        assert_eq!(scanned.fields, ["", "false", "r", ""]);
    }

    #[test]
    fn a_body_without_uid_is_refused() {
        assert!(scan(br#"{"metadata":{"name":"n"}}"#, &FieldTree::default()).is_err());
    }
}
