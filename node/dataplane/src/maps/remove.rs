//! Leaving nothing behind.

use std::{fs, io, path::Path};

use keelson_sys::bpf::{self, Link};

use super::{
    pins::{self, file, remove_folder, subfolders},
    programs::HOOKS,
};
use crate::{Error, packet};

/// Detaches everything of a node and removes its pins; what is not there is fine. Needs no daemon, and none may run.
///
/// Sockets that are connected stay connected: they were translated once. Whoever makes a connection is detached before
/// whoever reverses it.
pub fn remove_all(bpffs: &Path, node: &str) -> Result<(), Error> {
    let root = pins::root(bpffs, node)?;
    let links = root.join("links");
    for hook in HOOKS.iter().rev() {
        let path = links.join(hook.name);
        if let Some(link) = Link::open_pinned(&path)? {
            link.detach()?;
        }
        bpf::unpin(&path)?;
    }
    packet::detach_wire(&root.join(pins::WIRE))?;
    packet::detach_all(&root.join(pins::DEVICES))?;
    for folder in subfolders(&root)? {
        remove_folder(&folder)?;
    }
    remove_folder(&root)?;
    let all = bpffs.join("keelson");
    match fs::remove_dir(&all) {
        Ok(()) => Ok(()),
        // Another node's pins are there.
        Err(e) if matches!(e.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound) => Ok(()),
        Err(e) => Err(file("removing the folder", &all)(e)),
    }
}
