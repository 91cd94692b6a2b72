//! Network policies in their maps.
//!
//! What lets pass is written before anybody is told of it, and removed when nobody is any more; so at every moment a packet
//! is judged by the policies as they were or as they are. In the end the epoch changes, and connections are judged anew.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use keelson_ebpf_common::{
    layout,
    net::{Address6, Port},
    policy::{Classes, Control, PeerKey, VerdictKey, control},
};
use keelson_sys::bpf::{Map, SharedArray};
use zerocopy::{FromBytes, IntoBytes};

use super::{endpoints::Endpoints, load::open};
use crate::{
    Error,
    maps::pins::Pins,
    policy::{Changes, Prefix, Verdict},
};

/// The maps of policies, but for the pods' groups, which are with their endpoints.
#[derive(Debug)]
pub(super) struct Policies {
    pub(super) peers: Map,
    pub(super) verdicts: Map,
    control: SharedArray,
}

impl Policies {
    pub(super) fn open(pins: &Pins) -> Result<Self, Error> {
        Ok(Self {
            peers: open(pins, &layout::PEERS)?,
            verdicts: open(pins, &layout::ALLOWED)?,
            control: SharedArray::new(open(pins, &layout::POLICY_CONTROL)?),
        })
    }

    /// From now on pods may be policed.
    pub(super) fn enforce(&mut self) -> Result<(), Error> {
        let flags = self.control.load_u32(FLAGS)?;
        Ok(self.control.store_u32(FLAGS, flags | control::ENFORCED)?)
    }

    /// Whether pods may speak with their own addresses alone.
    pub(super) fn own_sources(&mut self, wanted: bool) -> Result<(), Error> {
        let flags = self.control.load_u32(FLAGS)? & !control::OWN_SOURCES;
        let flags = flags | if wanted { control::OWN_SOURCES } else { 0 };
        Ok(self.control.store_u32(FLAGS, flags)?)
    }

    /// Takes the steps of a change, in their order.
    pub(super) fn change(&mut self, changes: &Changes, endpoints: &mut Endpoints) -> Result<(), Error> {
        self.put(changes)?;
        for (key, known) in &changes.endpoints {
            endpoints.set_policy(key, known.clone())?;
        }
        self.delete(&changes.peers_gone, &changes.verdicts_gone)?;
        if changes.takes_away() { self.next_epoch() } else { Ok(()) }
    }

    /// Makes the maps hold exactly this; writes only what they do not hold.
    pub(super) fn replace(&mut self, whole: &Changes, endpoints: &mut Endpoints) -> Result<(), Error> {
        let held = self.held_verdicts()?;
        let wanted: BTreeSet<_> = whole.verdicts.iter().map(|v| bytes_of(verdict_key(v))).collect();
        let missing = whole.verdicts.iter().filter(|verdict| !held.contains(&bytes_of(verdict_key(verdict))));
        let held_peers = self.held_peers()?;
        let other = whole.peers.iter().filter(|(prefix, classes)| held_peers.get(prefix) != Some(classes));
        self.put(&Changes {
            verdicts: missing.copied().collect(),
            peers: other.copied().collect(),
            ..Changes::default()
        })?;
        endpoints.replace_policies(whole.endpoints.iter().cloned())?;
        let kept: BTreeSet<_> = whole.peers.iter().map(|(prefix, _)| *prefix).collect();
        let mut gone: Vec<_> = held_peers.into_keys().filter(|prefix| !kept.contains(prefix)).collect();
        gone.reverse();
        self.delete(&gone, &[])?;
        let stale: Vec<u8> = held.difference(&wanted).flatten().copied().collect();
        self.verdicts.delete_batch(&stale).map_err(failed(layout::ALLOWED.name))?;
        self.next_epoch()
    }

    fn put(&self, changes: &Changes) -> Result<(), Error> {
        let keys: Vec<_> = changes.verdicts.iter().map(verdict_key).collect();
        let values = vec![0_u8; keys.len()];
        self.verdicts.update_batch(keys.as_bytes(), &values).map_err(failed(layout::ALLOWED.name))?;
        let keys: Vec<_> = changes.peers.iter().map(|(prefix, _)| peer_key(*prefix)).collect();
        let values: Vec<Classes> = changes.peers.iter().map(|(_, classes)| *classes).collect();
        self.peers.update_batch(keys.as_bytes(), values.as_bytes()).map_err(failed(layout::PEERS.name))
    }

