//! The maps that only these programs have, and the globals that the loader writes.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, lpm_trie::LpmTrie},
};
use keelson_ebpf_common::{
    layout,
    net::Address6,
    packet::{Announced, Endpoint, FragmentPorts, Fragments, Pace, Tunnel, Tuple},
    policy::{Classes, Control, Judged},
};

use crate::transport::Passage;

#[map]
pub static ENDPOINTS: HashMap<Address6, Endpoint> =
    HashMap::with_max_entries(layout::ENDPOINTS.max_entries, layout::ENDPOINTS.flags);

#[map]
pub static FRAGMENTS: LruHashMap<Fragments, FragmentPorts> =
    LruHashMap::with_max_entries(layout::FRAGMENTS.max_entries, layout::FRAGMENTS.flags);

#[map]
pub static ADDRESSES: HashMap<Address6, u8> =
    HashMap::with_max_entries(layout::ADDRESSES.max_entries, layout::ADDRESSES.flags);

#[map]
pub static ANNOUNCED: HashMap<Address6, Announced> =
    HashMap::with_max_entries(layout::ANNOUNCED.max_entries, layout::ANNOUNCED.flags);

#[map]
pub static PASSAGE: PerCpuArray<Passage> = PerCpuArray::with_max_entries(1, 0);

#[map]
pub static PEERS: LpmTrie<[u32; 5], Classes> =
    LpmTrie::with_max_entries(layout::PEERS.max_entries, layout::PEERS.flags);

#[map]
pub static ALLOWED: LpmTrie<[u32; 5], u8> =
    LpmTrie::with_max_entries(layout::ALLOWED.max_entries, layout::ALLOWED.flags);

#[map]
pub static JUDGED: HashMap<Tuple, Judged> =
    HashMap::with_max_entries(layout::JUDGED.max_entries, layout::JUDGED.flags);

#[map]
pub static JUDGED_NEW: LruHashMap<Tuple, Judged> =
    LruHashMap::with_max_entries(layout::JUDGED_NEW.max_entries, layout::JUDGED_NEW.flags);

#[map]
pub static POLICY_CONTROL: Array<Control> =
    Array::with_max_entries(layout::POLICY_CONTROL.max_entries, layout::POLICY_CONTROL.flags);

#[map]
pub static PACES: HashMap<u32, Pace> = HashMap::with_max_entries(layout::PACES.max_entries, layout::PACES.flags);

#[map]
static TUNNELS: HashMap<u32, Tunnel> =
    HashMap::with_max_entries(layout::TUNNELS.max_entries, layout::TUNNELS.flags);

/// The tunnel that a device is, if it is one.
#[inline(always)]
pub fn tunnel(ifindex: u32) -> Option<&'static Tunnel> {
    // SAFETY: the daemon removes an element when nothing leads to its device any more; a flow that begins at that very moment may
    // be given the address of another tunnel, and is lost with this one.
    unsafe { TUNNELS.get(&ifindex) }
}

/// The link or the node that an address is of.
#[inline(always)]
pub fn endpoint(address: &Address6) -> Option<&'static Endpoint> {
    // SAFETY: an element is freed only after this program's end; the memory of a removed one may be given to another
    // pod's meanwhile. The daemon removes a pod's element before its link, so such a packet was to be lost anyway.
    unsafe { ENDPOINTS.get(address) }
}

global!(
    /// Whether what leaves the cluster gets the node's address.
    MASQUERADE: u32 = 0, masquerade);
global!(
    /// Whether the pods' links are another network's, to which the node's stack knows the way.
    FOREIGN_PODS: u32 = 0, foreign_pods);
