//! The seam to keelson-schema: defaults, patches, and the decoding of what a patch made, per kind and subresource.

use crate::{
    context::Context,
    kind::Kind,
    options::PatchType,
    status::{GroupKind, Reason, Status},
};
use keelson_schema::{DecodeError, FieldError, Schemas, TypeRef, coerce, defaults, patch};
use serde_json::Value;

/// Group, version and kind of the body that a resource takes.
pub(crate) fn body_of<'a>(kind: &'a Kind, sub: &str) -> (&'a str, &'a str, &'a str) {
    let body = kind.subresource(sub).and_then(|sub| sub.body);
    body.unwrap_or(kind.gvk())
}

/// `v1`, `apps/v1`.
pub(crate) fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// The type of the body that a resource takes.
pub(crate) fn type_of<'a>(kind: &'a Kind, sub: &str) -> Option<TypeRef<'a>> {
    let (group, version, kind) = body_of(kind, sub);
    Schemas::builtin().kind(group, version, kind)
}

/// Fills in the API defaults of the kind's version.
pub(crate) fn default(kind: &Kind, object: &mut Value) {
    if let Some(ty) = type_of(kind, "") {
        defaults::apply(ty, object);
    }
}

/// Applies a patch to the shown state and decodes the outcome as strictly as the request asks.
pub(crate) fn patch(
    context: &Context,
    kind: &Kind,
    sub: &str,
    form: PatchType,
    old: &Value,
    body: &[u8],
) -> Result<Value, Status> {
    let ty = type_of(kind, sub)
        .ok_or_else(|| Status::internal(format!("there is no schema for {}", kind.group_kind())))?;
    let patched = match form {
        PatchType::Json => patch::json(old, body),
        PatchType::Merge => patch::merge(old, body),
        PatchType::Strategic => patch::strategic(ty, old, body),
        PatchType::Apply { .. } => {
            return Err(Status::internal("an apply is no change of one text: it goes by its own way"));
        }
    };
    let patched = patched.map_err(|error| {
        let (code, message) = (error.code(), error.to_string());
        match code {
            400 => Status::bad_request(message),
            413 => Status::too_large(message),
            415 => Status::unsupported_media_type(message),
            422 => Status::new(422, Reason::Invalid, message),
            _ => Status::internal(message),
        }
    })?;
    let decoded = coerce(patched, ty, context.field_validation).map_err(|error| undecodable(&error, body))?;
    for warning in decoded.warnings {
        context.warnings.add(warning);
    }
    Ok(decoded.value)
}

/// Brings what an apply made into canonical form. Its fields are known: what can be wrong is a value.
pub(crate) fn decode_applied(context: &Context, kind: &Kind, object: Value) -> Result<Value, Status> {
    let ty = type_of(kind, "")
        .ok_or_else(|| Status::internal(format!("there is no schema for {}", kind.group_kind())))?;
    let decoded = coerce(object, ty, context.field_validation)
        .map_err(|error| Status::bad_request(error.to_string()))?;
    Ok(decoded.value)
}

/// Upstream blames the patch, which has no kind and no name.
fn undecodable(error: &DecodeError, body: &[u8]) -> Status {
    let why = error.detail();
    let patch = String::from_utf8_lossy(body);
    let error = FieldError::invalid(&"patch".into(), patch.as_ref(), why);
    Status::invalid(&GroupKind::new("", ""), "", vec![error])
}
