//! Every map's shape in one table, and the hash of all that the programs take for granted about it.
//!
//! The programs declare their maps from the constants used here; the daemon compares what it loaded, and what it finds
//! pinned, with this table.

use crate::{drop, key, limits, metrics, net::Address6, node, packet, policy, value, wire};

/// `BPF_F_NO_PREALLOC` of `linux/bpf.h`: elements are allocated when used.
pub const NO_PREALLOC: u32 = 1;
/// `BPF_F_MMAPABLE` of `linux/bpf.h`: the array is shared memory.
pub const MMAPABLE: u32 = 1 << 10;

/// Types of `enum bpf_map_type`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum MapType {
    /// `BPF_MAP_TYPE_HASH`.
    Hash = 1,
    /// `BPF_MAP_TYPE_ARRAY`.
    Array = 2,
    /// `BPF_MAP_TYPE_PERCPU_ARRAY`.
    PerCpuArray = 6,
    /// `BPF_MAP_TYPE_LRU_HASH`.
    LruHash = 9,
    /// `BPF_MAP_TYPE_LPM_TRIE`.
    LpmTrie = 11,
    /// `BPF_MAP_TYPE_ARRAY_OF_MAPS`.
    ArrayOfMaps = 12,
    /// `BPF_MAP_TYPE_RINGBUF`; its entries are bytes.
    RingBuf = 27,
}

/// What becomes of a map when the layout changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Keeping {
    /// Made anew from the API's objects, under the path of the new hash and scale; its size is the one at
    /// [`limits::SCALE_MAX`].
    Config,
    /// Adopted, or copied when only its size differs; the number is the version of its own layout.
    State(u32),
}

/// A map as it must be in the kernel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shape {
    /// Name in the object file and of the pin.
    pub name: &'static str,
    /// The kernel's type.
    pub map_type: MapType,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Size in entries, from [`crate::limits`]; the largest, where it follows the scale.
    pub max_entries: u32,
    /// Flags at creation.
    pub flags: u32,
    /// What an upgrade does with it.
    pub keeping: Keeping,
}

impl Shape {
    /// As it is at a scale: only what is made from the API's objects depends on it.
    pub const fn at(self, scale: u32) -> Self {
        match self.keeping {
            Keeping::Config => Self { max_entries: limits::at_scale(self.max_entries, scale), ..self },
            Keeping::State(_) => self,
        }
    }
}

const fn shape<K, V>(
    name: &'static str,
    map_type: MapType,
    max_entries: u32,
    flags: u32,
    keeping: Keeping,
) -> Shape {
    Shape {
        name,
        map_type,
        key_size: size_of::<K>() as u32,
        value_size: size_of::<V>() as u32,
        max_entries,
        flags,
        keeping,
    }
}

/// Shard to its map, a [`SHARD4`]. The daemon makes it whole before the programs are loaded.
pub const FRONTENDS4: Shape =
    shape::<u32, u32>("FRONTENDS4", MapType::ArrayOfMaps, limits::SHARDS4_MAX, 0, Keeping::Config);
/// Line to [`value::Line4`]: a shard of [`FRONTENDS4`], without a pin of its own, and of the same size at every scale.
pub const SHARD4: Shape =
    shape::<u32, value::Line4>("SHARD4", MapType::Array, limits::SHARD_LINES, 0, Keeping::Config);
/// A set of bits, shared memory: the one that [`crate::net::Address4::prefix_bit`] names is set if some IPv4 frontend's
/// address has the prefix, and perhaps if none has. Never cleared while the map lives.
pub const PREFIXES4: Shape =
    shape::<u32, u64>("PREFIXES4", MapType::Array, limits::PREFIX_WORDS4_MAX, MMAPABLE, Keeping::Config);
