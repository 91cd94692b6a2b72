//! From the bytes of a body to the object that the path asks for, by the schema of its kind.

use crate::{discovery::group_version, request::body};
use bytes::Bytes;
use keelson_registry::{context::Context, kind::Kind, status::Status};
use keelson_schema::{ContentType, DecodeError, TypeMeta, TypeRef};
use serde_json::Value;

/// Group, version, kind and type of the body that a path takes.
pub(crate) struct BodyKind<'a> {
    /// API group.
    pub(crate) group: &'a str,
    /// Version.
    pub(crate) version: &'a str,
    /// Kind.
    pub(crate) kind: &'a str,
    /// Its type, where there is a schema.
    ty: Option<TypeRef<'a>>,
    /// Whether it has a form in protobuf.
    has_protobuf: bool,
}

impl<'a> BodyKind<'a> {
    /// The body of the kind, or of its subresource where that has one of its own.
    pub(crate) fn of(kind: &'a Kind, subresource: Option<&str>) -> Self {
        let sub = subresource.unwrap_or_default();
        let (group, version, name) = kind.body(sub);
        let ty = kind.body_type(sub);
        Self { group, version, kind: name, ty, has_protobuf: kind.custom.is_none() }
    }
}

/// Decodes strictly, leniently or with warnings, as the context says; warnings go to the context. A body that does not
/// say what it is, is what the path says; one that says otherwise is refused.
pub(crate) fn decode(
    context: &Context,
    content_type: Option<&str>,
    bytes: &Bytes,
    wanted: &BodyKind<'_>,
) -> Result<Value, Status> {
    let type_ref =
        wanted.ty.ok_or_else(|| Status::internal(format!("no schema for kind {}", wanted.kind)))?;
    let refused = |error: DecodeError| Status::bad_request(error.to_string());
    let content_type = body::content_type(content_type)?;
    if content_type == ContentType::Protobuf && !wanted.has_protobuf {
        return Err(Status::unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml",
        ));
    }
    let given = keelson_schema::peek_type_meta(bytes, content_type, wanted.kind).map_err(refused)?;
    check_type(&given, wanted)?;
    let decoded =
        keelson_schema::decode(bytes, content_type, type_ref, context.field_validation).map_err(refused)?;
    for warning in decoded.warnings {
        context.warnings.add(warning);
    }
    let mut value = decoded.value;
    value["apiVersion"] = Value::from(group_version(wanted.group, wanted.version));
    value["kind"] = Value::from(wanted.kind);
    Ok(value)
}

/// Upstream's texts for a body of another kind or version.
fn check_type(given: &TypeMeta, wanted: &BodyKind<'_>) -> Result<(), Status> {
    let expected = group_version(wanted.group, wanted.version);
    if !given.kind.is_empty() && given.kind != wanted.kind {
        let version = if given.api_version.is_empty() { &expected } else { &given.api_version };
        return Err(Status::bad_request(format!(
            "{} in version {version:?} cannot be handled as a {}: no conversion from {version}, Kind={} to {expected}, Kind={}",
            given.kind, wanted.kind, given.kind, wanted.kind
        )));
    }
    if !given.api_version.is_empty() && given.api_version != expected {
        return Err(Status::bad_request(format!(
            "the API version in the data ({}) does not match the expected API version ({expected})",
            given.api_version
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_another_kind_or_version_is_refused() {
        let table = keelson_registry::KindTable::builtin();
        let kind = table.by_resource("apps", "v1", "deployments").unwrap();
        let wanted = BodyKind::of(kind, None);
        let given =
            |api_version: &str, kind: &str| TypeMeta { api_version: api_version.into(), kind: kind.into() };
        assert!(check_type(&given("", ""), &wanted).is_ok());
        assert!(check_type(&given("apps/v1", "Deployment"), &wanted).is_ok());
        let kind = check_type(&given("v1", "Pod"), &wanted).unwrap_err();
        assert!(
            kind.message.starts_with(r#"Pod in version "v1" cannot be handled as a Deployment"#),
            "{kind}"
        );
        let version = check_type(&given("apps/v1beta1", "Deployment"), &wanted).unwrap_err();
        assert_eq!(
            version.message,
            "the API version in the data (apps/v1beta1) does not match the expected API version (apps/v1)"
        );
    }
}
