//! The images that the quickstart and the tests need, made from the distribution's packages, so that no registry is needed.
//!
//! Each is one OCI archive in target/images, tagged as a registry's image of that name would be. Where nodes can pull the real
//! ones, only what no registry has is made.

mod deb;
mod oci;
mod rootfs;

use crate::{build, doctor, paths};
use anyhow::{Context, Result};
use std::{
    net::{TcpStream, ToSocketAddrs},
    path::PathBuf,
    time::Duration,
};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask images\n  cargo xtask images --force")]
pub(crate) struct Args {
    /// Build them again
    #[arg(long)]
    force: bool,
}

/// The name under which containerd starts a pod's sandbox.
pub(crate) const PAUSE: &str = "keelson.local/pause:1";

/// What a container is started with when its pod does not say.
pub(crate) struct Config {
    pub(crate) entrypoint: &'static [&'static str],
    pub(crate) cmd: &'static [&'static str],
    pub(crate) stop_signal: Option<&'static str>,
    pub(crate) ports: &'static [&'static str],
}

/// An image: its file, its names, how to fill it.
struct Image {
    file: &'static str,
    source: Source,
    names: &'static [&'static str],
    config: Config,
    fill: fn(&std::path::Path) -> Result<()>,
}

const IMAGES: &[Image] = &[
    Image {
        file: "pause.tar",
        source: Source::Local,
        names: &[PAUSE],
        config: Config { entrypoint: &["/pause"], cmd: &[], stop_signal: None, ports: &[] },
        fill: |root| {
            std::fs::copy(build::pause()?, root.join("pause")).context("copying the pause program")?;
            Ok(())
        },
    },
    Image {
        file: "busybox.tar",
        source: Source::Registry,
        names: &["docker.io/library/busybox:latest", "docker.io/library/busybox:1.35"],
        config: Config { entrypoint: &[], cmd: &["sh"], stop_signal: None, ports: &[] },
        fill: rootfs::busybox,
    },
    Image {
        file: "nginx.tar",
        source: Source::Registry,
        names: &[
            "docker.io/library/nginx:latest",
            "docker.io/library/nginx:1.22",
            "docker.io/library/nginx:1.22.1",
        ],
        // nginx drains on QUIT, as the official image has it.
        config: Config {
            entrypoint: &[],
            cmd: &["/usr/sbin/nginx", "-g", "daemon off;"],
            stop_signal: Some("SIGQUIT"),
            ports: &["80/tcp"],
        },
        fill: rootfs::nginx,
    },
];

pub(crate) fn run(args: &Args) -> Result<()> {
    doctor::ensure(doctor::For::Up)?;
    for archive in ensure(&[Source::Local, Source::Registry], args.force)? {
        println!("{}", archive.display());
    }
    Ok(())
}

/// Where else an image could come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nowhere.
    Local,
    /// The public registry that its name says.
    Registry,
}

/// Which images to make for nodes that share the host's network, or that reach nobody but each other.
pub(crate) fn to_make(on_host_network: bool) -> &'static [Source] {
    if on_host_network && registry_answers() { &[Source::Local] } else { &[Source::Local, Source::Registry] }
}

/// Long enough for a registry that can be reached; what is lost where none can.
const ANSWER_MAX: Duration = Duration::from_secs(1);

fn registry_answers() -> bool {
    let Ok(mut addresses) = ("registry-1.docker.io", 443).to_socket_addrs() else { return false };
    addresses.next().is_some_and(|address| TcpStream::connect_timeout(&address, ANSWER_MAX).is_ok())
}

/// Builds the images of these sources that are not there yet; answers the archives.
pub(crate) fn ensure(sources: &[Source], force: bool) -> Result<Vec<PathBuf>> {
    let folder = paths::images();
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let mut archives = Vec::new();
    for image in IMAGES.iter().filter(|image| sources.contains(&image.source)) {
        let archive = folder.join(image.file);
        if force || !archive.exists() {
            eprintln!("building image {}", image.names[0]);
            let root = folder.join("rootfs").join(image.file.trim_end_matches(".tar"));
            if root.exists() {
                std::fs::remove_dir_all(&root).with_context(|| format!("clearing {}", root.display()))?;
            }
            std::fs::create_dir_all(&root)?;
            (image.fill)(&root)?;
            oci::write(&archive, &root, image.names, &image.config)?;
        }
        archives.push(archive);
    }
    Ok(archives)
}
