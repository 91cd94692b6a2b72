//! What the daemon changes on its host beside pods and Services: the DNS address on `lo`, forwarding
//! between pods. What it changes is recorded in `sysctls.json`, from which `down` restores it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use ipnet::Ipv4Net;
use keelson_sys::net::{NetOp, Netns, Network};
use keelson_sys::sysctl;

/// Parameters without which packets of pods do not pass.
const SYSCTLS: [(&str, &str); 1] = [("net.ipv4.ip_forward", "1")];

/// Lets pods' packets through, remembering what was before the first daemon came.
pub(crate) fn set_sysctls(root: &Path) -> anyhow::Result<()> {
    let file = root.join("sysctls.json");
    let mut before: BTreeMap<PathBuf, String> = match std::fs::read(&file) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("reading {}", file.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
        Err(error) => return Err(error).with_context(|| format!("reading {}", file.display())),
    };
    for (name, value) in SYSCTLS {
        sysctl::set(name, value, &mut before)?;
    }
    std::fs::write(&file, serde_json::to_vec(&before)?).with_context(|| format!("writing {}", file.display()))
}

/// Puts the cluster's DNS addresses on `lo`, so that the DNS process can listen there.
pub(crate) async fn add_dns_addresses(network: &dyn Network, addresses: &[IpAddr]) -> anyhow::Result<()> {
    let v4 = addresses.iter().filter_map(|address| match address {
        IpAddr::V4(address) => Some(Ipv4Net::from(*address)),
        IpAddr::V6(_) => None,
    });
    let mut ops = vec![NetOp::SetUp { link: "lo".to_owned() }];
    ops.extend(v4.map(|address| NetOp::AddAddress { link: "lo".to_owned(), address }));
    network.apply(&Netns::Own, &ops).await.context("putting the cluster's DNS address on lo")
}

/// containerd asks for a plugin called `loopback` beside every network; ours answers to that name too. A
/// plugin of that name that is there already stays.
pub(crate) fn link_loopback(cni_bin_dir: &Path) -> anyhow::Result<()> {
    let link = cni_bin_dir.join("loopback");
    match std::os::unix::fs::symlink("keelson-cni", &link) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("creating {}", link.display()))
        }
        _ => Ok(()),
    }
}
