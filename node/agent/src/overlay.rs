//! The data plane alone, on a node whose pods' network wraps packets between nodes: it is told of the devices that do, for as long as
//! the process lives. Finds them anew whenever links or addresses change; says once of each what is not done by it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context;
use futures::{FutureExt, StreamExt};
use keelson_dataplane::{Handle, TunnelDevice};
use keelson_sys::net::{Framing, Overlay, overlay_changes, overlays};

/// Links and addresses change in flocks, one for each pod: so long after the first all of them count as one.
const TOGETHER: Duration = Duration::from_millis(100);
/// Before it is tried again after a failure.
const PAUSE: Duration = Duration::from_secs(5);

/// Tells the data plane before it answers, then goes on by itself.
pub(crate) async fn follow(
    handle: Handle,
    uplink: String,
    node_addresses: Vec<IpAddr>,
) -> anyhow::Result<()> {
    let mut changes = overlay_changes().context("listening for changes of links")?;
    let mut teller = Teller { handle, uplink, node_addresses, told: None, warned: BTreeSet::new() };
    teller.tell().await?;
    tokio::spawn(async move {
        while changes.next().await.is_some() {
            tokio::time::sleep(TOGETHER).await;
            while changes.next().now_or_never().flatten().is_some() {}
            while let Err(error) = teller.tell().await {
                tracing::error!(
                    error = &*error,
                    "the devices of the pods' network are not followed; it is tried again"
                );
                tokio::time::sleep(PAUSE).await;
            }
        }
        tracing::error!(
            "the devices of the pods' network are followed no more: the kernel's word of changes ended"
        );
    });
    Ok(())
}

struct Teller {
    handle: Handle,
    uplink: String,
    node_addresses: Vec<IpAddr>,
    /// What was found when it was last told.
    told: Option<Vec<Overlay>>,
    warned: BTreeSet<String>,
}

impl Teller {
    async fn tell(&mut self) -> anyhow::Result<()> {
        let found = overlays().await.context("looking for the devices of the pods' network")?;
        let found: Vec<Overlay> = found.into_iter().filter(|overlay| overlay.name != self.uplink).collect();
        for overlay in found.iter().filter(|overlay| overlay.framing == Framing::None) {
            if self.warned.insert(overlay.name.clone()) {
                tracing::warn!(
                    device = %overlay.name,
                    "packets from outside are not forwarded to backends behind it, as it takes no Ethernet frames"
                );
            }
        }
        if self.told.as_ref() != Some(&found) {
            let devices = devices(&found, &self.node_addresses);
            self.handle.set_tunnels(devices.clone()).await.context("attaching to the pods' network")?;
            tracing::info!(devices = ?devices.iter().map(|device| &device.name).collect::<Vec<_>>(), "devices of the pods' network");
            self.told = Some(found);
        }
        Ok(())
    }
}

/// Those that can be used, each with an address of each family: its own first, else the node's.
fn devices(found: &[Overlay], node_addresses: &[IpAddr]) -> Vec<TunnelDevice> {
    let usable = found.iter().filter(|overlay| overlay.framing == Framing::Ethernet);
    let of = |overlay: &Overlay| {
        let all = || overlay.addresses.iter().chain(node_addresses);
        let first = |is_v6: bool| all().find(|address| address.is_ipv6() == is_v6);
        let addresses = [false, true].into_iter().filter_map(first).copied().collect();
        TunnelDevice { name: overlay.name.clone(), addresses }
    };
    usable.map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_an_address_is_answered_at_the_nodes() {
        let ips = |list: &[&str]| list.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<IpAddr>>();
        let overlay = |name: &str, framing, addresses: &[&str]| Overlay {
            name: name.into(),
            index: 7,
            framing,
            addresses: ips(addresses),
        };
        let found = [
            overlay("cilium_vxlan", Framing::Ethernet, &[]),
            overlay("flannel.1", Framing::Ethernet, &["10.244.1.0"]),
            overlay("flannel-wg", Framing::None, &["10.244.1.0"]),
        ];
        let node = ips(&["192.0.2.1", "2001:db8::1"]);
        let told: Vec<_> = devices(&found, &node).into_iter().map(|d| (d.name, d.addresses)).collect();
        let expected = [
            ("cilium_vxlan".to_owned(), node.clone()),
            ("flannel.1".to_owned(), ips(&["10.244.1.0", "2001:db8::1"])),
        ];
        assert_eq!(told, expected);
        assert_eq!(devices(&found[1..2], &node[..1])[0].addresses, ips(&["10.244.1.0"]));
    }
}
