//! The wires of a cluster of several nodes: namespaces, a bridge, veth pairs.

use super::Spec;
use crate::shell::{cmd, output, run, succeeds};
use anyhow::{Context, Result};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};

const FABRIC: &str = "keelson-net";
const CONTROL_PLANE: &str = "keelson-cp";
const HOST_LINK: &str = "keelson0";
const HOST_ADDRESS: &str = "172.30.0.1/24";

/// The namespace of the control plane, where nodes have their own.
pub(crate) fn control_plane_netns(spec: &Spec) -> Option<String> {
    spec.is_split().then(|| CONTROL_PLANE.to_string())
}

/// Makes what is missing.
pub(crate) fn ensure(spec: &Spec) -> Result<()> {
    if !spec.is_split() {
        return Ok(());
    }
    if !netns_exists(FABRIC) {
        netns_add(FABRIC)?;
        ip_in(FABRIC, "link add bridge type bridge stp_state 0 forward_delay 0")?;
        ip_in(FABRIC, "link set bridge up")?;
    }
    if !succeeds(&mut cmd("ip", ["link", "show", HOST_LINK])) {
        ip(&format!("link add {HOST_LINK} type veth peer name host netns {FABRIC}"))?;
        plug("host")?;
        ip(&format!("address add {HOST_ADDRESS} dev {HOST_LINK}"))?;
        ip(&format!("link set {HOST_LINK} up"))?;
    }
    attach(CONTROL_PLANE, spec.api_address())?;
    for number in 1..=spec.nodes {
        attach(&format!("keelson-n{number}"), spec.node_address(number)?)?;
    }
    Ok(())
}

/// A namespace with one address on the bridge.
fn attach(netns: &str, address: Ipv4Addr) -> Result<()> {
    if netns_exists(netns) {
        return Ok(());
    }
    netns_add(netns)?;
    let port = netns.trim_start_matches("keelson-");
    ip_in(FABRIC, &format!("link add {port} type veth peer name eth0 netns {netns}"))?;
    plug(port)?;
    ip_in(netns, &format!("address add {address}/24 dev eth0"))?;
    // No default route: nothing that a test does can leave these namespaces.
    ip_in(netns, "link set eth0 up")
}

fn plug(port: &str) -> Result<()> {
    ip_in(FABRIC, &format!("link set {port} master bridge up"))
}

fn netns_add(name: &str) -> Result<()> {
    ip(&format!("netns add {name}"))?;
    ip_in(name, "link set lo up")
}

fn netns_exists(name: &str) -> bool {
    std::path::Path::new("/run/netns").join(name).exists()
}

/// Takes the wires away. Killing a namespace's last process and its name removes its links.
pub(crate) fn remove() -> Result<()> {
    if succeeds(&mut cmd("ip", ["link", "show", HOST_LINK])) {
        ip(&format!("link delete {HOST_LINK}"))?;
    }
    for name in output(&mut cmd("ip", ["netns", "list"]))?.lines() {
        let name = name.split(' ').next().unwrap_or_default();
        if name.starts_with("keelson-") {
            ip(&format!("netns delete {name}"))?;
        }
    }
    Ok(())
}

/// The address by which this machine is known to its network, else an address of ours on `lo`.
pub(crate) fn host_address() -> Result<Ipv4Addr> {
    // Connecting a UDP socket sends nothing; it makes the kernel choose the source address of its default route.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("opening a UDP socket")?;
    let routed = socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9)).and_then(|()| socket.local_addr());
    match routed.map(|address| address.ip()) {
        Ok(IpAddr::V4(address)) if !address.is_loopback() && !address.is_unspecified() => Ok(address),
        _ => {
            if !output(&mut cmd("ip", ["-4", "address", "show", "dev", "lo"]))?.contains(LO_ADDRESS) {
                ip(&format!("address add {LO_ADDRESS}/32 dev lo"))?;
            }
            Ok(LO_ADDRESS.parse()?)
        }
    }
}

/// Used on a machine without any network.
const LO_ADDRESS: &str = "172.30.0.11";

/// Takes the address of a machine without network away again.
pub(crate) fn remove_lo_address() -> Result<()> {
    if output(&mut cmd("ip", ["-4", "address", "show", "dev", "lo"]))?.contains(LO_ADDRESS) {
        ip(&format!("address delete {LO_ADDRESS}/32 dev lo"))?;
    }
    Ok(())
}

fn ip(words: &str) -> Result<()> {
    run(&mut cmd("ip", words.split(' ')))
}

fn ip_in(netns: &str, words: &str) -> Result<()> {
    run(&mut cmd("ip", ["-n", netns].into_iter().chain(words.split(' '))))
}
