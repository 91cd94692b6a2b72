//! Programs to their hooks: a pinned link is updated in place, a missing one is made and pinned.

use std::{
    fs::File,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::Path,
};

use keelson_sys::bpf::{self, Link};

use super::{
    pins::{Pins, file},
    programs::{HOOKS, Hook, Programs},
};
use crate::Error;

/// How the hooks came to their programs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Attached {
    /// Links found pinned, updated without a moment unattached.
    pub adopted: usize,
    /// Links made.
    pub created: usize,
}

pub(super) fn attach(programs: &Programs, pins: &Pins, cgroup_root: &Path) -> Result<Attached, Error> {
    let cgroup = File::open(cgroup_root).map_err(file("opening the cgroup", cgroup_root))?;
    // In cgroup2 a folder's inode number is the cgroup's id.
    let cgroup_id = cgroup.metadata().map_err(file("looking at the cgroup", cgroup_root))?.ino();
    let mut attached = Attached::default();
    for (hook, program) in programs.iter() {
        let path = pins.links().join(hook.name);
        if let Some(link) = adoptable(&path, hook, cgroup_id)? {
            link.update(program.as_fd())?;
            attached.adopted += 1;
        } else {
            let link = Link::attach_cgroup(program.as_fd(), cgroup.as_fd(), hook.attach_type)?;
            bpf::unpin(&path)?;
            link.pin(&path)?;
            attached.created += 1;
        }
    }
    detach_others(programs, pins)?;
    Ok(attached)
}

/// Hooks that an earlier daemon used and this one does without.
fn detach_others(programs: &Programs, pins: &Pins) -> Result<(), Error> {
    for hook in HOOKS.iter().filter(|hook| programs.iter().all(|(used, _)| used.name != hook.name)) {
        let path = pins.links().join(hook.name);
        if let Some(link) = Link::open_pinned(&path)? {
            link.detach()?;
            bpf::unpin(&path)?;
        }
    }
    Ok(())
}

/// A link pinned there by an earlier daemon, if it joins this hook and this cgroup. A cgroup that was removed and made
/// again has another id, and its link is dead.
fn adoptable(path: &Path, hook: &Hook, cgroup_id: u64) -> Result<Option<Link>, Error> {
    let Some(link) = Link::open_pinned(path)? else { return Ok(None) };
    let fits = link
        .cgroup_info()?
        .is_some_and(|info| info.cgroup_id == cgroup_id && info.attach_type == hook.attach_type as u32);
    if !fits {
        tracing::warn!(hook = hook.name, "the pinned link joins another cgroup or hook and is replaced");
    }
    Ok(fits.then_some(link))
}
