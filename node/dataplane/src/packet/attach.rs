//! Programs to devices: by pinned links where the kernel has tcx (6.6), else as filters of a clsact qdisc.
//!
//! A link is updated in place, a filter replaced in place: no packet passes without a program. A filter is no object that
//! can be pinned; the pin of its program tells which devices have one.

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use aya::programs::tc::{
    NlOptions, SchedClassifierLink, TcAttachOptions, TcAttachType, TcError, TcHandle, qdisc_add_clsact,
    qdisc_detach_program,
};
use keelson_sys::{
    bpf::{self, AttachType, Link},
    net::link_index,
};

use super::load::Loaded;
use crate::{
    Error,
    maps::pins::{file, subfolders},
};

/// Priority and handle of our filters: fixed, so that a later daemon finds and replaces them.
const PRIORITY: u16 = 75;
const HANDLE: u16 = 1;

/// How programs are attached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Method {
    /// Links (Linux 6.6).
    Tcx,
    /// Filters.
    Clsact,
}

/// What a device is to the node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// The host's end of a pod's link.
    Pod,
    /// The way to other nodes and the world.
    Uplink,
    /// A way to other nodes, through something that wraps packets. Nothing is done to what leaves there: it leaves the cluster nowhere, and no
    /// process of the node is asked as a Service's backend from there.
    Tunnel,
}

const POD: [Hook; 2] = [Hook::ingress("from_pod"), Hook::egress("to_pod")];
const UPLINK: [Hook; 2] = [Hook::ingress("from_uplink"), Hook::egress("to_uplink")];
const TUNNEL: [Hook; 1] = [Hook::ingress("from_uplink")];

impl Side {
    const fn hooks(self) -> &'static [Hook] {
        match self {
            Self::Pod => &POD,
            Self::Uplink => &UPLINK,
            Self::Tunnel => &TUNNEL,
        }
    }

    /// What a device is at which there is a program of that name. Two sides share one: of a tunnel it is the only one.
    fn of(program: &str, alone: bool) -> Option<(Self, Hook)> {
        let sides = if alone {
            [Self::Pod, Self::Tunnel, Self::Uplink]
        } else {
            [Self::Pod, Self::Uplink, Self::Tunnel]
        };
        let mut hooks = sides.iter().flat_map(|side| side.hooks().iter().map(|hook| (*side, *hook)));
        hooks.find(|(_, hook)| hook.program == program)
    }
}

#[derive(Clone, Copy)]
struct Hook {
    program: &'static str,
    attach_type: AttachType,
}

impl Hook {
    const fn ingress(program: &'static str) -> Self {
        Self { program, attach_type: AttachType::TcxIngress }
    }

    const fn egress(program: &'static str) -> Self {
        Self { program, attach_type: AttachType::TcxEgress }
    }

    fn filter_type(self) -> TcAttachType {
        if self.attach_type == AttachType::TcxIngress { TcAttachType::Ingress } else { TcAttachType::Egress }
    }

    /// Pins are named `<device>-<program>`; no program's name has a dash. bpffs takes no dots in names; no device's name has
    /// a slash, which stands for them.
    fn pin(self, folder: &Path, device: &str) -> PathBuf {
        folder.join(format!("{}-{}", device.replace('.', "%"), self.program))
    }

    fn of_pin(pin: &Path) -> Option<(String, Side, Self)> {
        let (device, program) = pin.file_name()?.to_str()?.rsplit_once('-')?;
        let alone = !pin.with_file_name(format!("{device}-{}", UPLINK[1].program)).exists();
        let (side, hook) = Side::of(program, alone)?;
        Some((device.replace('%', "."), side, hook))
    }
}

/// What becomes of a program that an earlier daemon left at a hook.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Present {
    /// It goes on: the tables of this daemon are not filled yet.
    Stays,
    /// It is replaced.
    Replaced,
}

/// The devices of a node, by name.
#[derive(Debug)]
pub(super) struct Devices {
    folder: PathBuf,
    attached: BTreeMap<String, Side>,
    method: Option<Method>,
}

