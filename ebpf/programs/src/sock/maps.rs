//! The maps, declared from the table in `keelson_ebpf_common::layout`.

use aya_ebpf::{
    btf_maps::ArrayOfMaps,
    macros::{btf_map, map},
    maps::{Array, HashMap, LruHashMap, RingBuf},
};
use keelson_ebpf_common::{key, layout, metrics, value};

use crate::frontend::Shard4;

#[btf_map]
pub static FRONTENDS4: ArrayOfMaps<Shard4, { layout::FRONTENDS4.max_entries as usize }> = ArrayOfMaps::new();

#[map]
pub static PREFIXES4: Array<u64> =
    Array::with_max_entries(layout::PREFIXES4.max_entries, layout::PREFIXES4.flags);

#[map]
pub static FRONTENDS6: HashMap<key::Frontend6, value::Frontend6> =
    HashMap::with_max_entries(layout::FRONTENDS6.max_entries, layout::FRONTENDS6.flags);

#[map]
pub static RECORDS6: Array<u64> =
    Array::with_max_entries(layout::RECORDS6.max_entries, layout::RECORDS6.flags);

#[map]
pub static BACKENDS4: Array<value::Backend4> =
    Array::with_max_entries(layout::BACKENDS4.max_entries, layout::BACKENDS4.flags);

#[map]
pub static BACKENDS6: Array<value::Backend6> =
    Array::with_max_entries(layout::BACKENDS6.max_entries, layout::BACKENDS6.flags);

#[map]
pub static AFFINITY_MEMBERS: HashMap<key::AffinityMember, u8> =
    HashMap::with_max_entries(layout::AFFINITY_MEMBERS.max_entries, layout::AFFINITY_MEMBERS.flags);

#[map]
pub static CONNECTIONS: Array<value::ConnectionSlot> =
    Array::with_max_entries(layout::CONNECTIONS.max_entries, layout::CONNECTIONS.flags);

#[map]
pub static CONNECTIONS_SPILLED: HashMap<u64, value::Connection> =
    HashMap::with_max_entries(layout::CONNECTIONS_SPILLED.max_entries, layout::CONNECTIONS_SPILLED.flags);

#[map]
pub static DATAGRAMS: LruHashMap<key::Datagram, value::Datagram> =
    LruHashMap::with_max_entries(layout::DATAGRAMS.max_entries, layout::DATAGRAMS.flags);

#[map]
pub static AFFINITY: LruHashMap<key::Affinity, value::Affinity> =
    LruHashMap::with_max_entries(layout::AFFINITY.max_entries, layout::AFFINITY.flags);

#[map]
pub static BYPASS: HashMap<u64, value::Bypass> =
    HashMap::with_max_entries(layout::BYPASS.max_entries, layout::BYPASS.flags);

#[map]
pub static TOTALS: HashMap<metrics::Row, metrics::Totals> =
    HashMap::with_max_entries(layout::TOTALS.max_entries, layout::TOTALS.flags);

#[map]
pub static CONTROL: Array<metrics::Control> =
    Array::with_max_entries(layout::CONTROL.max_entries, layout::CONTROL.flags);

#[map]
pub static FLOWS: RingBuf = RingBuf::with_byte_size(layout::FLOWS.max_entries, layout::FLOWS.flags);

#[map]
pub static NODE_PORTS: Array<u64> =
    Array::with_max_entries(layout::NODE_PORTS.max_entries, layout::NODE_PORTS.flags);
