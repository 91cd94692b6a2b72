//! The wires of a cluster of several nodes: namespaces, a bridge, veth pairs.

use super::{Spec, spec::IpFamily};
use crate::shell::{cmd, output, run, succeeds};
use anyhow::{Context, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

const FABRIC: &str = "keelson-net";
const CONTROL_PLANE: &str = "keelson-cp";
const ROUTER: &str = "keelson-router";
const HOST_LINK: &str = "keelson0";
const HOST_ADDRESS: &str = "172.30.0.1/24";
const HOST_ADDRESS6: &str = "fd00:172:30::1/64";

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
        if spec.ip_family != IpFamily::Ipv4 {
            ip(&format!("address add {HOST_ADDRESS6} dev {HOST_LINK} nodad"))?;
        }
        ip(&format!("link set {HOST_LINK} up"))?;
    }
    if spec.segments > 1 && !netns_exists(ROUTER) {
        router()?;
    }
    attach(FABRIC, CONTROL_PLANE, spec.api_address(), &spec.advertise_addresses()?)?;
    for number in 1..=spec.nodes {
        let fabric = if spec.segment_of(number) == 0 { FABRIC } else { ROUTER };
        let netns = format!("keelson-n{number}");
        attach(fabric, &netns, spec.wire_address4(number), &spec.node_addresses(number)?)?;
    }
    route_segments(spec)?;
    if spec.pods_from_control_plane() { route_pods(spec) } else { Ok(()) }
}

/// The control plane's way to all pods: the first node, which knows the others'.
fn route_pods(spec: &Spec) -> Result<()> {
    let first = spec.node_addresses(1)?;
    for cidr in spec.cluster_cidr().split(',') {
        let same = |address: &&IpAddr| address.is_ipv6() == cidr.contains(':');
        let via = first.iter().find(same).context("a node has an address of each family")?;
        let family = if via.is_ipv6() { "-6" } else { "-4" };
        ip_in(CONTROL_PLANE, &format!("{family} route replace {cidr} via {via}"))?;
    }
    Ok(())
}

/// The router between the nodes' networks, on the first of them.
fn router() -> Result<()> {
    netns_add(ROUTER)?;
    ip_in(FABRIC, &format!("link add router type veth peer name eth0 netns {ROUTER}"))?;
    plug("router")?;
    ip_in(ROUTER, "link set eth0 up")?;
    ip_in(ROUTER, "address add 172.30.0.254/24 dev eth0")?;
    ip_in(ROUTER, "address add fd00:172:30::fe/64 dev eth0 nodad")?;
    for sysctl in ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"] {
        run(&mut cmd("ip", ["netns", "exec", ROUTER, "sysctl", "-qw", sysctl]))?;
    }
    Ok(())
}

/// The router's address on each network but the first, and the ways to each by the router.
fn route_segments(spec: &Spec) -> Result<()> {
    for number in (1..=spec.nodes).filter(|number| spec.segment_of(*number) > 0) {
        let (segment, port, netns) =
            (spec.segment_of(number), format!("n{number}"), format!("keelson-n{number}"));
        ip_in(ROUTER, &format!("address replace 172.30.{segment}.1/24 dev {port}"))?;
        ip_in(&netns, &format!("route replace 172.30.0.0/16 via 172.30.{segment}.1"))?;
        let to = format!("172.30.{segment}.0/24 via 172.30.0.254");
        each_near(spec, &format!("route replace {to}"))?;
        if spec.ip_family != IpFamily::Ipv4 {
            ip_in(ROUTER, &format!("address replace fd00:172:30:{segment}::1/64 dev {port} nodad"))?;
            ip_in(&netns, &format!("-6 route replace fd00:172:30::/48 via fd00:172:30:{segment}::1"))?;
            each_near(spec, &format!("-6 route replace fd00:172:30:{segment}::/64 via fd00:172:30::fe"))?;
        }
    }
    Ok(())
}

