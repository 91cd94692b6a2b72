//! Network policies: whether a packet of a policed pod passes.
//!
//! What is judged is the connection: its first packet, and any packet after the policies have changed; answers follow. The
//! tuple is the one that both pods would give: the source as it was sent, the destination as it is delivered, whatever a
//! Service or the node's address stands for. Both ends that are pods of this node are judged at once, so it does not
//! matter which program sees the packet first.
//!
//! Passes always: a node and its own pods, a pod and itself, neighbour discovery. Of a connection that was there before its
//! pods were policed nobody knows who began, see [`from_before`].

use aya_ebpf::maps::lpm_trie::Key;
use keelson_ebpf_common::{
    drop::Reason,
    metrics::What,
    net::Address6,
    packet::{Endpoint, Tuple, endpoint_flag, protocol},
    policy::{Classes, Direction, Id, PeerKey, VerdictKey, control},
};

use crate::{
    affinity::random,
    judged, skb,
    state::{ALLOWED, PEERS, POLICY_CONTROL, endpoint},
    stream,
    transport::{Passage, tcp},
};

/// What is decided: to be dropped for a [`Reason`], by its number and one; or not.
pub type Decision = u32;
/// It goes on.
pub const PASSED: Decision = 0;

const fn dropped(reason: Reason) -> Decision {
    reason as u32 + 1
}

/// Drops a packet as was decided, counts it, and tells of it.
#[inline(never)]
pub fn drop(passage: &Passage, decision: Decision) -> i32 {
    let (reason, what) = match decision - 1 {
        n if n == Reason::PolicyEgress as u32 => (Reason::PolicyEgress, What::DeniedOut),
        n if n == Reason::PolicyIngress as u32 => (Reason::PolicyIngress, What::DeniedIn),
        _ => return skb::drop(Reason::NoConntrack),
    };
    let Passage { from, to, .. } = passage;
    stream::tell(random().into(), what, |flow| {
        (flow.client, flow.client_port) = (from.source, from.source_port);
        (flow.row.frontend, flow.row.frontend_port) = (to.destination, to.destination_port);
        flow.row.protocol = from.protocol;
    });
    skb::drop(reason)
}

/// What the daemon has said of policies on this node.
#[inline(always)]
fn flags() -> u32 {
    // SAFETY: a pointer from the map, one load of an aligned word.
    POLICY_CONTROL.get_ptr(0).map_or(0, |control| unsafe { (&raw const (*control).flags).read_volatile() })
}

/// Whether pods of this node may be policed.
#[inline(always)]
pub fn enforced() -> bool {
    flags() & control::ENFORCED != 0
}

/// Whether pods may speak with their own addresses alone.
#[inline(always)]
pub fn own_sources() -> bool {
    flags() & control::OWN_SOURCES != 0
}

/// Whether what this pod sends or is sent is judged.
#[inline(always)]
pub fn is_policed(pod: Option<&Endpoint>) -> bool {
    pod.is_some_and(|pod| pod.flags & endpoint_flag::POLICED != 0)
}

/// Judges a packet that was read, and translated if it is. An ICMP error goes with the connection that it is about; what has
/// no ports passes where everything does.
#[inline(always)]
pub fn judge(passage: &mut Passage) -> Decision {
    let Passage { from, to, about, flags, .. } = passage;
    if about.protocol != 0 && belongs(about) {
        return PASSED;
    }
    // Its place is free now.
    (about.source, about.source_port) = (from.source, from.source_port);
    (about.destination, about.destination_port) = (to.destination, to.destination_port);
    about.protocol = from.protocol;
    decide(about, *flags)
}

/// Whether a connection was let pass, by the policies as they are.
#[inline(never)]
fn belongs(about: &mut Tuple) -> bool {
    let epoch = epoch();
    about.order();
    judged::look(about, epoch)
}

/// Judges a connection by a packet of it. Changes the tuple.
#[inline(never)]
fn decide(tuple: &mut Tuple, tcp_flags: u8) -> Decision {
    let is_tcp = tuple.protocol == protocol::TCP;
    let first = is_tcp && tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN;
    // Before anything else is read: what is decided by what is about to change is judged anew then.
    let epoch = epoch();
    let swapped = tuple.order();
    let found = if first { judged::UNKNOWN } else { judged::find(tuple, swapped, tcp_flags, epoch) };
    if found == judged::PASSES {
        return PASSED;
    }
    if found != judged::UNKNOWN {
        let begun_by_second = (found == judged::STALE) == swapped;
        let decision = begun(tuple, begun_by_second, epoch);
        // What is known of it stays: who began will be asked of its next packet, too.
        if decision == PASSED || is_tcp {
            return decision;
        }
    } else if is_tcp && !first {
        return from_before(tuple, epoch);
    }
    begun(tuple, swapped, epoch)
}

