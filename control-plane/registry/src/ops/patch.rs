//! PATCH in its forms; what comes out goes the way of every update.

use super::{Registry, Stored, Target, update::Intent};
use crate::{context::Context, kind::Kind, managed::Config, options::PatchType, status::Status};
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
        let target = Target::new(kind, namespace, name, sub);
        let intent = match form {
            PatchType::Apply { force } => {
                Intent::Apply(Config::parse(context, kind, target.sub, &body, force)?)
            }
            form => Intent::Patch(form, &body),
        };
        self.modify(context, target, &intent).await
    }
}
