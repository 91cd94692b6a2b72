//! The walk: one serde visitor that is told by the schema what to expect at each place.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::trail::{Step, Trail};
use super::{Cx, leaf};
use crate::types::{Property, Shape, Type, TypeRef};

/// Types have fewer properties than a bit set of this width holds; checked by a test.
pub(super) type Seen = u128;

/// Decodes one value; a null gives `None`.
pub(crate) struct Seed<'t> {
    cx: &'t Cx,
    ty: TypeRef<'t>,
    trail: Trail<'t>,
}

impl<'t> Seed<'t> {
    pub(super) fn root(cx: &'t Cx, ty: TypeRef<'t>) -> Seed<'t> {
        Seed { cx, ty, trail: Trail::ROOT }
    }

    pub(crate) fn below(cx: &'t Cx, ty: TypeRef<'t>, trail: Trail<'t>) -> Seed<'t> {
        Seed { cx, ty, trail }
    }

    fn wrong<E: Error>(&self, found: &str) -> E {
        self.cx.fail(leaf::misplaced(self.ty, found, &self.trail))
    }

    fn known<'de, A: MapAccess<'de>>(
        &self,
        ty: &Type,
        mut access: A,
    ) -> Result<Map<String, Value>, A::Error> {
        let mut map = Map::new();
        let mut seen: Seen = 0;
        while let Some(key) = access.next_key_seed(KeySeed(ty))? {
            let at = match key {
                Key::Known(at) => at,
                Key::Unknown(name) => {
                    access.next_value::<IgnoredAny>()?;
                    self.cx.strict(|| format!("unknown field {:?}", self.trail.field(&name)));
                    continue;
                }
            };
            let property = &ty.properties[at];
            if seen & (1 << at) != 0 {
                self.cx.strict(|| format!("duplicate field {:?}", self.trail.field(&property.name)));
            }
            seen |= 1 << at;
            let trail = self.trail.then(Step::Field(&ty.name, &property.name));
            let seed = Seed { cx: self.cx, ty: self.ty.child(property), trail };
            match access.next_value_seed(seed)? {
                Some(value) if !is_left_out(property, &value) => {
                    map.insert(property.name.clone().into_owned(), value);
                }
                _ => {
                    map.remove(&*property.name);
                }
            }
        }
        Ok(map)
    }

    fn free<'de, A: MapAccess<'de>>(
        &self,
        inner: TypeRef<'t>,
        mut access: A,
    ) -> Result<Map<String, Value>, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let trail = self.trail.then(Step::Key(&key));
            let value = access.next_value_seed(Seed { cx: self.cx, ty: inner, trail })?;
            let value = value.unwrap_or_else(|| leaf::zero(inner));
            if map.contains_key(&key) {
                self.cx.strict(|| format!("duplicate field {:?}", self.trail.field(&key)));
            }
            map.insert(key, value);
        }
        Ok(map)
    }
}

/// Optional lists and free maps are not written when they are empty.
fn is_left_out(property: &Property, value: &Value) -> bool {
    !property.required
        && match (property.shape, value) {
            (Shape::Array(_), Value::Array(items)) => items.is_empty(),
            (Shape::Map(_), Value::Object(entries)) => entries.is_empty(),
            _ => false,
        }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Value>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of the API")
    }

    fn visit_unit<E: Error>(self) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_none<E: Error>(self) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Option<Value>, E> {
        leaf::boolean(self.ty, value, &self.trail).map(Some).map_err(|m| self.cx.fail(m))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Option<Value>, E> {
        leaf::integer(self.ty, value.into(), &self.trail).map(Some).map_err(|m| self.cx.fail(m))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Option<Value>, E> {
        leaf::integer(self.ty, value.into(), &self.trail).map(Some).map_err(|m| self.cx.fail(m))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Option<Value>, E> {
        leaf::float(self.ty, value, &self.trail).map(Some).map_err(|m| self.cx.fail(m))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Option<Value>, E> {
        leaf::text(self.ty, value, &self.trail).map(Some).map_err(|m| self.cx.fail(m))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Option<Value>, E> {
        match self.ty.shape() {
            Shape::String => Ok(Some(value.into())),
            _ => self.visit_str(&value),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Option<Value>, A::Error> {
        let inner = match self.ty.shape() {
            Shape::Json => return Value::deserialize(SeqAccessDeserializer::new(access)).map(Some),
            Shape::Array(_) => self.ty.inner(),
            _ => None,
        };
        let Some(inner) = inner else { return Err(self.wrong("array")) };
        let mut items = Vec::new();
        loop {
            let trail = self.trail.then(Step::Index(items.len()));
            match access.next_element_seed(Seed { cx: self.cx, ty: inner, trail })? {
                None => return Ok(Some(Value::Array(items))),
                Some(item) => items.push(item.unwrap_or_else(|| leaf::zero(inner))),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Option<Value>, A::Error> {
        let map = match (self.ty.shape(), self.ty.object(), self.ty.inner()) {
            (Shape::Object(_), Some(ty), _) => self.known(ty, access)?,
            (Shape::Map(_), _, Some(inner)) => self.free(inner, access)?,
            (Shape::Json | Shape::Opaque, ..) => {
                return Value::deserialize(MapAccessDeserializer::new(access)).map(Some);
            }
            _ => return Err(self.wrong("object")),
        };
        Ok(Some(Value::Object(map)))
    }
}

/// A property by its place in the type, without copying its name.
enum Key {
    Known(usize),
    Unknown(String),
}

struct KeySeed<'t>(&'t Type);

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed<'_> {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Key, E> {
        Ok(self.0.index_of(name).map_or_else(|| Key::Unknown(Cow::Borrowed(name).into_owned()), Key::Known))
    }
}
