//! Path MTU: a link on the way to a Service's backend is narrower than the client's.

use anyhow::{Context, Result, ensure};
use keelson_tests::{
    Cluster, Namespace,
    cluster::Inside,
    eventually, manifest,
    outside::{Outside, within},
};
use serde_json::{Value, json};
use socket2::SockRef;
use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use super::at;
use crate::{packets::netns_of, services::PROGRAMMED_MAX, socket_lb};

/// Of an IP packet, on the narrower link; and without the headers of IPv4 and TCP.
const MTU: u16 = 1_300;
const SEGMENT_MAX: u32 = MTU as u32 - 40;
/// For all that a client sends.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a client sends, in packets as long as its own link takes until it knows better.
const BYTES: usize = 300_000;

#[test]
fn who_sends_too_much_for_a_narrower_link_is_told_of_the_packet_that_it_sent() -> Result<()> {
    const PORT: u16 = 8_090;
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("outside")?);
    let (nodes, mut outside) = (cluster.nodes(), Outside::new(&cluster)?);
    let mut service = manifest::service("web", "web");
    service["spec"]["ports"] = json!([{ "port": 80, "targetPort": PORT }]);
    namespace.apply_all(&[
        service,
        manifest::on_node(manifest::shell("web"), &nodes[1]),
        socket_lb::client("off", &nodes[0], Some("off")),
        manifest::on_node(manifest::shell("normal"), &nodes[0]),
    ])?;
    let web = namespace.ready("web")?;
    namespace.endpoints("web", 1)?;
    let ip = |pod: &Value| pod["status"]["podIP"].as_str().map(str::to_string).context("an address");
    let (node0, node1) = (cluster.node_address(&nodes[0])?, cluster.node_address(&nodes[1])?);
    let listener = within(&netns_of(&cluster, &web)?, || Ok(TcpListener::bind(("0.0.0.0", PORT))?))?;
    let server = at(&namespace.cluster_ip("web")?, 80)?;
    for name in ["off", "normal"] {
        let pod = namespace.ready(name)?;
        let netns = netns_of(&cluster, &pod)?;
        let _inside = Inside::enter(&cluster, &nodes[0])?;
        eventually(PROGRAMMED_MAX, &format!("{name} is served"), || {
            let remote = socket_lb::connected(&netns, server)?;
            ensure!((remote == server) == (name == "off"), "{name} is connected to {remote}");
            listener.accept()?;
            Ok(())
        })?;
        let before = transfer(&netns, server, &listener).with_context(|| format!("{name}, straight"))?;
        ensure!(before > SEGMENT_MAX, "{name} sends {before} bytes at once, whatever it is told");
        outside.detour((&ip(&pod)?, &node0), &nodes[0], (&ip(&web)?, &node1), MTU)?;
        let after = transfer(&netns, server, &listener).with_context(|| format!("{name}, by the detour"))?;
        ensure!(after <= SEGMENT_MAX, "{name} has not learned: it sends {after} bytes at once");
        outside.straighten();
    }
    Ok(())
}

/// Sends all of it to a Service; answers how long segments are in the end.
fn transfer(netns: &str, service: SocketAddr, listener: &TcpListener) -> Result<u32> {
    let sent = within(netns, move || {
        let mut stream = TcpStream::connect(service)?;
        stream.write_all(&[7; BYTES])?;
        stream.shutdown(Shutdown::Write)?;
        Ok(stream)
    })?;
    let (mut accepted, _) = listener.accept()?;
    accepted.set_read_timeout(Some(PATIENCE))?;
    let mut received = Vec::new();
    accepted.read_to_end(&mut received).context("reading what was sent")?;
    ensure!(received.len() == BYTES, "{} bytes came", received.len());
    Ok(SockRef::from(&sent).tcp_mss()?)
}