/// The same for the machine and all that is on the first network.
fn each_near(spec: &Spec, words: &str) -> Result<()> {
    ip(words)?;
    ip_in(CONTROL_PLANE, words)?;
    let near = (1..=spec.nodes).filter(|number| spec.segment_of(*number) == 0);
    near.map(|number| format!("keelson-n{number}")).try_for_each(|netns| ip_in(&netns, words))
}

/// A namespace with its addresses on a wire of the bridge or the router; `v4` is there in any case, for the API server is reached by IPv4.
fn attach(fabric: &str, netns: &str, v4: Ipv4Addr, addresses: &[IpAddr]) -> Result<()> {
    if netns_exists(netns) {
        return Ok(());
    }
    netns_add(netns)?;
    let port = netns.trim_start_matches("keelson-");
    ip_in(fabric, &format!("link add {port} type veth peer name eth0 netns {netns}"))?;
    if fabric == FABRIC {
        plug(port)?;
    } else {
        ip_in(fabric, &format!("link set {port} up"))?;
    }
    ip_in(netns, &format!("address add {v4}/24 dev eth0"))?;
    for address in addresses.iter().filter(|address| address.is_ipv6()) {
        ip_in(netns, &format!("address add {address}/64 dev eth0 nodad"))?;
    }
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
    match source_towards(Ipv4Addr::new(198, 51, 100, 1).into())? {
        Some(IpAddr::V4(address)) => Ok(address),
        _ => on_lo("-4", LO_ADDRESS, 32),
    }
}

/// The same for IPv6.
pub(crate) fn host_address6() -> Result<Ipv6Addr> {
    match source_towards(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into())? {
        Some(IpAddr::V6(address)) => Ok(address),
        _ => on_lo("-6", LO_ADDRESS6, 128),
    }
}

/// Whether links of this machine can have IPv6 addresses.
pub(crate) fn has_ipv6() -> bool {
    let disabled = |of: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{of}/disable_ipv6"));
    ["all", "lo"].iter().all(|of| disabled(of).is_ok_and(|text| text.trim() == "0"))
}

/// The source address that the kernel chooses towards another; None without a route, or if it is a loopback one.
fn source_towards(other: IpAddr) -> Result<Option<IpAddr>> {
    let any: IpAddr =
        if other.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // Connecting a UDP socket sends nothing.
    let socket = UdpSocket::bind((any, 0)).context("opening a UDP socket")?;
    let routed = socket.connect((other, 9)).and_then(|()| socket.local_addr());
    Ok(routed.ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified()))
}

/// Used on a machine without any network.
const LO_ADDRESS: &str = "172.30.0.11";
const LO_ADDRESS6: &str = "fd00:172:30::b";

fn on_lo<A>(family: &str, address: &str, prefix: u8) -> Result<A>
where
    A: std::str::FromStr,
    A::Err: std::error::Error + Send + Sync + 'static,
{
    if !lo_has(family, address)? {
        ip(&format!("{family} address add {address}/{prefix} dev lo"))?;
    }
    Ok(address.parse()?)
}

fn lo_has(family: &str, address: &str) -> Result<bool> {
    let shown = output(&mut cmd("ip", [family, "-o", "address", "show", "dev", "lo"]))?;
    Ok(shown.split_whitespace().any(|word| word.split('/').next() == Some(address)))
}

/// Takes addresses of ours off `lo`, those that are there.
pub(crate) fn remove_from_lo(addresses: &[&str]) -> Result<()> {
    for address in addresses {
        let (family, prefix) = if address.contains(':') { ("-6", 128) } else { ("-4", 32) };
        if lo_has(family, address)? {
            ip(&format!("{family} address delete {address}/{prefix} dev lo"))?;
        }
    }
    Ok(())
}

/// Takes the addresses of a machine without network away again.
pub(crate) fn remove_lo_addresses() -> Result<()> {
    remove_from_lo(&[LO_ADDRESS, LO_ADDRESS6])
}

fn ip(words: &str) -> Result<()> {
    run(&mut cmd("ip", words.split(' ')))
}

fn ip_in(netns: &str, words: &str) -> Result<()> {
    run(&mut cmd("ip", ["-n", netns].into_iter().chain(words.split(' '))))
}
