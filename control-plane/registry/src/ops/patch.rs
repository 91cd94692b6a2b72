//! PATCH in its forms; what comes out goes the way of every update.

use super::{Registry, Stored, Target, update::Intent};
use crate::{context::Context, kind::Kind, options::PatchType, status::Status};
use bytes::Bytes;
use std::sync::Arc;

impl Registry {
    /// Patches an object, or the part of it that the subresource is. Tried again when another writer came between,
    /// unless the patch itself names a resourceVersion.
    #[expect(clippy::too_many_arguments, reason = "one argument per part of the request's path")]
    pub async fn patch(
        &self,
        context: &Context,
        kind: &Arc<Kind>,
        namespace: Option<&str>,
        name: &str,
        sub: Option<&str>,
        form: PatchType,
        body: Bytes,
    ) -> Result<Stored, Status> {
        if form == PatchType::Apply {
            return Err(Status::unsupported_media_type(
                "server-side apply (application/apply-patch+yaml) is not supported yet: the accepted media types \
                 include: application/json-patch+json, application/merge-patch+json, \
                 application/strategic-merge-patch+json",
            ));
        }
        let target = Target::new(kind, namespace, name, sub);
        self.modify(context, target, &Intent::Patch(form, &body)).await
    }
}
