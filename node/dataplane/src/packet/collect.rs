//! Idle flows out of the tables: a slice at a time, so that neither the daemon nor the kernel is ever long at it.
//!
//! Both directions of a flow live as long as either is used; of UDP, no longer than the backend is one of the Service's: a
//! client that goes on sending would else be sent to nobody for ever. When the tables are empty the gate is shut, and packets are no
//! longer looked up.

use std::path::Path;

use keelson_ebpf_common::{
    layout,
    packet::{Finished, Flow, HALF_OPEN_MAX_S, Tuple, mark},
};
use keelson_sys::{
    bpf::{Map, Position},
    clock::monotonic_s,
};
use zerocopy::{FromBytes, IntoBytes};

use super::load::open;
use crate::{
    Error,
    maps::pins::{Pins, file},
};

/// Entries looked at in one step.
const SLICE: usize = 4096;

/// Flows in the tables, as the last whole round found them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FlowCount {
    /// Answered.
    pub established: usize,
    /// Not answered yet.
    pub half_open: usize,
}

/// The tables, and how far the round has come.
#[derive(Debug)]
pub(super) struct Collector {
    flows: Map,
    half_open: Map,
    gate: Map,
    table: Table,
    position: Option<Position>,
    room: usize,
    counting: FlowCount,
    count: FlowCount,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Table {
    Established,
    HalfOpen,
}

/// One direction of a flow.
type Entry = (Tuple, Flow);

impl Collector {
    pub(super) fn open(pins: &Pins) -> Result<Self, Error> {
        Ok(Self {
            flows: open(pins, &layout::CONNTRACK)?,
            half_open: open(pins, &layout::CONNTRACK_NEW)?,
            gate: open(pins, &layout::CONNTRACK_GATE)?,
            table: Table::Established,
            position: None,
            room: SLICE,
            counting: FlowCount::default(),
            count: FlowCount::default(),
        })
    }

    /// The next slice.
    pub(super) fn step(&mut self, is_stale: impl Fn(&Tuple, &Flow) -> bool) -> Result<FlowCount, Error> {
        let map = if self.table == Table::Established { &self.flows } else { &self.half_open };
        let (found, next) = map.entries_from(self.position, &mut self.room)?;
        let keys = found.keys.chunks_exact(size_of::<Tuple>());
        let values = found.values.chunks_exact(size_of::<Flow>());
        let entries: Vec<Entry> = keys
            .zip(values)
            .filter_map(|(key, value)| {
                Some((Tuple::read_from_bytes(key).ok()?, Flow::read_from_bytes(value).ok()?))
            })
            .collect();
        let mut idle = match self.table {
            Table::Established => self.idle_established(&entries)?,
            Table::HalfOpen => idle_half_open(&entries, now_s()?),
        };
        for (key, flow) in entries.iter().filter(|(key, flow)| is_stale(key, flow)) {
            idle.extend([*key, flow.becomes.reversed()]);
        }
        for key in &idle {
            map.delete(key.as_bytes())?;
        }
        let forward =
            entries.iter().filter(|(key, flow)| flow.marks & mark::REVERSE == 0 && !idle.contains(key));
        let counted = forward.count();
        match self.table {
            Table::Established => self.counting.established += counted,
            Table::HalfOpen => self.counting.half_open += counted,
        }
        self.position = next;
        if next.is_none() {
            self.turn()?;
        }
        Ok(self.count)
    }

    /// The table is read to its end: on to the other.
    fn turn(&mut self) -> Result<(), Error> {
        if self.table == Table::Established {
            self.table = Table::HalfOpen;
            return Ok(());
        }
        self.table = Table::Established;
        self.count = std::mem::take(&mut self.counting);
        if self.count == FlowCount::default() && self.is_empty()? {
            self.set_gate(0)?;
            // A program puts its flow into the table before it opens the gate: what came since is seen now, or finds the
            // gate shut and opens it.
            if !self.is_empty()? {
                self.set_gate(1)?;
            }
        }
        Ok(())
    }

    fn is_empty(&self) -> Result<bool, Error> {
        let empty = |map: &Map| Ok::<_, Error>(map.keys(1)?.is_empty());
        Ok(empty(&self.flows)? && empty(&self.half_open)?)
    }

    fn set_gate(&self, value: u32) -> Result<(), Error> {
        Ok(self.gate.update(0_u32.as_bytes(), value.as_bytes())?)
    }

