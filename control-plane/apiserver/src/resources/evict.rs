//! POST on pods/NAME/eviction: the options of the deletion stand in the body.

use super::{Call, decode, write};
use crate::{
    pipeline::text,
    request::{
        body,
        options::{self, WriteVerb},
    },
    response::Answer,
    wire::Body,
};
use http::{Request, header};
use keelson_registry::{DeleteOptions, kind::Kind, status::Status};
use std::sync::Arc;

/// Evicts the pod that the path names.
pub(crate) async fn create(
    call: &Call<'_>,
    kind: &Arc<Kind>,
    request: Request<Body>,
) -> Result<Answer, Status> {
    let (head, bytes) = request.into_parts();
    let accepted = call.accepted(kind, &head.headers, &[])?;
    let mut context = write::context(call, &head.headers, WriteVerb::Create)?;
    let bytes = body::read(bytes).await?;
    let content_type = text(&head.headers, &header::CONTENT_TYPE);
    let wanted = decode::BodyKind::of(kind, call.subresource());
    let eviction = decode::decode(&context, content_type, &bytes, &wanted)?;
    let (options, dry) = match eviction.get("deleteOptions").filter(|given| !given.is_null()) {
        Some(given) => options::delete(call.query, Some(given))?,
        None => (DeleteOptions::default(), false),
    };
    context.dry_run |= dry;
    let registry = &call.inner().registry;
    let name = &call.info.name;
    let stored = registry.evict(&context, kind, call.namespace(kind), name, eviction, &options).await?;
    write::answer(call, kind, &stored, accepted)
}