/// [`key::Frontend6`] to [`value::Frontend6`].
pub const FRONTENDS6: Shape = shape::<key::Frontend6, value::Frontend6>(
    "FRONTENDS6",
    MapType::Hash,
    limits::FRONTENDS6_MAX,
    NO_PREALLOC,
    Keeping::Config,
);
/// Index to a packed [`value::Target`], shared memory.
pub const RECORDS6: Shape =
    shape::<u32, u64>("RECORDS6", MapType::Array, limits::FRONTENDS6_MAX, MMAPABLE, Keeping::Config);
/// Slot to [`value::Backend4`].
pub const BACKENDS4: Shape =
    shape::<u32, value::Backend4>("BACKENDS4", MapType::Array, limits::BACKENDS4_MAX, 0, Keeping::Config);
/// Slot to [`value::Backend6`].
pub const BACKENDS6: Shape =
    shape::<u32, value::Backend6>("BACKENDS6", MapType::Array, limits::BACKENDS6_MAX, 0, Keeping::Config);
/// [`key::AffinityMember`] to nothing (one byte, as a value may not be empty).
pub const AFFINITY_MEMBERS: Shape = shape::<key::AffinityMember, u8>(
    "AFFINITY_MEMBERS",
    MapType::Hash,
    limits::AFFINITY_MEMBERS_MAX,
    NO_PREALLOC,
    Keeping::Config,
);
/// [`drop::Reason`] to a count, one a CPU.
pub const DROPS: Shape =
    shape::<u32, u64>("DROPS", MapType::PerCpuArray, drop::REASONS, 0, Keeping::State(drop::REASONS));
/// Masked socket cookie to [`value::ConnectionSlot`]; shared memory so that each slot is one cache line.
pub const CONNECTIONS: Shape = shape::<u32, value::ConnectionSlot>(
    "CONNECTIONS",
    MapType::Array,
    limits::CONNECTIONS_MAX,
    MMAPABLE,
    Keeping::State(2),
);
/// Socket cookie to [`value::Connection`], for sockets whose slot is another's.
pub const CONNECTIONS_SPILLED: Shape = shape::<u64, value::Connection>(
    "CONNECTIONS_SPILLED",
    MapType::Hash,
    limits::CONNECTIONS_SPILLED_MAX,
    NO_PREALLOC,
    Keeping::State(2),
);
/// [`key::Datagram`] to [`value::Datagram`].
pub const DATAGRAMS: Shape = shape::<key::Datagram, value::Datagram>(
    "DATAGRAMS",
    MapType::LruHash,
    limits::DATAGRAMS_MAX,
    0,
    Keeping::State(1),
);
/// [`key::Affinity`] to [`value::Affinity`].
pub const AFFINITY: Shape = shape::<key::Affinity, value::Affinity>(
    "AFFINITY",
    MapType::LruHash,
    limits::AFFINITY_MAX,
    0,
    Keeping::State(2),
);
/// Cookie of a pod's network namespace, host order, to [`value::Bypass`].
pub const BYPASS: Shape =
    shape::<u64, value::Bypass>("BYPASS", MapType::Hash, limits::BYPASS_MAX, NO_PREALLOC, Keeping::State(1));

/// [`node::port_bit`]: ports of the node that no process of it may bind.
pub const NODE_PORTS: Shape =
    shape::<u32, u64>("NODE_PORTS", MapType::Array, node::PORT_WORDS, 0, Keeping::State(1));

/// [`metrics::Row`] to [`metrics::Totals`].
pub const TOTALS: Shape = shape::<metrics::Row, metrics::Totals>(
    "TOTALS",
    MapType::Hash,
    limits::TOTALS_MAX,
    NO_PREALLOC,
    Keeping::State(1),
);
/// One [`metrics::Control`], shared memory.
pub const CONTROL: Shape =
    shape::<u32, metrics::Control>("CONTROL", MapType::Array, 1, MMAPABLE, Keeping::State(1));
/// Ring of [`metrics::Flow`].
pub const FLOWS: Shape =
    shape::<(), ()>("FLOWS", MapType::RingBuf, limits::FLOWS_BYTES, 0, Keeping::State(1));

