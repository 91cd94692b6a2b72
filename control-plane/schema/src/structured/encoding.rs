//! FieldsV1: the JSON form of a set. `f:` a name, `k:` keys, `v:` a value, `i:` an index, `.` the field itself.
//!
//! Form: `metav1.FieldsV1` in the API reference.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::element::Element;
use super::set::{Branch, FieldSet};

/// A FieldsV1 that is none.
#[derive(Debug, thiserror::Error)]
#[error("not a FieldsV1: {0}")]
pub struct FieldsError(#[from] serde_json::Error);

impl FieldSet {
    /// Reads a FieldsV1.
    pub fn decode(text: &str) -> Result<FieldSet, FieldsError> {
        Ok(serde_json::from_str::<Branch>(text)?.below)
    }

    /// Whether something of it is in a set that is at hand as FieldsV1. Only what leads to it is read: most entries of
    /// an object have nothing to do with a change of it.
    pub(super) fn overlaps_text(&self, text: &str) -> Result<bool, FieldsError> {
        if self.is_empty() {
            return Ok(false);
        }
        let mut json = serde_json::Deserializer::from_str(text);
        Ok(Overlap { member: false, below: self }.deserialize(&mut json)?)
    }

    /// Writes the set as FieldsV1, in upstream's order and without white space.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_branch(false, self, out);
    }
}

fn write_branch(member: bool, below: &FieldSet, out: &mut Vec<u8>) {
    out.push(b'{');
    // A member without anything below is just `{}`.
    if member && !below.is_empty() {
        out.extend_from_slice(b"\".\":{},");
    }
    for (at, node) in below.nodes.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_key(&node.element, out);
        out.push(b':');
        write_branch(node.branch.member, &node.branch.below, out);
    }
    out.push(b'}');
}

fn write_key(element: &Element, out: &mut Vec<u8>) {
    let key: Cow<'_, str> = match element {
        Element::Field(name) if is_plain(name) => {
            out.extend_from_slice(b"\"f:");
            out.extend_from_slice(name.as_bytes());
            out.push(b'"');
            return;
        }
        Element::Field(name) => format!("f:{name}").into(),
        Element::Keys(keys) => {
            let mut text = String::from("k:{");
            for (at, (name, value)) in keys.iter().enumerate() {
                let comma = if at == 0 { "" } else { "," };
                text.push_str(comma);
                text.push_str(&Value::from(name.as_ref()).to_string());
                text.push(':');
                text.push_str(&value.to_string());
            }
            text.push('}');
            text.into()
        }
        Element::Item(value) => format!("v:{value}").into(),
        Element::Index(index) => format!("i:{index}").into(),
    };
    serde_json::to_writer(out, key.as_ref()).expect("writing to memory does not fail");
}

/// Whether JSON needs no escapes for it.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|b| b >= b' ' && b != b'"' && b != b'\\')
}

impl<'de> Deserialize<'de> for Branch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Branch, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Branch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Branch, A::Error> {
        let mut branch = Branch::default();
        while let Some(Key(key)) = access.next_key::<Key<'de>>()? {
            if key == "." {
                access.next_value::<IgnoredAny>()?;
                branch.member = true;
                continue;
            }
            let element = element_of(&key).map_err(A::Error::custom)?;
            branch.below.push(element, access.next_value()?);
        }
        branch.below.sort();
        branch.member |= branch.below.is_empty();
        Ok(branch)
    }
}

/// Looks whether the set here has something in common with the one that is read.
struct Overlap<'s> {
    member: bool,
    below: &'s FieldSet,
}

impl<'de> DeserializeSeed<'de> for Overlap<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Overlap<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<bool, A::Error> {
        let (mut found, mut is_leaf) = (false, true);
        while let Some(Key(key)) = access.next_key::<Key<'de>>()? {
            let branch = if key == "." { None } else { self.find(&key).map_err(A::Error::custom)? };
            found |= key == "." && self.member;
            is_leaf = false;
            match branch {
                Some(branch) if !found => {
                    found |=
                        access.next_value_seed(Overlap { member: branch.member, below: &branch.below })?;
                }
                _ => drop(access.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found || is_leaf && self.member)
    }
}

impl<'s> Overlap<'s> {
    fn find(&self, key: &str) -> Result<Option<&'s Branch>, String> {
        if let Some(name) = key.strip_prefix("f:") {
            // The order of elements begins with names.
            let at = self.below.nodes.binary_search_by(|node| match &node.element {
                Element::Field(own) => own.as_ref().cmp(name),
                _ => Ordering::Greater,
            });
            return Ok(at.ok().map(|at| &self.below.nodes[at].branch));
        }
        if self.below.is_empty() {
            return Ok(None);
        }
        Ok(self.below.get(&element_of(key)?))
    }
}

#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

fn element_of(key: &str) -> Result<Element, String> {
    let (sort, rest) = key.split_once(':').ok_or_else(|| format!("{key:?} has no type prefix"))?;
    let wrong = |error: serde_json::Error| format!("{key:?}: {error}");
    match sort {
        "f" => Ok(Element::Field(Cow::Owned(rest.to_owned()))),
        "k" => {
            let keys: BTreeMap<String, Value> = serde_json::from_str(rest).map_err(wrong)?;
            Ok(Element::Keys(keys.into_iter().map(|(name, value)| (Cow::Owned(name), value)).collect()))
        }
        "v" => serde_json::from_str(rest).map(Element::Item).map_err(wrong),
        "i" => rest.parse().map(Element::Index).map_err(|error| format!("{key:?}: {error}")),
        _ => Err(format!("{key:?} has an unknown type prefix")),
    }
}
