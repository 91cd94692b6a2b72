//! Idle connections of policed pods out of their table, a slice at a time, as [`super::collect`] does for flows.

use std::path::Path;

use keelson_ebpf_common::{
    layout,
    packet::{Finished, Flow, Tuple, mark as flow_mark},
    policy::{Judged, mark},
};
use keelson_sys::{
    bpf::{Map, Position},
    clock::monotonic_s,
};
use zerocopy::FromBytes;

use super::load::open;
use crate::{
    Error,
    maps::pins::{Pins, file},
};

/// Entries looked at in one step.
const SLICE: usize = 4096;

/// The table, and how far the round has come. Half-open connections need no round: they displace each other, and are not
/// believed when they are old.
#[derive(Debug)]
pub(super) struct JudgedCollector {
    map: Map,
    position: Option<Position>,
    room: usize,
    counting: usize,
    count: usize,
}

impl JudgedCollector {
    pub(super) fn open(pins: &Pins) -> Result<Self, Error> {
        let map = open(pins, &layout::JUDGED)?;
        Ok(Self { map, position: None, room: SLICE, counting: 0, count: 0 })
    }

    /// The next slice. How many connections the last whole round found.
    pub(super) fn step(&mut self) -> Result<usize, Error> {
        let (found, next) = self.map.entries_from(self.position, &mut self.room)?;
        let now_s = monotonic_s().map_err(file("reading the clock", Path::new("CLOCK_MONOTONIC")))? as u32;
        let keys = found.keys.chunks_exact(size_of::<Tuple>());
        let (mut idle, mut kept) = (Vec::new(), 0);
        for (bytes, value) in keys.zip(found.values.chunks_exact(size_of::<Judged>())) {
            let (Ok(key), Ok(judged)) = (Tuple::read_from_bytes(bytes), Judged::read_from_bytes(value))
            else {
                continue;
            };
            match is_idle(&key, &judged, now_s) {
                true => idle.extend_from_slice(bytes),
                false => kept += 1,
            }
        }
        self.map.delete_batch(&idle).map_err(|source| Error::Batch { name: layout::JUDGED.name, source })?;
        self.counting += kept;
        self.position = next;
        if next.is_none() {
            self.count = std::mem::take(&mut self.counting);
        }
        Ok(self.count)
    }
}

fn is_idle(key: &Tuple, judged: &Judged, now_s: u32) -> bool {
    let finished = match (judged.marks & mark::FIN != 0, judged.marks & mark::FIN_BACK != 0) {
        (true, true) => Finished::Both,
        (false, false) => Finished::Neither,
        _ => Finished::One,
    };
    let marks = if judged.marks & mark::RESET != 0 { flow_mark::RESET } else { 0 };
    // The programs' clock is that of the last tick: a connection may seem to be seen in the future.
    now_s.saturating_sub(judged.seen_s) > Flow::idle_max_s(key.protocol, marks, finished)
}

#[cfg(test)]
mod tests {
    use keelson_ebpf_common::{net::Address6, packet::protocol};

    use super::*;

    #[test]
    fn connections_are_kept_as_long_as_their_protocol_and_state_ask() {
        const NOW: u32 = 1_000_000;
        let rows = [
            (protocol::TCP, 0, NOW - 86_400, false),
            (protocol::TCP, 0, NOW - 86_401, true),
            (protocol::TCP, mark::FIN, NOW - 3_601, true),
            (protocol::TCP, mark::FIN_BACK, NOW - 3_600, false),
            (protocol::TCP, mark::FIN | mark::FIN_BACK, NOW - 61, true),
            (protocol::TCP, mark::RESET, NOW - 11, true),
            (protocol::UDP, mark::ANSWERED, NOW - 180, false),
            (protocol::UDP, mark::ANSWERED, NOW - 181, true),
            (protocol::ICMP, mark::ANSWERED, NOW - 61, true),
            (protocol::TCP, 0, NOW + 1, false),
        ];
        for (protocol, marks, seen_s, idle) in rows {
            let key = Tuple::of_addresses(Address6([1; 4]), Address6([2; 4]), protocol);
            assert_eq!(
                is_idle(&key, &Judged { epoch: 0, seen_s, marks }, NOW),
                idle,
                "{protocol} {marks} {seen_s}"
            );
        }
    }
}
