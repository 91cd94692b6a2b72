//! The seam to keelson-schema: defaults, patches, and the decoding of what a patch made, per kind and subresource.

use crate::{
    context::Context,
    kind::Kind,
    meta,
    options::PatchType,
    status::{GroupKind, Reason, Status},
};
use keelson_schema::{
    DecodeError, FieldError, FieldValidation, TypeRef, coerce, defaults, patch, structured,
};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Upstream's answer to a strategic merge patch of what has no merge rules for it.
const NO_STRATEGIC: &str = "the body of the request was in an unknown format - accepted media types include: \
application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";

/// Group, version and kind of the body that a resource takes.
pub(crate) fn body_of<'a>(kind: &'a Kind, sub: &str) -> (&'a str, &'a str, &'a str) {
    kind.body(sub)
}

/// `v1`, `apps/v1`.
pub(crate) fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// The type of the body that a resource takes.
pub(crate) fn type_of<'a>(kind: &'a Kind, sub: &str) -> Option<TypeRef<'a>> {
    kind.body_type(sub)
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
    if kind.custom.is_some() && form == PatchType::Strategic {
        return Err(Status::unsupported_media_type(NO_STRATEGIC));
    }
    let (part, rest) = split(form, old, body);
    let patched = match form {
        PatchType::Json => patch::json(&part, body),
        PatchType::Merge => patch::merge(part.into_owned(), body),
        PatchType::Strategic => patch::strategic(ty, part.into_owned(), body),
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
    let decoded =
        coerce(patched, ty, context.field_validation).map_err(|error| undecodable(&error, form, body))?;
    for warning in decoded.warnings {
        context.warnings.add(warning);
    }
    let mut value = decoded.value;
    meta::map_of(&mut value).extend(rest);
    Ok(value)
}

/// The state as far as the patch can change it, and the rest of it, which is in canonical form already: most patches are of a
/// status, most of an object is its spec.
fn split<'v>(form: PatchType, old: &'v Value, patch: &[u8]) -> (Cow<'v, Value>, Map<String, Value>) {
    let touched = match form {
        PatchType::Merge | PatchType::Strategic => patch::touched(patch),
        PatchType::Json | PatchType::Apply { .. } => None,
    };
    let (Some(touched), Some(fields)) = (touched, old.as_object()) else {
        return (Cow::Borrowed(old), Map::new());
    };
    let owned = fields.iter().map(|(name, value)| (name.clone(), value.clone()));
    let (part, rest) = owned.partition(|(name, _)| touched.contains(name));
    (Cow::Owned(Value::Object(part)), rest)
}

/// Brings what an apply made into canonical form. Its fields are known: what can be wrong is a value.
pub(crate) fn decode_applied(context: &Context, kind: &Kind, object: Value) -> Result<Value, Status> {
    let ty = type_of(kind, "")
        .ok_or_else(|| Status::internal(format!("there is no schema for {}", kind.group_kind())))?;
    let decoded = coerce(object, ty, context.field_validation)
        .map_err(|error| Status::bad_request(error.to_string()))?;
    Ok(decoded.value)
}

/// An object as a webhook has left it: decoded once more, so that what the kind has not is dropped, and defaulted.
pub fn admitted(kind: &Kind, sub: &str, object: Value) -> Result<Value, Status> {
    let (group, version, name) = body_of(kind, sub);
    let ty = type_of(kind, sub)
        .ok_or_else(|| Status::internal(format!("there is no schema for {}", kind.group_kind())))?;
    let decoded = coerce(object, ty, FieldValidation::Ignore).map_err(Status::internal)?;
    let mut value = decoded.value;
    value["apiVersion"] = Value::from(group_version(group, version));
    value["kind"] = Value::from(name);
    if kind.subresource(sub).is_none_or(|sub| sub.body.is_none()) {
        defaults::apply(ty, &mut value);
    }
    Ok(value)
}

/// An object with part of a configuration merged into it as server-side apply does, by whoever admits it: no manager is
/// recorded for that.
///
/// # Errors
/// What is wrong with the configuration.
pub fn merged(kind: &Kind, sub: &str, live: &Value, config: &Value) -> Result<Value, String> {
    let ty = type_of(kind, sub).ok_or_else(|| format!("there is no schema for {}", kind.group_kind()))?;
    structured::check(ty, config).map_err(|errors| errors.to_string())?;
    Ok(structured::merged(ty, live, config))
}

/// An object after a JSON patch, not decoded yet.
///
/// # Errors
/// What is wrong with the patch.
pub fn patched(object: &Value, operations: &Value) -> Result<Value, String> {
    patch::json(object, operations.to_string().as_bytes()).map_err(|error| error.to_string())
}

/// A strategic merge patch's outcome is decoded by another way upstream, which has words of its own for lists and maps.
fn unrestored(why: &str) -> Option<String> {
    let (found, rest) = why.strip_prefix("json: cannot unmarshal ")?.split_once(" into Go ")?;
    let (_, wanted) = rest.rsplit_once(" of type ")?;
    let shape = match wanted {
        map if map.starts_with("map[") => "map",
        list if list.starts_with("[]") => "slice",
        _ => return None,
    };
    Some(format!("cannot restore {shape} from {found}"))
}

/// Upstream blames the patch, which has no kind and no name.
fn undecodable(error: &DecodeError, form: PatchType, body: &[u8]) -> Status {
    let why = error.detail();
    let restored = (form == PatchType::Strategic).then(|| unrestored(why)).flatten();
    let why = restored.as_deref().unwrap_or(why);
    let patch = String::from_utf8_lossy(body);
    let error = FieldError::invalid(&"patch".into(), patch.as_ref(), why);
    Status::invalid(&GroupKind::new("", ""), "", vec![error])
}