/// All maps of the socket programs that have a pin.
pub const MAPS: [Shape; 17] = [
    FRONTENDS4,
    PREFIXES4,
    FRONTENDS6,
    RECORDS6,
    BACKENDS4,
    BACKENDS6,
    AFFINITY_MEMBERS,
    DROPS,
    CONNECTIONS,
    CONNECTIONS_SPILLED,
    DATAGRAMS,
    AFFINITY,
    BYPASS,
    TOTALS,
    CONTROL,
    FLOWS,
    NODE_PORTS,
];

/// [`Address6`] to [`packet::Endpoint`].
pub const ENDPOINTS: Shape = shape::<Address6, packet::Endpoint>(
    "ENDPOINTS",
    MapType::Hash,
    limits::ENDPOINTS_MAX,
    NO_PREALLOC,
    Keeping::State(3),
);
/// [`packet::Tuple`] to [`packet::Flow`]: connections that were answered.
pub const CONNTRACK: Shape = shape::<packet::Tuple, packet::Flow>(
    "CONNTRACK",
    MapType::Hash,
    limits::CONNTRACK_MAX,
    NO_PREALLOC,
    Keeping::State(1),
);
/// [`packet::Tuple`] to [`packet::Flow`]: connections that were not answered yet.
pub const CONNTRACK_NEW: Shape = shape::<packet::Tuple, packet::Flow>(
    "CONNTRACK_NEW",
    MapType::LruHash,
    limits::CONNTRACK_NEW_MAX,
    0,
    Keeping::State(1),
);
/// One word, not 0 while there may be connections: packets of a node without any are not looked up.
pub const CONNTRACK_GATE: Shape =
    shape::<u32, u32>("CONNTRACK_GATE", MapType::Array, 1, MMAPABLE, Keeping::State(1));
/// [`packet::Fragments`] to [`packet::FragmentPorts`].
pub const FRAGMENTS: Shape = shape::<packet::Fragments, packet::FragmentPorts>(
    "FRAGMENTS",
    MapType::LruHash,
    limits::FRAGMENTS_MAX,
    0,
    Keeping::State(2),
);
/// [`Address6`] of a Service to nothing (one byte).
pub const ADDRESSES: Shape =
    shape::<Address6, u8>("ADDRESSES", MapType::Hash, limits::ADDRESSES_MAX, NO_PREALLOC, Keeping::State(1));
/// [`Address6`] to [`packet::Announced`].
pub const ANNOUNCED: Shape = shape::<Address6, packet::Announced>(
    "ANNOUNCED",
    MapType::Hash,
    limits::ANNOUNCED_MAX,
    NO_PREALLOC,
    Keeping::State(1),
);
/// [`packet::Client`] to [`value::Affinity`].
pub const CLIENTS: Shape = shape::<packet::Client, value::Affinity>(
    "CLIENTS",
    MapType::LruHash,
    limits::CLIENTS_MAX,
    0,
    Keeping::State(1),
);
/// [`key::Frontend6`] (IPv4 in mapped form) to [`packet::External`].
pub const EXTERNALS: Shape = shape::<key::Frontend6, packet::External>(
    "EXTERNALS",
    MapType::Hash,
    limits::EXTERNALS_MAX,
    NO_PREALLOC,
    Keeping::State(1),
);
/// Index to a packed [`packet::ExternalTarget`], shared memory.
pub const EXTERNAL_TARGETS: Shape =
    shape::<u32, u64>("EXTERNAL_TARGETS", MapType::Array, limits::EXTERNALS_MAX, MMAPABLE, Keeping::State(2));
/// Index, as of [`EXTERNAL_TARGETS`], to seconds of session affinity, shared memory.
pub const EXTERNAL_AFFINITY: Shape = shape::<u32, u32>(
    "EXTERNAL_AFFINITY",
    MapType::Array,
    limits::EXTERNALS_MAX,
    MMAPABLE,
    Keeping::State(1),
);
/// Tables of [`crate::maglev`], four entries a word.
pub const MAGLEV: Shape =
    shape::<u32, u64>("MAGLEV", MapType::Array, limits::MAGLEV_WORDS_MAX, 0, Keeping::State(1));
