//! The files of a Debian package, without installing it.

use crate::{
    doctor, paths,
    shell::{cmd, output, run},
};
use anyhow::{Context, Result, bail};
use std::path::Path;

/// Downloads a package of the distribution and unpacks its files below `into`.
pub(crate) fn unpack(package: &str, into: &Path) -> Result<()> {
    let downloads = paths::images().join("debs").join(package);
    std::fs::create_dir_all(&downloads)?;
    std::fs::create_dir_all(into)?;
    if archives(&downloads)?.is_empty() {
        download(package, &downloads)?;
    }
    let Some(archive) = archives(&downloads)?.pop() else {
        bail!("`apt-get download {package}` left no archive in {}", downloads.display());
    };
    run(cmd("dpkg-deb", ["-x"]).arg(archive).arg(into))
}

/// A machine that never asked its distribution for lists has none; then they are fetched once (which needs root).
fn download(package: &str, downloads: &Path) -> Result<()> {
    let fetch = || output(cmd("apt-get", ["download", "-q", package]).current_dir(downloads));
    if fetch().is_err() {
        doctor::apt_get(&["update", "-q"])?;
        fetch().with_context(|| format!("downloading the Debian package {package}"))?;
    }
    Ok(())
}

fn archives(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let entries = std::fs::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>()?;
    Ok(entries.into_iter().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "deb")).collect())
}
