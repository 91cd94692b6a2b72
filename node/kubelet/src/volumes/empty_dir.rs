//! `emptyDir`: a folder of the pod's own, on disk or in memory.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use k8s_openapi::api::core::v1::EmptyDirVolumeSource;
use keelson_semantics::Quantity;

use super::VolumeError;
use crate::context::Context;

/// Any user of any container may write into it.
const MODE: u32 = 0o777;

/// Makes the folder usable; one that is there already keeps what is in it.
pub(super) fn set_up(ctx: &Context, source: &EmptyDirVolumeSource, dir: &Path) -> Result<(), VolumeError> {
    let at = dir.display();
    match source.medium.as_deref() {
        None | Some("") => {}
        Some("Memory") => {
            let mounted = ctx.mounts.below(dir).map_err(VolumeError::io("cannot read the mounts"))?;
            if mounted.is_empty() {
                let limit = source.size_limit.as_ref().and_then(|text| text.0.parse::<Quantity>().ok());
                let bytes = limit.and_then(|limit| u64::try_from(limit.value()).ok()).filter(|b| *b > 0);
                ctx.mounts
                    .tmpfs(dir, bytes)
                    .map_err(VolumeError::io(format!("cannot mount tmpfs at {at}")))?;
            }
        }
        Some(other) => {
            return Err(VolumeError::Source(format!("emptyDir medium {other} is not supported yet")));
        }
    }
    let permissions = std::fs::Permissions::from_mode(MODE);
    std::fs::set_permissions(dir, permissions)
        .map_err(VolumeError::io(format!("cannot set the mode of {at}")))
}
