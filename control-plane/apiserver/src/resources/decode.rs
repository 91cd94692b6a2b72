//! From the bytes of a body to the object that the path asks for, by the schema of its kind.

use crate::{discovery::group_version, request::body};
use bytes::Bytes;
use keelson_registry::{context::Context, kind::Kind, status::Status};
use keelson_schema::{DecodeError, Schemas, TypeMeta};
use serde_json::Value;

/// Group, version and kind of the body that a path takes.
pub(crate) struct BodyKind<'a> {
    /// API group.
    pub(crate) group: &'a str,
    /// Version.
    pub(crate) version: &'a str,
    /// Kind.
    pub(crate) kind: &'a str,
}

impl<'a> BodyKind<'a> {
    /// The body of the kind, or of its subresource where that has one of its own.
    pub(crate) fn of(kind: &'a Kind, subresource: Option<&str>) -> Self {
        let (group, version, kind) = subresource
            .and_then(|name| kind.subresource(name))
            .and_then(|sub| sub.body)
            .unwrap_or(kind.gvk());
        Self { group, version, kind }
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
    let type_ref = Schemas::builtin()
        .kind(wanted.group, wanted.version, wanted.kind)
        .ok_or_else(|| Status::internal(format!("no schema for kind {}", wanted.kind)))?;
    let refused = |error: DecodeError| Status::bad_request(error.to_string());
    let content_type = body::content_type(content_type)?;
    let given = keelson_schema::peek_type_meta(bytes, content_type).map_err(refused)?;
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
        let wanted = BodyKind { group: "apps", version: "v1", kind: "Deployment" };
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