impl Devices {
    pub(super) fn new(folder: PathBuf, without_tcx: bool) -> Self {
        Self { folder, attached: BTreeMap::new(), method: without_tcx.then_some(Method::Clsact) }
    }

    pub(super) fn folder(&self) -> &PathBuf {
        &self.folder
    }

    pub(super) fn method(&self) -> Option<Method> {
        self.method
    }

    pub(super) fn index(&self, device: &str) -> Result<u32, Error> {
        index(device)?.ok_or_else(|| Error::NoDevice { name: device.to_owned() })
    }

    /// Takes over what an earlier daemon left, with the programs of this one. What is of no device any more is dropped.
    pub(super) fn adopt(&mut self, loaded: &mut Loaded) -> Result<(), Error> {
        for pin in subfolders(&self.folder)? {
            let Some((device, side, _)) = Hook::of_pin(&pin) else { continue };
            if index(&device)?.is_some() {
                self.attach(loaded, &device, side, Present::Replaced)?;
            } else {
                bpf::unpin(&pin)?;
            }
        }
        Ok(())
    }

    /// Attaches both programs where there are none, and where there are, as told.
    pub(super) fn attach(
        &mut self,
        loaded: &mut Loaded,
        device: &str,
        side: Side,
        present: Present,
    ) -> Result<(), Error> {
        let ifindex = self.index(device)?;
        for &hook in side.hooks() {
            if self.method != Some(Method::Clsact)
                && self.attach_link(loaded, device, ifindex, hook, present)?
            {
                self.method = Some(Method::Tcx);
                continue;
            }
            self.method = Some(Method::Clsact);
            self.attach_filter(loaded, device, hook, present)?;
        }
        self.attached.insert(device.to_owned(), side);
        Ok(())
    }

    /// Puts the programs at every device anew.
    pub(super) fn update_all(&mut self, loaded: &mut Loaded) -> Result<(), Error> {
        for (device, side) in self.attached.clone() {
            match self.attach(loaded, &device, side, Present::Replaced) {
                Err(Error::NoDevice { .. }) => self.forget(&device, side)?,
                other => other?,
            }
        }
        Ok(())
    }

    /// The device is about to go, and with it what is attached there.
    pub(super) fn forget(&mut self, device: &str, side: Side) -> Result<(), Error> {
        self.attached.remove(device);
        Ok(side.hooks().iter().try_for_each(|hook| bpf::unpin(&hook.pin(&self.folder, device)))?)
    }

    /// Names of the tunnels at which programs are.
    pub(super) fn tunnels(&self) -> Vec<String> {
        let tunnels = self.attached.iter().filter(|(_, side)| **side == Side::Tunnel);
        tunnels.map(|(name, _)| name.clone()).collect()
    }

    /// The device stays, if it is there at all, and what is attached there goes.
    pub(super) fn detach(&mut self, device: &str, side: Side) -> Result<(), Error> {
        for hook in side.hooks() {
            detach_pinned(&hook.pin(&self.folder, device), device, *hook)?;
        }
        self.attached.remove(device);
        Ok(())
    }

    /// Whether the kernel has such links.
    fn attach_link(
        &self,
        loaded: &Loaded,
        device: &str,
        ifindex: u32,
        hook: Hook,
        present: Present,
    ) -> Result<bool, Error> {
        let (pin, program) = (hook.pin(&self.folder, device), loaded.program(hook.program)?);
        if let Some(link) = pinned_link(&pin, ifindex, hook)? {
            if present == Present::Replaced {
                link.update(program)?;
            }
            return Ok(true);
        }
        let Some(link) = Link::attach_device(program, ifindex, hook.attach_type)? else { return Ok(false) };
        // Now that packets pass the new program, not before.
        remove_filter(device, hook)?;
        bpf::unpin(&pin)?;
        link.pin(&pin)?;
        Ok(true)
    }

