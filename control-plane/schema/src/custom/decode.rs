//! Bodies of custom resources: read as they are, their metadata by its own type, the rest cut to the schema.
//!
//! Unlike built-in kinds, wrong types are no error here (validation tells them, with 422), and nulls and empty lists stay.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::schema::Schema;
use super::{embedded, prune};
use crate::decode::seed::Seed;
use crate::decode::trail::{Step, Trail};
use crate::decode::{Cx, DecodeError, Decoded, refused};
use crate::types::{Schemas, TypeRef};

/// Reads any JSON value and tells keys that come twice; the last of them counts.
pub(crate) struct Plain<'t> {
    pub(crate) cx: &'t Cx,
    pub(crate) trail: Trail<'t>,
}

/// The object as the schema has it.
pub(crate) fn finish(cx: Cx, ty: TypeRef<'_>, schema: &Schema, value: Value) -> Result<Decoded, DecodeError> {
    if !value.is_object() {
        return Err(refused(ty, "the body is no object".to_owned()));
    }
    let mut value = value;
    if let Some(given) = value.get_mut("metadata") {
        let meta = Schemas::builtin()
            .definition("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
            .expect("every table has the meta types");
        let read = Seed::below(&cx, meta, Trail::ROOT.then(Step::Field(ty.kind(), "metadata")))
            .deserialize(given.take());
        match read {
            Ok(read) => *given = read.unwrap_or_else(|| Value::Object(Map::new())),
            Err(error) => return cx.finish(ty, Err(refused(ty, error.to_string()))),
        }
    }
    prune::prune(schema, &mut value, &mut |path| cx.strict(|| format!("unknown field {path:?}")));
    let coerced = embedded::coerce(schema, &mut value, &cx);
    let read = coerced.map(|()| Some(value)).map_err(|error| refused(ty, error.to_string()));
    cx.finish(ty, read)
}

impl<'de> DeserializeSeed<'de> for Plain<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Plain<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    /// A whole number is written without a fraction, as typed clients need it.
    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if value.fract() == 0.0 && value.abs() <= EXACT {
            #[expect(clippy::cast_possible_truncation, reason = "whole, and within what f64 holds exactly")]
            return Ok((value as i64).into());
        }
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let trail = self.trail.then(Step::Index(items.len()));
            match access.next_element_seed(Plain { cx: self.cx, trail })? {
                None => return Ok(Value::Array(items)),
                Some(item) => items.push(item),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let trail = self.trail.then(Step::Key(&key));
            let value = access.next_value_seed(Plain { cx: self.cx, trail })?;
            if map.contains_key(&key) {
                self.cx.strict(|| format!("duplicate field {:?}", self.trail.field(&key)));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
