//! The wires of a local cluster made such that XDP can send on them, as a network card's driver can.

use crate::{
    Cluster,
    kubectl::{Answer, run},
    outside::{NETNS, Outside, within},
};
use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf,
    programs::{Xdp, xdp::XdpMode},
};
use std::{path::Path, process::Command};

/// The nodes' wires and that of the host outside, until this value goes.
///
/// - The other end of a veth takes what a program sends (`XDP_TX`) only if it has a program itself: with GRO alone it is not woken
///   (`veth_xdp_flush`, <https://github.com/torvalds/linux/blob/v6.18/drivers/net/veth.c>).
/// - A checksum that is left to a device is invisible to XDP and would be spoilt: the host makes its own.
#[derive(Debug)]
pub struct Wires {
    _polled: Vec<Ebpf>,
}

impl Wires {
    /// Of all nodes. `None`, with the reason on stderr, where the programs or `ethtool` are not there.
    pub fn new(cluster: &Cluster, _outside: &Outside) -> Result<Option<Self>> {
        let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ebpf/xdp.o");
        let Ok(object) = std::fs::read(&object) else {
            eprintln!("skipped: no {}: run `cargo xtask ebpf`", object.display());
            return Ok(None);
        };
        let mut command = Command::new("ip");
        command.args(["netns", "exec", NETNS, "ethtool", "-K", "eth0", "tx", "off"]);
        let Answer { stderr, code, .. } = run(command, None)?;
        if code != Some(0) {
            eprintln!("skipped: ethtool on the host outside ended with {code:?}: {stderr}");
            return Ok(None);
        }
        let polled =
            cluster.nodes().into_iter().map(|node| poll(object.clone(), node)).collect::<Result<_>>()?;
        Ok(Some(Self { _polled: polled }))
    }
}

/// Has the bridge's end of a node's wire run a program that does nothing.
fn poll(object: Vec<u8>, node: String) -> Result<Ebpf> {
    within("/run/netns/keelson-net", move || {
        let mut ebpf = Ebpf::load(&object)?;
        let program: &mut Xdp =
            ebpf.program_mut("pass").context("a program that does nothing")?.try_into()?;
        program.load()?;
        program.attach(&node, XdpMode::Driver).with_context(|| format!("at the bridge's end of {node}"))?;
        Ok(ebpf)
    })
}

/// What the program on a node's wire has counted: a sum over verdicts of these names; and how it is attached.
pub fn counted(node: &str, verdicts: &[&str]) -> Result<(u64, String)> {
    let text = crate::kubectl(&format!("get --raw /api/v1/nodes/{node}/proxy/metrics"))?;
    let mode = text.lines().find_map(|line| {
        line.strip_prefix("keelson_dataplane_wire_info{mode=\"").and_then(|rest| rest.split_once('"'))
    });
    let (mode, _) = mode.with_context(|| format!("{node} has no program on its wire"))?;
    let mut sum = 0;
    for verdict in verdicts {
        let name = format!("keelson_dataplane_wire_packets_total{{verdict=\"{verdict}\"}} ");
        let count = text.lines().find_map(|line| line.strip_prefix(&name));
        sum += count.with_context(|| format!("{node} counts no {verdict}"))?.parse::<u64>()?;
    }
    ensure!(!mode.is_empty(), "{node} says nothing of how it is attached");
    Ok((sum, mode.to_owned()))
}
