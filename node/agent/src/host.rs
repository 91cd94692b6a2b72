//! What the daemon changes on its host beside pods and Services: the DNS address on `lo`, forwarding
//! between pods. What it changes is recorded in `sysctls.json`, from which `down` restores it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use keelson_sys::net::{NetOp, Netns, Network};
use keelson_sys::sysctl;

/// Where the kernel has a folder of parameters for each link.
const IPV6_LINKS: &str = "/proc/sys/net/ipv6/conf";

/// Lets pods' packets through, of the families that the node has addresses of, remembering what was before the first daemon
/// came.
pub(crate) fn set_sysctls(root: &Path, node_ips: &[IpAddr]) -> anyhow::Result<()> {
    let file = root.join("sysctls.json");
    let mut before: BTreeMap<PathBuf, String> = match std::fs::read(&file) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("reading {}", file.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
        Err(error) => return Err(error).with_context(|| format!("reading {}", file.display())),
    };
    if node_ips.iter().any(IpAddr::is_ipv4) {
        sysctl::set("net.ipv4.ip_forward", "1", &mut before)?;
    }
    if node_ips.iter().any(IpAddr::is_ipv6) {
        keep_advertised_routes(&mut before)?;
        sysctl::set("net.ipv6.conf.all.forwarding", "1", &mut before)?;
    }
    std::fs::write(&file, serde_json::to_vec(&before)?).with_context(|| format!("writing {}", file.display()))
}

/// A host that forwards IPv6 does not listen to routers any more and forgets what they said, its default route with it,
/// except on links with `accept_ra` 2 (<https://docs.kernel.org/networking/ip-sysctl.html>).
fn keep_advertised_routes(before: &mut BTreeMap<PathBuf, String>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(IPV6_LINKS).with_context(|| {
        format!("reading {IPV6_LINKS}: this kernel has no IPv6; give IPv4 addresses alone")
    })?;
    for entry in entries {
        let entry = entry?.file_name();
        let link = entry.to_str().with_context(|| format!("the name of link {entry:?} is not UTF-8"))?;
        let ours = link.starts_with(keelson_cni::link::LINK_PREFIX);
        // Not in `all` and `default`: links that come later choose for themselves.
        if ours || ["all", "default", "lo"].contains(&link) {
            continue;
        }
        let name = format!("net/ipv6/conf/{link}/accept_ra");
        if std::fs::read_to_string(Path::new("/proc/sys").join(&name)).is_ok_and(|value| value.trim() == "1")
        {
            sysctl::set(&name, "2", before)?;
        }
    }
    Ok(())
}

/// Puts the cluster's DNS addresses on `lo`, so that the DNS process can listen there.
pub(crate) async fn add_dns_addresses(network: &dyn Network, addresses: &[IpAddr]) -> anyhow::Result<()> {
    let mut ops = vec![NetOp::SetUp { link: "lo".to_owned() }];
    let add = |address: &IpAddr| NetOp::AddAddress { link: "lo".to_owned(), address: (*address).into() };
    ops.extend(addresses.iter().map(add));
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
