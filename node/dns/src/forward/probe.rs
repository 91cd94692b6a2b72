//! Finds servers that send our questions back to us, such as a host's resolver whose own upstream is the cluster's DNS.
//!
//! Each is asked for a name that nobody else can know. If that question arrives here it is not asked again until a later
//! probe stays out. Probed is at the start, when too many questions wait, and every [`AGAIN`] as long as one sends them back.

use super::{TRY_MAX, Wants, exchange, pool::Server};
use hickory_proto::{
    op::Query,
    rr::{Name, RecordType},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

/// Between two probes at least.
const AGAIN: Duration = Duration::from_secs(30);

/// The probe's name and where it arrived.
pub(crate) struct Probe {
    /// Random; the name asked for is a server's number below it.
    token: Name,
    servers: Vec<(Arc<Server>, AtomicBool)>,
    suspicion: Notify,
}

impl Probe {
    pub(super) fn new(servers: Vec<Arc<Server>>) -> Self {
        let label = format!("k{:032x}", rand::random::<u128>());
        let mut token = Name::from_labels([label.as_bytes()]).unwrap_or_else(|_| Name::root());
        token.set_fqdn(true);
        let servers = servers.into_iter().map(|server| (server, false.into())).collect();
        Self { token, servers, suspicion: Notify::new() }
    }

    /// Whether a question that came here is a probe, which is noted.
    pub(crate) fn is_back(&self, query: &Query) -> bool {
        if query.query_type() != RecordType::HINFO || !self.token.zone_of(query.name()) {
            return false;
        }
        let number = query.name().iter().next().and_then(|label| str::from_utf8(label).ok()?.parse().ok());
        if let Some((_, back)) = number.and_then(|number: usize| self.servers.get(number)) {
            back.store(true, Ordering::Relaxed);
        }
        true
    }

    /// Something is wrong that a loop would explain.
    pub(super) fn suspect(&self) {
        self.suspicion.notify_one();
    }

    /// Servers that send questions back.
    pub(crate) fn looping(&self) -> usize {
        self.servers.iter().filter(|(server, _)| server.is_looping()).count()
    }

    /// Probes, without end.
    pub(crate) async fn run(&self) {
        loop {
            let probes = self.servers.iter().enumerate();
            futures::future::join_all(
                probes.map(|(number, (server, back))| self.probe(number, server, back)),
            )
            .await;
            // A flood of queries is not to become one of probes.
            tokio::time::sleep(AGAIN).await;
            if self.looping() == 0 {
                self.suspicion.notified().await;
            }
        }
    }

    async fn probe(&self, number: usize, server: &Server, back: &AtomicBool) {
        let Ok(name) = self.token.prepend_label(number.to_string().as_bytes()) else { return };
        back.store(false, Ordering::Relaxed);
        // What it answers does not matter, nor whether it does.
        let _ =
            exchange(server.address, &Query::query(name, RecordType::HINFO), Wants::default(), TRY_MAX).await;
        let looping = back.load(Ordering::Relaxed);
        if server.set_looping(looping) {
            match looping {
                true => tracing::error!(
                    server = %server.address,
                    "sends questions back to this server and is not asked: give another with --upstream"
                ),
                false => tracing::info!(server = %server.address, "no longer sends questions back"),
            }
        }
    }
}
