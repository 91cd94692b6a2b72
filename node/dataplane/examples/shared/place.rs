//! A cgroup and pins of one measurement's own, removed when dropped.

use std::{fs, path::Path};

use keelson_dataplane::{Object, Options, Talk, remove_all};

use crate::Result;

const BPFFS: &str = "/sys/fs/bpf";

/// Where a data plane of the measurement's own lives.
pub(crate) struct Place {
    pub(crate) options: Options,
}

impl Place {
    /// `name` is unique within this process; `measure`: with the metrics or without. The programs are those of `cargo xtask ebpf`,
    /// or of the file that KEELSON_EBPF_OBJ names.
    pub(crate) fn new(name: &str, measure: bool) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 ")).ok_or("no cgroup2 mount")?;
        let mount = Path::new(mount.split(' ').nth(4).ok_or("no mount point")?);
        let node = format!("bench-{}-{name}", std::process::id());
        let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/ebpf/sock.o");
        let options = Options {
            cgroup_root: mount.join(&node),
            node,
            bpffs: BPFFS.into(),
            packets: None,
            object: std::env::var_os("KEELSON_EBPF_OBJ")
                .map_or(Object::File(object), |p| Object::File(p.into())),
            measure,
            talk: Talk::Silent,
        };
        fs::create_dir(&options.cgroup_root)?;
        Ok(Self { options })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(e) = remove_all(&self.options.bpffs, &self.options.node) {
            eprintln!("pins are left: {e}");
        }
        if let Err(e) = fs::remove_dir(&self.options.cgroup_root) {
            eprintln!("{} is left: {e}", self.options.cgroup_root.display());
        }
    }
}