/// Judges a TCP connection from before its pods were policed, of which nobody knows who began it: whoever has a port that
/// clients get, or else it must be allowed either way.
#[inline(always)]
fn from_before(tuple: &Tuple, epoch: u32) -> Decision {
    /// Ports that Linux gives to clients begin here (`net.ipv4.ip_local_port_range`); those of other systems are higher.
    const CLIENTS_FIRST: u16 = 32_768;
    let by_first = tuple.source_port.number() >= CLIENTS_FIRST;
    let by_second = tuple.destination_port.number() >= CLIENTS_FIRST;
    if by_first == by_second {
        let other_way = connection(tuple, false);
        if other_way != PASSED {
            return other_way;
        }
    }
    begun(tuple, by_second || !by_first, epoch)
}

/// Judges a connection that the second end of an ordered tuple began, or the first, and notes it if it passes.
#[inline(always)]
fn begun(tuple: &Tuple, by_second: bool, epoch: u32) -> Decision {
    let decision = connection(tuple, by_second);
    if decision == PASSED { keep(tuple, by_second, epoch) } else { decision }
}

#[inline(always)]
fn keep(key: &Tuple, swapped: bool, epoch: u32) -> Decision {
    if judged::put(key, swapped, epoch) { PASSED } else { dropped(Reason::NoConntrack) }
}

#[inline(always)]
fn epoch() -> u32 {
    // SAFETY: as in `flags`.
    POLICY_CONTROL.get_ptr(0).map_or(0, |control| unsafe { (&raw const (*control).epoch).read_volatile() })
}

/// Whether the policies let the second end of an ordered tuple (`swapped`) or the first begin this connection.
#[inline(never)]
fn connection(key: &Tuple, swapped: bool) -> Decision {
    let (from, to, port) = if swapped {
        (&key.destination, &key.source, key.source_port)
    } else {
        (&key.source, &key.destination, key.destination_port)
    };
    // ICMP echo has its number where ports are, and none counts.
    let port = if matches!(key.protocol, protocol::ICMP | protocol::ICMP6) { 0 } else { port.0 };
    let asked = u32::from(key.protocol) << 8 | u32::from(port) << 16;
    let (sender, receiver) = (endpoint(from), endpoint(to));
    let is_node = |end: Option<&Endpoint>| end.is_some_and(|end| end.ifindex == Endpoint::NODE);
    if is_node(sender) || is_node(receiver) || from == to {
        return PASSED;
    }
    if let Some(sender) = sender
        && sender.flags & endpoint_flag::EGRESS != 0
    {
        let group = sender.group;
        if !lets(group, asked | Direction::Egress as u32, to) {
            return dropped(Reason::PolicyEgress);
        }
    }
    if let Some(receiver) = receiver
        && receiver.flags & endpoint_flag::INGRESS != 0
    {
        let group = receiver.group;
        if !lets(group, asked | Direction::Ingress as u32, from) {
            return dropped(Reason::PolicyIngress);
        }
    }
    PASSED
}

/// Whether a group is let have what is `asked` (direction, protocol, port as in [`VerdictKey`], little-endian) with an
/// address: for anyone, as the pod that has the address, or by the blocks that the address is in.
#[inline(never)]
fn lets(group: Id, asked: u32, other: &Address6) -> bool {
    if verdict(group, Id::ANYONE, asked) {
        return true;
    }
    let PeerKey { bits, family, address: Address6([a, b, c, d]) } = PeerKey::of(*other);
    // Copied: the element may be another's later.
    let Some(Classes { pods, blocks }) = PEERS.get(Key::new(bits, [family, a, b, c, d])).copied() else {
        return false;
    };
    pods != Id::NONE && verdict(group, pods, asked) || blocks != Id::NONE && verdict(group, blocks, asked)
}

#[inline(never)]
fn verdict(group: Id, class: Id, asked: u32) -> bool {
    let (Id([a, b]), Id([c, d])) = (group, class);
    ALLOWED.get(Key::new(VerdictKey::BITS, [a, b, c, d, asked.to_le()])).is_some()
}

/// Whether an address is of the link alone: neighbour discovery and the like, which a pod has with its own node.
#[inline(always)]
pub fn is_of_link(address: &Address6) -> bool {
    let first = u32::from_be(address.0[0]);
    // fe80::/10, and multicast of link scope (RFC 4291, 2.5.6 and 2.7).
    first >> 22 == 0xfe80 >> 6 || first >> 16 & 0xff0f == 0xff02
}
