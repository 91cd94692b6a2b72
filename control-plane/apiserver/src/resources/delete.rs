//! DELETE of one object and of a collection.

use super::{
    Call, form, read,
    stream::{self, ListHead, ListMeta},
};
use crate::{
    pipeline::text,
    request::{body, options},
    response::Answer,
    wire::Body,
};
use http::{Request, StatusCode, header, request::Parts};
use keelson_registry::{StoredBody, context::Context, kind::Kind, options::DeleteOptions, status::Status};
use keelson_schema::{DecodeError, FieldValidation, Schemas};
use serde_json::Value;
use std::sync::Arc;

/// Reads the options from the body, or from the query when there is none.
async fn read_options(
    call: &Call<'_>,
    head: &Parts,
    bytes: Body,
) -> Result<(Context, DeleteOptions), Status> {
    let bytes = body::read(bytes).await?;
    let parsed: Option<Value> = if bytes.is_empty() {
        None
    } else {
        Some(parse(text(&head.headers, &header::CONTENT_TYPE), &bytes)?)
    };
    let (options, dry_run) = options::delete(call.query, parsed.as_ref())?;
    Ok((Context { dry_run, ..call.context() }, options))
}

fn parse(content_type: Option<&str>, bytes: &[u8]) -> Result<Value, Status> {
    let content_type = body::content_type(content_type)?;
    let refused = |error: DecodeError| Status::bad_request(error.to_string());
    let given = keelson_schema::peek_type_meta(bytes, content_type, "DeleteOptions").map_err(refused)?;
    if !given.kind.is_empty() && given.kind != "DeleteOptions" {
        let why = format!("DeleteOptions expected in the body of a DELETE, got {:?}", given.kind);
        return Err(Status::bad_request(why));
    }
    let options = Schemas::builtin().delete_options();
    let decoded =
        keelson_schema::decode(bytes, content_type, options, FieldValidation::Ignore).map_err(refused)?;
    Ok(decoded.value)
}

/// DELETE of one object.
pub(crate) async fn delete(
    call: &Call<'_>,
    kind: &Arc<Kind>,
    request: Request<Body>,
) -> Result<Answer, Status> {
    let (head, bytes) = request.into_parts();
    let accepted = call.accepted(kind, &head.headers, &[])?;
    let (context, options) = read_options(call, &head, bytes).await?;
    let registry = &call.inner().registry;
    let deleted = registry.delete(&context, kind, call.namespace(kind), &call.info.name, &options).await?;
    // Upstream says 202 to the one spelling that asks for dependents to go first and is not done yet.
    let waiting = !deleted.gone && options.orphan_dependents == Some(false);
    let code = if waiting { StatusCode::ACCEPTED } else { StatusCode::OK };
    match &deleted.body {
        StoredBody::Entry(entry) => form::object(code, kind, entry, accepted),
        StoredBody::Value(value) => Answer::object(code, value, accepted),
    }
}

/// DELETE of all objects that the selectors select.
pub(crate) async fn collection(
    call: &Call<'_>,
    kind: &Arc<Kind>,
    request: Request<Body>,
) -> Result<Answer, Status> {
    let (head, bytes) = request.into_parts();
    let accepted = call.accepted(kind, &head.headers, &[])?;
    let (context, options) = read_options(call, &head, bytes).await?;
    let selection = options::list(call.query)?;
    let registry = &call.inner().registry;
    let deleted =
        registry.delete_collection(&context, kind, call.namespace(kind), &selection, &options).await?;
    let meta = ListMeta { resource_version: deleted.revision.to_string(), ..ListMeta::default() };
    let api_version = kind.api_version();
    let head = ListHead { api_version: &api_version, kind: &kind.list_kind, meta: &meta };
    read::whole(&head, deleted.items, stream::write_object, accepted, call.gzip)
}
