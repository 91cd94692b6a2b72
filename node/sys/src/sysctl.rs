//! Kernel parameters below /proc/sys, with a record of what they were.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// What could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}", path.display())]
pub struct SysctlError {
    doing: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Sets a parameter (`net.ipv4.ip_forward`; with slashes, where a part has a dot) if it differs. The value before the first change goes into `before`.
pub fn set(name: &str, value: &str, before: &mut BTreeMap<PathBuf, String>) -> Result<(), SysctlError> {
    let relative = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
    let path = Path::new("/proc/sys").join(relative);
    let failed = |doing| {
        let path = path.clone();
        move |source| SysctlError { doing, path, source }
    };
    let old = fs::read_to_string(&path).map_err(failed("reading"))?;
    if old.trim() == value {
        return Ok(());
    }
    fs::write(&path, value).map_err(failed("writing"))?;
    before.entry(path).or_insert_with(|| old.trim().to_string());
    Ok(())
}