/// Slot to [`value::Backend6`], IPv4 in mapped form.
pub const EXTERNAL_BACKENDS: Shape = shape::<u32, value::Backend6>(
    "EXTERNAL_BACKENDS",
    MapType::Array,
    limits::EXTERNAL_BACKENDS_MAX,
    0,
    Keeping::State(1),
);
/// [`key::AffinityMember`] to nothing (one byte).
pub const EXTERNAL_MEMBERS: Shape = shape::<key::AffinityMember, u8>(
    "EXTERNAL_MEMBERS",
    MapType::Hash,
    limits::EXTERNAL_MEMBERS_MAX,
    NO_PREALLOC,
    Keeping::State(1),
);
/// [`packet::Range`] to nothing (one byte).
pub const RANGES: Shape = shape::<packet::Range, u8>(
    "RANGES",
    MapType::LpmTrie,
    limits::RANGES_MAX,
    NO_PREALLOC,
    Keeping::State(1),
);

/// [`key::Frontend4`] of those that the program on the wire looks after to [`packet::External`].
pub const WIRE_FRONTENDS: Shape = shape::<key::Frontend4, packet::External>(
    "WIRE_FRONTENDS",
    MapType::Hash,
    limits::EXTERNALS_MAX,
    NO_PREALLOC,
    Keeping::State(1),
);
/// Hash of a flow to a [`wire::Line`], shared memory so that each is one cache line. The node says how many.
pub const KNOWN: Shape =
    shape::<u32, wire::Line>("KNOWN", MapType::Array, limits::KNOWN_LINES, MMAPABLE, Keeping::State(1));
/// Hash of a flow of IPv6 to a [`wire::Way6`]; as above.
pub const KNOWN6: Shape =
    shape::<u32, wire::Way6>("KNOWN6", MapType::Array, limits::KNOWN_LINES, MMAPABLE, Keeping::State(1));
/// Hash of an address to a [`wire::Hop`], one a CPU.
pub const HOPS: Shape =
    shape::<u32, wire::Hop>("HOPS", MapType::PerCpuArray, limits::HOPS_MAX, 0, Keeping::State(2));
/// [`wire::Verdict`] to a count, one a CPU.
pub const VERDICTS: Shape =
    shape::<u32, u64>("VERDICTS", MapType::PerCpuArray, wire::VERDICTS, 0, Keeping::State(wire::VERDICTS));

/// The maps that only the program on the uplink's wire has.
pub const WIRE_MAPS: [Shape; 5] = [WIRE_FRONTENDS, KNOWN, KNOWN6, HOPS, VERDICTS];

/// [`policy::PeerKey`] to [`policy::Classes`].
pub const PEERS: Shape = shape::<policy::PeerKey, policy::Classes>(
    "PEERS",
    MapType::LpmTrie,
    limits::PEERS_MAX,
    NO_PREALLOC,
    Keeping::State(1),
);
/// [`policy::VerdictKey`] to nothing (one byte): what is let pass.
pub const ALLOWED: Shape = shape::<policy::VerdictKey, u8>(
    "ALLOWED",
    MapType::LpmTrie,
    limits::ALLOWED_MAX,
    NO_PREALLOC,
    Keeping::State(1),
);
/// [`packet::Tuple`], in order, to [`policy::Judged`]: connections that were answered.
pub const JUDGED: Shape = shape::<packet::Tuple, policy::Judged>(
    "JUDGED",
    MapType::Hash,
    limits::JUDGED_MAX,
    NO_PREALLOC,
    Keeping::State(1),
);
/// As [`JUDGED`]: connections that were not answered yet.
pub const JUDGED_NEW: Shape = shape::<packet::Tuple, policy::Judged>(
    "JUDGED_NEW",
    MapType::LruHash,
    limits::JUDGED_NEW_MAX,
    0,
    Keeping::State(1),
);
/// One [`policy::Control`], shared memory.
pub const POLICY_CONTROL: Shape =
    shape::<u32, policy::Control>("POLICY_CONTROL", MapType::Array, 1, MMAPABLE, Keeping::State(1));

