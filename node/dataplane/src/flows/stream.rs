//! The stream of events, for as long as somebody listens.
//!
//! One listener at a time reads the ring and hands it on; how many sockets are told of follows the rate: the programs, not the
//! reader, leave out what would be too much.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use aya::maps::{Map, MapData, RingBuf};
use keelson_ebpf_common::metrics::{Flow, SINCE_LOG2, TICK_LOG2, What};
use parking_lot::Mutex;
use tokio::sync::broadcast;
use zerocopy::FromBytes;

use super::{Meter, Pair, meter};
use crate::{Error, encode::user_key};

/// Events that wait for a listener at most; one that falls further behind is told how many it missed.
const EVENTS_MAX: usize = 1_024;
/// Events a second above which half as many sockets are told of, and below a quarter of which twice as many.
const RATE_MAX: u32 = 2_000;
/// At most one socket in so many is told of.
const SAMPLE_MAX: u32 = 1 << 16;
/// How often the ring is emptied. Programs wake nobody: a wake-up an event would be paid by the connections.
const PAUSE: Duration = Duration::from_millis(20);
/// How often the rate is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Something that happened to a connection through a Service.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowEvent {
    /// What.
    pub what: What,
    /// Its Service and backend.
    pub pair: Pair,
    /// The client, where known.
    pub client: Option<SocketAddr>,
    /// How long connect() took (of a failed one: how long it was tried).
    pub connect: Duration,
    /// How long the connection lasted, at its end.
    pub lasted: Duration,
    /// The smoothed round trip time at the end.
    pub srtt: Duration,
    /// Segments sent again, at the end.
    pub retransmits: u32,
    /// Bytes that the other side acknowledged, at the end.
    pub sent_bytes: u64,
    /// Bytes that the client received, at the end.
    pub received_bytes: u64,
    /// One socket in so many was told of at the time.
    pub sampled_one_in: u32,
}

/// Events from now on. Nobody is told of anything after the last of these is dropped.
#[derive(Debug)]
pub struct Flows {
    events: broadcast::Receiver<FlowEvent>,
    /// Keeps the reader alive.
    _alive: Arc<()>,
}

impl Flows {
    /// The next event, or how many were missed. `None` when the data plane ends.
    pub async fn next(&mut self) -> Option<Result<FlowEvent, u64>> {
        match self.events.recv().await {
            Ok(event) => Some(Ok(event)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Err(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// Whoever reads for the listeners, while there are any.
#[derive(Debug, Default)]
pub(crate) struct Reader(Mutex<Option<(broadcast::Sender<FlowEvent>, Weak<()>)>>);

impl Reader {
    /// Joins the listeners; the first one starts the reading. Call it inside a runtime.
    pub(crate) fn join(&self, ring: &Path, meter: &Arc<Mutex<Meter>>) -> Result<Flows, Error> {
        let mut present = self.0.lock();
        if let Some((events, alive)) = present.as_ref()
            && let Some(alive) = alive.upgrade()
        {
            return Ok(Flows { events: events.subscribe(), _alive: alive });
        }
        let ring = open(ring)?;
        meter.lock().sample(1)?;
        let (sender, events) = broadcast::channel(EVENTS_MAX);
        let alive = Arc::new(());
        *present = Some((sender.clone(), Arc::downgrade(&alive)));
        tokio::spawn(read(ring, sender, Arc::downgrade(&alive), meter.clone()));
        Ok(Flows { events, _alive: alive })
    }
}

fn open(path: &Path) -> Result<RingBuf<MapData>, Error> {
    let failed = |source: aya::maps::MapError| Error::Ring(Box::new(source));
    let data = MapData::from_pin(path).map_err(failed)?;
    RingBuf::try_from(Map::RingBuf(data)).map_err(failed)
}

/// Reads until nobody listens, then has the programs tell nobody.
async fn read(
    mut ring: RingBuf<MapData>,
    events: broadcast::Sender<FlowEvent>,
    alive: Weak<()>,
    meter: Arc<Mutex<Meter>>,
) {
    let (mut one_in, mut told, mut since) = (1, 0_u32, Instant::now());
    while alive.strong_count() > 0 {
        while let Some(item) = ring.next() {
            told = told.saturating_add(1);
            let event = Flow::read_from_bytes(&item).ok().and_then(|flow| decode(&flow, one_in));
            // Without listeners there is nobody to tell.
            event.into_iter().for_each(|event| drop(events.send(event)));
        }
        let elapsed = since.elapsed();
        if elapsed >= LOOK {
            let next = sample_for(one_in, f64::from(told) / elapsed.as_secs_f64());
            if next != one_in && meter.lock().sample(next).is_ok() {
                one_in = next;
            }
            (told, since) = (0, Instant::now());
        }
        tokio::time::sleep(PAUSE).await;
    }
    if let Err(error) = meter.lock().sample(0) {
        tracing::warn!(error = &error as &dyn std::error::Error, "the flow stream could not be turned off");
    }
}

/// How many sockets to tell of, by the rate at the present number.
fn sample_for(one_in: u32, per_second: f64) -> u32 {
    if per_second > f64::from(RATE_MAX) {
        (one_in * 2).min(SAMPLE_MAX)
    } else if per_second < f64::from(RATE_MAX / 4) {
        (one_in / 2).max(1)
    } else {
        one_in
    }
}

fn decode(flow: &Flow, sampled_one_in: u32) -> Option<FlowEvent> {
    let row = flow.row;
    let frontend = user_key(row.frontend.to_ip(), row.frontend_port, row.protocol)?;
    let client =
        (flow.client_port.0 != 0).then(|| SocketAddr::new(flow.client.to_ip(), flow.client_port.number()));
    Some(FlowEvent {
        what: What::ALL.into_iter().find(|what| *what as u8 == flow.what)?,
        pair: Pair { frontend, backend: meter::backend(&row) },
        client,
        connect: Duration::from_nanos(u64::from(flow.connect) << TICK_LOG2),
        lasted: Duration::from_nanos(u64::from(flow.lasted) << SINCE_LOG2),
        srtt: Duration::from_micros(flow.srtt_us.into()),
        retransmits: flow.retransmits,
        sent_bytes: flow.sent_bytes,
        received_bytes: flow.received_bytes,
        sampled_one_in,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_sockets_follows_the_rate_within_its_bounds() {
        let rows =
            [(1, 100.0, 1), (1, 5_000.0, 2), (8, 1_000.0, 8), (8, 100.0, 4), (SAMPLE_MAX, 1e9, SAMPLE_MAX)];
        for (one_in, rate, next) in rows {
            assert_eq!(sample_for(one_in, rate), next, "{one_in} at {rate}");
        }
    }
}
