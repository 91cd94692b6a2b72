//! POST, PUT and PATCH: decode, hand to the registry, write back what was stored.

use super::{
    Call,
    decode::{self, BodyKind},
    form,
    stream::ListMeta,
    table::{self, Frame, IncludeObject},
};
use crate::{
    authorization::Creation,
    pipeline::text,
    request::{
        accept::{Accepted, Form},
        body,
        options::{self, WriteOptions, WriteVerb},
    },
    response::Answer,
    wire::Body,
};
use bytes::BytesMut;
use http::{HeaderMap, Request, StatusCode, header};
use keelson_registry::{PatchType, Stored, StoredBody, context::Context, kind::Kind, status::Status};
use std::sync::Arc;

/// Forms in which a write answers.
const FORMS: [Form; 2] = [Form::Table, Form::Metadata];

/// The registry's context with the options of this write.
pub(super) fn context(call: &Call<'_>, headers: &HeaderMap, verb: WriteVerb) -> Result<Context, Status> {
    let agent = text(headers, &header::USER_AGENT).unwrap_or_default();
    let options = WriteOptions::parse(call.query, verb, agent)?;
    // Both may make what is absent, which is another right.
    let may_create = matches!(verb, WriteVerb::Update | WriteVerb::Apply) && call.info.subresource.is_empty();
    let creation = || Creation::asked(call.server, &call.user, call.info);
    Ok(Context {
        dry_run: options.dry_run,
        field_manager: options.field_manager,
        field_validation: options.field_validation,
        creation: may_create.then(creation),
        ..call.context()
    })
}

/// POST on a collection or a subresource.
pub(crate) async fn create(
    call: &Call<'_>,
    kind: &Arc<Kind>,
    request: Request<Body>,
) -> Result<Answer, Status> {
    create_on(call, kind, call.subresource(), request).await
}

/// POST on `bindings`: the older path of `pods/NAME/binding`, with the pod named by the body.
pub(crate) async fn bind(
    call: &Call<'_>,
    kind: &Arc<Kind>,
    request: Request<Body>,
) -> Result<Answer, Status> {
    let pods = call.inner().table().by_resource("", "v1", "pods").cloned();
    let pods = pods.ok_or_else(|| Status::internal(format!("{} without pods", kind.plural)))?;
    create_on(call, &pods, Some("binding"), request).await
}

async fn create_on(
    call: &Call<'_>,
    kind: &Arc<Kind>,
    sub: Option<&str>,
    request: Request<Body>,
) -> Result<Answer, Status> {
    let (head, bytes) = request.into_parts();
    let accepted = call.accepted(kind, &head.headers, &FORMS)?;
    let context = context(call, &head.headers, WriteVerb::Create)?;
    let bytes = body::read(bytes).await?;
    let content_type = text(&head.headers, &header::CONTENT_TYPE);
    let object = decode::decode(&context, content_type, &bytes, &BodyKind::of(kind, sub))?;
    let hint = (!call.info.name.is_empty()).then_some(call.info.name.as_str());
    let registry = &call.inner().registry;
    let stored = registry.create(&context, kind, call.namespace(kind), sub, hint, object).await?;
    answer(call, kind, &stored, accepted)
}

/// PUT of an object or a subresource.
pub(crate) async fn update(
    call: &Call<'_>,
    kind: &Arc<Kind>,
    request: Request<Body>,
) -> Result<Answer, Status> {
    let (head, bytes) = request.into_parts();
    let accepted = call.accepted(kind, &head.headers, &FORMS)?;
    let context = context(call, &head.headers, WriteVerb::Update)?;
    let bytes = body::read(bytes).await?;
    let sub = call.subresource();
    let content_type = text(&head.headers, &header::CONTENT_TYPE);
    let object = decode::decode(&context, content_type, &bytes, &BodyKind::of(kind, sub))?;
    let registry = &call.inner().registry;
    let stored = registry.update(&context, kind, call.namespace(kind), &call.info.name, sub, object).await?;
    answer(call, kind, &stored, accepted)
}

/// PATCH of an object or a subresource.
pub(crate) async fn patch(
    call: &Call<'_>,
    kind: &Arc<Kind>,
    request: Request<Body>,
) -> Result<Answer, Status> {
    let (head, bytes) = request.into_parts();
    let patch_type = options::patch_type(text(&head.headers, &header::CONTENT_TYPE), call.query)?;
    let accepted = call.accepted(kind, &head.headers, &FORMS)?;
    let is_apply = matches!(patch_type, PatchType::Apply { .. });
    let verb = if is_apply { WriteVerb::Apply } else { WriteVerb::Patch };
    let context = context(call, &head.headers, verb)?;
    let bytes = body::read(bytes).await?;
    let registry = &call.inner().registry;
    let stored = registry
        .patch(&context, kind, call.namespace(kind), &call.info.name, call.subresource(), patch_type, bytes)
        .await?;
    answer(call, kind, &stored, accepted)
}

/// The answer to a write, in the form that was asked for.
pub(super) fn answer(
    call: &Call<'_>,
    kind: &Kind,
    stored: &Stored,
    accepted: Accepted,
) -> Result<Answer, Status> {
    let code = StatusCode::from_u16(stored.code).map_err(Status::internal)?;
    let entry = match &stored.body {
        StoredBody::Entry(entry) => entry,
        StoredBody::Value(value) => return value_answer(code, value, accepted),
    };
    match accepted.form {
        Form::Metadata => {
            let mut out = BytesMut::new();
            form::write_metadata(entry, entry.mod_revision(), accepted.meta, &mut out)?;
            form::rendered(code, out, accepted)
        }
        Form::Table => {
            let include = IncludeObject::parse(call.query)?;
            let meta = ListMeta { resource_version: entry.mod_revision().to_string(), ..ListMeta::default() };
            let entries = std::slice::from_ref(entry);
            let frame = Frame { include, version: accepted.meta, with_columns: true };
            form::rendered(code, table::render(kind, &meta, entries, frame, call.now)?, accepted)
        }
        _ => form::object(code, kind, entry, accepted),
    }
}

/// What was not stored (a dry run, a Scale, a Status) is at hand as a value only.
fn value_answer(code: StatusCode, value: &serde_json::Value, accepted: Accepted) -> Result<Answer, Status> {
    if accepted.form == Form::Metadata {
        let mut out = BytesMut::new();
        form::write_metadata_of(value.to_string().as_bytes(), accepted.meta, &mut out)?;
        return form::rendered(code, out, accepted);
    }
    Answer::object(code, value, accepted)
}