    fn delete(&self, peers: &[Prefix], verdicts: &[Verdict]) -> Result<(), Error> {
        let keys: Vec<_> = peers.iter().map(|prefix| peer_key(*prefix)).collect();
        self.peers.delete_batch(keys.as_bytes()).map_err(failed(layout::PEERS.name))?;
        let keys: Vec<_> = verdicts.iter().map(verdict_key).collect();
        self.verdicts.delete_batch(keys.as_bytes()).map_err(failed(layout::ALLOWED.name))
    }

    fn next_epoch(&mut self) -> Result<(), Error> {
        let epoch = self.control.load_u32(EPOCH)?;
        Ok(self.control.store_u32(EPOCH, epoch.wrapping_add(1))?)
    }

    fn held_verdicts(&self) -> Result<BTreeSet<VerdictBytes>, Error> {
        let keys = self.verdicts.keys(usize::MAX)?;
        Ok(keys.into_iter().filter_map(|key| key.try_into().ok()).collect())
    }

    fn held_peers(&self) -> Result<BTreeMap<Prefix, Classes>, Error> {
        let mut held = BTreeMap::new();
        for key in self.peers.keys(usize::MAX)? {
            let Some(value) = self.peers.lookup(&key)? else { continue };
            let prefix = PeerKey::read_from_bytes(&key).ok().and_then(|key| prefix_of(&key));
            if let (Some(prefix), Ok(classes)) = (prefix, Classes::read_from_bytes(&value)) {
                held.insert(prefix, classes);
            }
        }
        Ok(held)
    }
}

const EPOCH: usize = core::mem::offset_of!(Control, epoch);
const FLAGS: usize = core::mem::offset_of!(Control, flags);

/// A [`VerdictKey`] as the kernel has it.
type VerdictBytes = [u8; size_of::<VerdictKey>()];

fn bytes_of(key: VerdictKey) -> VerdictBytes {
    zerocopy::transmute!(key)
}

fn failed(name: &'static str) -> impl Fn(keelson_sys::bpf::BatchError) -> Error {
    move |source| Error::Batch { name, source }
}

fn verdict_key(verdict: &Verdict) -> VerdictKey {
    let (bits, protocol, port) =
        verdict.ports.map_or((0, 0, 0), |ports| (8 + u32::from(ports.bits), ports.protocol, ports.port));
    VerdictKey {
        bits: VerdictKey::FIXED_BITS + bits,
        group: verdict.group,
        class: verdict.class,
        direction: verdict.direction as u8,
        protocol,
        port: Port::new(port),
    }
}

fn peer_key(Prefix(range): Prefix) -> PeerKey {
    let (family, mapped) = if range.addr().is_ipv4() { (4, 96) } else { (6, 0) };
    let bits = PeerKey::FAMILY_BITS + mapped + u32::from(range.prefix_len());
    PeerKey { bits, family, address: Address6::from_ip(range.network()) }
}

fn prefix_of(key: &PeerKey) -> Option<Prefix> {
    let mapped = if key.family == 4 { 96 } else { 0 };
    let bits = key.bits.checked_sub(PeerKey::FAMILY_BITS + mapped)?;
    IpNet::new(key.address.to_ip(), u8::try_from(bits).ok()?).ok().map(Prefix)
}

#[cfg(test)]
mod tests {
    use keelson_ebpf_common::policy::{Direction, Id};

    use super::*;
    use crate::policy::PortPrefix;

    #[test]
    fn prefixes_survive_their_keys() {
        for range in ["0.0.0.0/0", "10.1.0.0/16", "10.1.2.3/32", "::/0", "fd00::/8", "fd00::1/128"] {
            let prefix = Prefix(range.parse().unwrap());
            assert_eq!(prefix_of(&peer_key(prefix)), Some(prefix), "{range}");
        }
        let v4 = peer_key(Prefix("10.1.2.3/32".parse().unwrap()));
        assert_eq!(v4, PeerKey::of(Address6::from_ip("10.1.2.3".parse().unwrap())));
    }

    #[test]
    fn a_verdict_is_for_everything_a_protocol_or_ports() {
        let of = |ports| {
            let (group, class) = (Id([1, 2]), Id::ANYONE);
            verdict_key(&Verdict { group, class, direction: Direction::Egress, ports })
        };
        assert_eq!(of(None).bits, 136);
        let ports = |port, bits| of(Some(PortPrefix { protocol: 6, port, bits }));
        assert_eq!((ports(0, 0).bits, ports(80, 16).bits, ports(8000, 10).bits), (144, 160, 154));
        // As the programs put it together.
        let last: [u8; 4] = bytes_of(ports(80, 16))[20..].try_into().unwrap();
        assert_eq!(u32::from_le_bytes(last), 2 | 6 << 8 | u32::from(80_u16.to_be()) << 16);
    }
}
