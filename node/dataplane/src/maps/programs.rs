//! The programs, and the hook that each belongs to.
//!
//! Opening an object makes its maps; the verifier sees the programs when they are to be attached. It takes longer than filling
//! all tables, and tables that are outgrown before they were ever attached need no program.

use std::{
    fmt,
    os::fd::{AsFd, OwnedFd},
};

use aya::{
    EbpfLoader,
    programs::{CgroupSock, CgroupSockAddr, ProgramError, SockOps},
};
use keelson_ebpf_common::{layout, node};
use keelson_sys::{
    bpf::{AttachType, Map},
    sockets,
};

use super::{
    pins::{Pins, fits},
    talk::{Listener, Talk},
};
use crate::Error;

/// A program's name in the object, its hook, and how aya loads it.
pub(super) struct Hook {
    pub(super) name: &'static str,
    pub(super) attach_type: AttachType,
}

const fn hook(name: &'static str, attach_type: AttachType) -> Hook {
    Hook { name, attach_type }
}

/// In the order of attaching: whoever measures or reverses a translation before whoever makes it.
pub(super) const HOOKS: [Hook; 12] = [
    hook("measure", AttachType::SockOps),
    hook("sock_release", AttachType::InetSockRelease),
    hook("getpeername4", AttachType::Inet4Getpeername),
    hook("getpeername6", AttachType::Inet6Getpeername),
    hook("recvmsg4", AttachType::Udp4Recvmsg),
    hook("recvmsg6", AttachType::Udp6Recvmsg),
    hook("sendmsg4", AttachType::Udp4Sendmsg),
    hook("sendmsg6", AttachType::Udp6Sendmsg),
    hook("connect4", AttachType::Inet4Connect),
    hook("connect6", AttachType::Inet6Connect),
    hook("bind4", AttachType::Inet4Bind),
    hook("bind6", AttachType::Inet6Bind),
];

/// Programs with their hooks, in the order of [`HOOKS`].
pub(super) struct Programs {
    /// The open object; none when all of it is loaded.
    object: Option<Box<aya::Ebpf>>,
    wanted: Vec<&'static Hook>,
    loaded: Vec<(&'static Hook, OwnedFd)>,
    _listener: Option<Listener>,
}

impl fmt::Debug for Programs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.wanted.iter().map(|hook| hook.name)).finish()
    }
}

impl Programs {
    /// Opens them onto the pinned maps, which are made if they are not there.
    pub(super) fn open(object: &[u8], pins: &Pins, measure: bool, talk: Talk) -> Result<Self, Error> {
        let (mut loader, scale) = (EbpfLoader::new(), pins.scale());
        let measure_word = u32::from(measure);
        loader.override_global(layout::SCALE, &scale, true);
        let netns = sockets::own_cookie().map_err(|source| Error::Namespace { source })?;
        loader.override_global(node::NETNS, &netns, true);
        loader.override_global(layout::MEASURE, &measure_word, true);
        talk.prepare(&mut loader);
        for shape in pins.shapes() {
            loader.map_pin_path(shape.name, pins.map(&shape));
            loader.map_max_entries(shape.name, shape.max_entries);
        }
        let mut object = loader.load(object).map_err(Box::new)?;
        for shape in pins.shapes() {
            let map = Map::open_pinned(&pins.map(&shape))?
                .ok_or(Error::Missing { what: "map", name: shape.name })?;
            if !fits(&shape, map.info()) {
                let (found, wanted) = (format!("{:?}", map.info()), format!("{shape:?}"));
                return Err(Error::Shape { name: shape.name, found, wanted });
            }
        }
        pins.migrate()?;
        let wanted = HOOKS.iter().filter(|hook| measure || hook.attach_type != AttachType::SockOps).collect();
        let listener = talk.listen(&mut object)?;
        Ok(Self { object: Some(Box::new(object)), wanted, loaded: Vec::new(), _listener: listener })
    }

    /// Has the kernel verify and compile them; those that it has not yet, where an earlier call failed half-way.
    pub(super) fn load(&mut self) -> Result<(), Error> {
        let Some(object) = &mut self.object else { return Ok(()) };
        for hook in &self.wanted[self.loaded.len()..] {
            self.loaded.push((hook, load(object, hook)?));
        }
        self.object = None;
        Ok(())
    }

    /// Those that are loaded.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static Hook, &OwnedFd)> {
        self.loaded.iter().map(|(hook, program)| (*hook, program))
    }
}

fn load(ebpf: &mut aya::Ebpf, hook: &Hook) -> Result<OwnedFd, Error> {
    let name = hook.name;
    let program = ebpf.program_mut(name).ok_or(Error::Missing { what: "program", name })?;
    let loaded = |source: ProgramError| Error::Program { name, source: Box::new(source) };
    let fd = match hook.attach_type {
        AttachType::InetSockRelease => {
            let program: &mut CgroupSock = program.try_into().map_err(loaded)?;
            program.load().map_err(loaded)?;
            program.fd().map_err(loaded)?.as_fd().try_clone_to_owned()
        }
        AttachType::SockOps => {
            let program: &mut SockOps = program.try_into().map_err(loaded)?;
            program.load().map_err(loaded)?;
            program.fd().map_err(loaded)?.as_fd().try_clone_to_owned()
        }
        _ => {
            let program: &mut CgroupSockAddr = program.try_into().map_err(loaded)?;
            program.load().map_err(loaded)?;
            program.fd().map_err(loaded)?.as_fd().try_clone_to_owned()
        }
    };
    fd.map_err(|e| loaded(ProgramError::IOError(e)))
}
