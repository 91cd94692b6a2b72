//! A cgroup with the socket programs and so many Services, removed with its pins when dropped.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Instant,
};

use keelson_dataplane::{
    Dataplane, Object, Options,
    plan::{Frontend, FrontendKey, Protocol},
    remove_all,
};

use crate::{
    Result,
    wire::{SERVICE_PORT, service},
};

const BPFFS: &str = "/sys/fs/bpf";

pub(crate) struct Lab {
    options: Options,
    _dataplane: Dataplane,
}

impl Lab {
    /// `measure`: with the metrics or without.
    pub(crate) fn new(services: usize, backends: &[SocketAddr], measure: bool) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 ")).ok_or("no cgroup2 mount")?;
        let mount = Path::new(mount.split(' ').nth(4).ok_or("no mount point")?);
        let node = format!("bench-{}-{measure}", std::process::id());
        let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/ebpf/sock.o");
        let options = Options {
            cgroup_root: mount.join(&node),
            node,
            bpffs: BPFFS.into(),
            packets: None,
            object: std::env::var_os("KEELSON_EBPF_OBJ")
                .map_or(Object::File(object), |p| Object::File(p.into())),
            measure,
        };
        fs::create_dir(&options.cgroup_root)?;
        let dataplane = fill(&options, services, backends).inspect_err(|_| clean(&options))?;
        Ok(Self { options, _dataplane: dataplane })
    }

    /// The folder that a process joins.
    pub(crate) fn cgroup(&self) -> PathBuf {
        self.options.cgroup_root.clone()
    }
}

fn fill(options: &Options, services: usize, backends: &[SocketAddr]) -> Result<Dataplane> {
    let mut dataplane = Dataplane::open(options)?;
    let mut backends = backends.to_vec();
    backends.sort_unstable();
    let frontend = |number| Frontend {
        key: FrontendKey { address: service(number).into(), port: SERVICE_PORT, protocol: Protocol::Tcp },
        backends: backends.clone(),
        affinity_s: 0,
    };
    let start = Instant::now();
    let all: Vec<_> = (0..services).map(frontend).collect();
    dataplane.replace(&all)?;
    let filled = start.elapsed();
    let start = Instant::now();
    dataplane.change(&[], &[Frontend { backends: all[0].backends[..1].to_vec(), ..all[0].clone() }])?;
    dataplane.change(&[], &all[..1])?;
    eprintln!("{services} Services written in {filled:?}; one changed in {:?}", start.elapsed() / 2);
    dataplane.attach()?;
    Ok(dataplane)
}

impl Drop for Lab {
    fn drop(&mut self) {
        clean(&self.options);
    }
}

fn clean(options: &Options) {
    if let Err(e) = remove_all(&options.bpffs, &options.node) {
        eprintln!("pins are left: {e}");
    }
    if let Err(e) = fs::remove_dir(&options.cgroup_root) {
        eprintln!("{} is left: {e}", options.cgroup_root.display());
    }
}