    fn idle_established(&self, entries: &[Entry]) -> Result<Vec<Tuple>, Error> {
        let (now_s, mut idle) = (now_s()?, Vec::new());
        for (key, flow) in entries {
            let back = flow.becomes.reversed();
            let other = self.flows.lookup(back.as_bytes())?;
            let other = other.and_then(|bytes| Flow::read_from_bytes(&bytes).ok());
            // A key that is another flow's by now is not the other direction of this one.
            let other = other.filter(|other| other.becomes.reversed() == *key);
            if is_idle(key, flow, other.as_ref(), now_s) {
                idle.push(*key);
                if other.is_some() {
                    idle.push(back);
                }
            }
        }
        Ok(idle)
    }
}

/// Whether an established flow has been silent for too long.
fn is_idle(key: &Tuple, flow: &Flow, other: Option<&Flow>, now_s: u32) -> bool {
    let Some(other) = other else {
        // Half a flow translates one way only: it is a remnant.
        return age(flow, now_s) > HALF_OPEN_MAX_S;
    };
    let finished = match (flow.marks & mark::FIN != 0, other.marks & mark::FIN != 0) {
        (true, true) => Finished::Both,
        (false, false) => Finished::Neither,
        _ => Finished::One,
    };
    let idle_max_s = Flow::idle_max_s(key.protocol, flow.marks | other.marks, finished);
    age(flow, now_s).min(age(other, now_s)) > idle_max_s
}

fn idle_half_open(entries: &[Entry], now_s: u32) -> Vec<Tuple> {
    entries.iter().filter(|(_, flow)| age(flow, now_s) > HALF_OPEN_MAX_S).map(|(key, _)| *key).collect()
}

/// The programs' clock is that of the last tick: a flow may seem to be seen in the future.
fn age(flow: &Flow, now_s: u32) -> u32 {
    now_s.saturating_sub(flow.seen_s)
}

fn now_s() -> Result<u32, Error> {
    let failed = file("reading the clock", Path::new("CLOCK_MONOTONIC"));
    Ok(monotonic_s().map_err(failed)? as u32)
}

#[cfg(test)]
mod tests {
    use keelson_ebpf_common::{
        net::{Address6, Port},
        packet::protocol,
    };

    use super::*;

    fn tuple(protocol: u8) -> Tuple {
        let (source, destination) = (Address6([0, 0, 0, 1]), Address6([0, 0, 0, 2]));
        let (source_port, destination_port) = (Port::new(1000), Port::new(80));
        Tuple { source, destination, source_port, destination_port, protocol, pad: [0; 3] }
    }

    fn flow(seen_s: u32, marks: u32) -> Flow {
        Flow { becomes: tuple(protocol::TCP), seen_s, marks }
    }

    #[test]
    fn flows_are_kept_as_long_as_their_protocol_and_state_ask() {
        const NOW: u32 = 1_000_000;
        let day = NOW - 86_400;
        let (fin, reset) = (mark::FIN, mark::RESET);
        // Protocol; seen and marks of one direction, of the other; idle.
        let rows = [
            (protocol::TCP, (day, 0), (day, 0), false),
            (protocol::TCP, (day - 1, 0), (day - 1, 0), true),
            (protocol::TCP, (day - 1, 0), (NOW, 0), false),
            (protocol::TCP, (NOW - 3_600, fin), (NOW - 3_600, 0), false),
            (protocol::TCP, (NOW - 3_601, fin), (NOW - 3_601, 0), true),
            (protocol::TCP, (NOW - 60, fin), (NOW - 60, fin), false),
            (protocol::TCP, (NOW - 61, fin), (NOW - 61, fin), true),
            (protocol::TCP, (NOW - 11, 0), (NOW - 11, reset), true),
            (protocol::UDP, (NOW - 180, 0), (NOW - 300, 0), false),
            (protocol::UDP, (NOW - 181, 0), (NOW - 181, 0), true),
            (protocol::ICMP, (NOW - 61, 0), (NOW - 61, 0), true),
            (protocol::TCP, (NOW + 1, 0), (NOW + 1, 0), false),
        ];
        for (protocol, one, other, idle) in rows {
            let (one, other) = (flow(one.0, one.1), flow(other.0, other.1));
            assert_eq!(is_idle(&tuple(protocol), &one, Some(&other), NOW), idle, "{one:?} {other:?}");
        }
        assert!(is_idle(&tuple(protocol::TCP), &flow(NOW - 61, 0), None, NOW));
        assert_eq!(
            idle_half_open(&[(tuple(6), flow(NOW - 61, 0)), (tuple(17), flow(NOW, 0))], NOW),
            [tuple(6)]
        );
    }
}