    fn attach_filter(
        &self,
        loaded: &mut Loaded,
        device: &str,
        hook: Hook,
        present: Present,
    ) -> Result<(), Error> {
        let pin = hook.pin(&self.folder, device);
        if present == Present::Stays && pin.exists() {
            return Ok(());
        }
        let failed = |source| Error::Filter { device: device.to_owned(), source };
        match qdisc_add_clsact(device) {
            Err(error) if !exists(&error) => return Err(failed(Box::new(error.into()))),
            _ => {}
        }
        let handle = TcHandle::new(0, HANDLE);
        let program = loaded.classifier(hook.program)?;
        let there = SchedClassifierLink::attached(device, hook.filter_type(), PRIORITY, handle, None)
            .map_err(|error| failed(Box::new(TcError::from(error).into())))?;
        let id = program.attach_to_link(there).or_else(|_| {
            let options = NlOptions { priority: PRIORITY, handle, classid: None };
            program.attach_with_options(device, hook.filter_type(), TcAttachOptions::Netlink(options))
        });
        let id = id.map_err(|error| failed(Box::new(error)))?;
        let link = program.take_link(id).map_err(|error| failed(Box::new(error)))?;
        // The filter is to outlive this process; dropping the link would remove it.
        std::mem::forget(link);
        // A link that an earlier daemon left would go with its pin, but some time later.
        if let Some(link) = Link::open_pinned(&pin)?
            && link.device_info().ok().flatten().is_some()
        {
            link.detach()?;
        }
        bpf::unpin(&pin)?;
        Ok(bpf::pin_program(loaded.program(hook.program)?.as_fd(), &pin)?)
    }
}

/// The link pinned there by an earlier daemon, if it joins this device. A device that was removed and made again has another
/// index, and its link is dead.
fn pinned_link(pin: &Path, ifindex: u32, hook: Hook) -> Result<Option<Link>, Error> {
    let Some(link) = Link::open_pinned(pin)? else { return Ok(None) };
    let joins =
        |info: &bpf::DeviceLinkInfo| info.ifindex == ifindex && info.attach_type == hook.attach_type as u32;
    let fits = link.device_info().ok().flatten().as_ref().is_some_and(joins);
    Ok(fits.then_some(link))
}

/// Detaches everything that the pins in a folder tell of, and removes them. Absent is fine.
pub(crate) fn detach_all(folder: &Path) -> Result<(), Error> {
    for pin in subfolders(folder)? {
        match Hook::of_pin(&pin) {
            Some((device, _, hook)) => detach_pinned(&pin, &device, hook)?,
            None => bpf::unpin(&pin)?,
        }
    }
    match fs::remove_dir(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(file("removing the folder", folder)(e)),
        _ => Ok(()),
    }
}

/// Detaches what a pin tells of, and removes it.
fn detach_pinned(pin: &Path, device: &str, hook: Hook) -> Result<(), Error> {
    match Link::open_pinned(pin)? {
        Some(link) if link.device_info().ok().flatten().is_some() => link.detach()?,
        _ => remove_filter(device, hook)?,
    }
    Ok(bpf::unpin(pin)?)
}

/// Removes our filter from a device; no filter and no device are fine. The qdisc stays: it may have others'.
fn remove_filter(device: &str, hook: Hook) -> Result<(), Error> {
    if index(device)?.is_none() {
        return Ok(());
    }
    match qdisc_detach_program(device, hook.filter_type(), hook.program) {
        Ok(()) => Ok(()),
        Err(TcError::IoError(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Without the qdisc there is no filter.
        Err(TcError::NetlinkError(_)) => Ok(()),
        Err(error) => Err(Error::Filter { device: device.to_owned(), source: Box::new(error.into()) }),
    }
}

fn exists(error: &TcError) -> bool {
    matches!(error, TcError::NetlinkError(error) if error.raw_os_error() == Some(17))
}

fn index(device: &str) -> Result<Option<u32>, Error> {
    link_index(device).map_err(file("looking up the device", Path::new(device)))
}
