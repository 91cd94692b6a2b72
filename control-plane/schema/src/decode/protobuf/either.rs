//! The three messages of a CustomResourceDefinition's schema that JSON writes as one of two things.
//!
//! In each, field 1 is the first and field 2 the second: a schema or a list of schemas; a boolean or a schema; a schema
//! or a list of texts. Source of which one counts: their JSON encoding in `apiextensions/v1`.

use serde_json::{Map, Value};

use super::message::{self, At};
use super::reader::{Payload, Reader};
use super::table::Form;
use super::{Malformed, text};
use crate::types::TypeRef;

const SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

pub(super) fn read(
    at: At<'_>,
    ty: TypeRef<'_>,
    form: Form,
    bytes: &[u8],
) -> Result<Option<Value>, Malformed> {
    let mut schema = None;
    let mut list = Vec::new();
    let mut allowed = false;
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.field()? {
        match (form, field) {
            (Form::SchemaOrBool, (1, Payload::Varint(value))) => allowed = value != 0,
            (Form::SchemaOrBool, (2, payload)) | (_, (1, payload)) => {
                schema = Some(schema_of(at, ty, payload)?);
            }
            (Form::SchemaOrStrings, (2, payload)) => {
                list.push(text(at.bytes(payload)?, || at.path())?.into())
            }
            (_, (2, payload)) => list.push(schema_of(at, ty, payload)?),
            _ => {}
        }
    }
    Ok(match (form, schema, list.is_empty()) {
        (Form::SchemaOrBool, None, _) => Some(allowed.into()),
        (_, _, false) => Some(list.into()),
        (_, schema, _) => schema,
    })
}

fn schema_of(at: At<'_>, ty: TypeRef<'_>, payload: Payload<'_>) -> Result<Value, Malformed> {
    let Some(schema) = ty.schemas.definition(SCHEMA) else { return Err(at.wrong(payload)) };
    let mut object = Map::new();
    message::message(at, schema, at.bytes(payload)?, &mut object)?;
    Ok(Value::Object(object))
}