/// By a device's index, host order.
pub const TUNNELS: Shape = shape::<u32, packet::Tunnel>(
    "TUNNELS",
    MapType::Hash,
    limits::TUNNELS_MAX,
    NO_PREALLOC,
    Keeping::State(1),
);

/// By the index of a pod's link, host order.
pub const PACES: Shape =
    shape::<u32, packet::Pace>("PACES", MapType::Hash, limits::PACES_MAX, NO_PREALLOC, Keeping::State(1));

/// The maps that only the per-packet programs at tc have, or share with that one.
pub const PACKET_MAPS: [Shape; 22] = [
    ENDPOINTS,
    CONNTRACK,
    CONNTRACK_NEW,
    CONNTRACK_GATE,
    FRAGMENTS,
    ADDRESSES,
    ANNOUNCED,
    CLIENTS,
    EXTERNALS,
    EXTERNAL_TARGETS,
    EXTERNAL_AFFINITY,
    MAGLEV,
    EXTERNAL_BACKENDS,
    EXTERNAL_MEMBERS,
    RANGES,
    PEERS,
    ALLOWED,
    JUDGED,
    JUDGED_NEW,
    POLICY_CONTROL,
    TUNNELS,
    PACES,
];

/// Hash of the layout: the text of the files that state it. A changed comment costs one needless upgrade in place;
/// a changed meaning that sizes do not show is never missed.
pub const CONFIG_HASH: u64 = {
    let sources: [&[u8]; 12] = [
        include_bytes!("drop.rs"),
        include_bytes!("key.rs"),
        include_bytes!("layout.rs"),
        include_bytes!("limits.rs"),
        include_bytes!("maglev.rs"),
        include_bytes!("metrics.rs"),
        include_bytes!("net.rs"),
        include_bytes!("node.rs"),
        include_bytes!("packet.rs"),
        include_bytes!("policy.rs"),
        include_bytes!("value.rs"),
        include_bytes!("wire.rs"),
    ];
    let mut hash = FNV_OFFSET;
    let mut file = 0;
    while file < sources.len() {
        hash = fnv1a(hash, sources[file]);
        file += 1;
    }
    hash
};

/// The programs' global that says at which scale the tables are; the loader writes it, the verifier takes it for a constant.
pub const SCALE: &str = "SCALE";
/// The programs' global that says whether connections are measured: 1, or 0 for those who do without. As [`SCALE`].
pub const MEASURE: &str = "MEASURE";

/// Section of an object file that states which layout its programs were compiled from: [`MARK`].
pub const MARK_SECTION: &str = "keelson.layout";
/// The layout's mark: a word to find it by, and [`CONFIG_HASH`].
pub const MARK: [u8; 24] = {
    let (word, hash) = (*b"keelson layout: ", CONFIG_HASH.to_le_bytes());
    let mut mark = [0; 24];
    let mut i = 0;
    while i < mark.len() {
        mark[i] = if i < word.len() { word[i] } else { hash[i - word.len()] };
        i += 1;
    }
    mark
};

/// Offset basis and prime of the 64-bit FNV-1a hash, <https://www.rfc-editor.org/rfc/rfc9923>.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

const fn fnv1a(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(FNV_PRIME);
        i += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv1a_gives_the_published_values() {
        assert_eq!(fnv1a(FNV_OFFSET, b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(FNV_OFFSET, b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn names_are_unique_and_fit_the_kernel() {
        let names = || MAPS.iter().chain(&PACKET_MAPS).chain(&WIRE_MAPS).map(|shape| shape.name);
        for (i, name) in names().enumerate() {
            assert!(!names().take(i).any(|other| other == name), "{name}");
        }
    }
}
