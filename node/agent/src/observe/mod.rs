//! What the data plane measures, as messages: for gRPC on the Unix socket, the kubelet's HTTPS API and Prometheus alike.
//!
//! Nothing is kept here but what Prometheus asks for: counters that never go back.

mod grpc;
mod http;
mod path;
pub(crate) mod prometheus;

use std::sync::Arc;

use keelson_dataplane::flows::{Figures, FlowEvent, Flows, Pair, PortName};
use keelson_dataplane::plan::FrontendKey;
use keelson_dataplane::{Error, Handle, PolicyStatus};
use keelson_ebpf_common::drop::Reason;
use keelson_ebpf_common::metrics::{BUCKETS, What, bucket_start_ns};
use keelson_ebpf_common::wire::Verdict;
use keelson_ebpf_common::{layout, limits};
use keelson_observer as proto;

pub(crate) use grpc::serve;
pub(crate) use http::router;
pub(crate) use path::PathError;

/// The node's observer. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Observer {
    node: Arc<str>,
    dataplane: Handle,
    /// How bounds of what pods send are kept, in words; empty where nobody does.
    bounds: Arc<str>,
}

impl Observer {
    pub(crate) fn new(node: &str, dataplane: Handle) -> Self {
        Self { node: node.into(), dataplane, bounds: "".into() }
    }

    /// Of a daemon that gives pods their links.
    pub(crate) fn with_bounds(self, bounds: String) -> Self {
        Self { bounds: bounds.into(), ..self }
    }

    pub(crate) async fn services(&self) -> Result<proto::ServicesReply, Error> {
        let measured = self.dataplane.services().await?;
        let rows = measured.pairs.iter().map(|(name, pair, figures)| row(name, pair, figures));
        Ok(proto::ServicesReply {
            node: self.node.to_string(),
            rows: rows.collect(),
            other: Some(message(&measured.other)),
            totals_rows: measured.rows as u64,
            totals_rows_max: limits::TOTALS_MAX.into(),
        })
    }

    pub(crate) async fn status(&self) -> Result<proto::StatusReply, Error> {
        let status = self.dataplane.status().await?;
        let shapes = layout::MAPS.iter().map(|shape| shape.at(status.maps.scale));
        let shapes: Vec<_> = shapes.chain(layout::PACKET_MAPS).collect();
        let entries_max =
            |name: &str| shapes.iter().find(|s| s.name == name).map_or(0, |s| s.max_entries.into());
        let maps = status.maps.memory_bytes.iter().map(|&(name, bytes)| proto::Map {
            name: name.to_owned(),
            bytes,
            entries_max: entries_max(name),
        });
        let drops = status.maps.drops.iter();
        let unprogrammed = status.unprogrammed.into_iter();
        let verdict =
            |&(verdict, count): &(Verdict, u64)| proto::Verdict { name: verdict.name().to_owned(), count };
        let wire = status.maps.wire.as_ref().map(|wire| proto::Wire {
            mode: wire.mode.to_owned(),
            verdicts: wire.verdicts.iter().map(verdict).collect(),
        });
        Ok(proto::StatusReply {
            node: self.node.to_string(),
            ready: status.ready,
            error: status.error.unwrap_or_default(),
            frontends: status.maps.frontends as u64,
            backends: status.maps.backends as u64,
            scale: status.maps.scale,
            maps: maps.collect(),
            drops: drops.map(|&(r, count)| proto::Drop { reason: r.name().to_owned(), count }).collect(),
            wire,
            unprogrammed: unprogrammed
                .map(|(namespace, service, what)| proto::Unprogrammed { namespace, service, what })
                .collect(),
            policies: status.policies.map(policies),
            bounds: self.bounds.to_string(),
        })
    }

    pub(crate) fn trace(&self, request: &proto::TraceRequest) -> proto::TraceReply {
        let found = self.dataplane.trace(&request.namespace, &request.service);
        let known = found.is_some();
        let trace = found.unwrap_or_default();
        let frontends = trace.frontends.into_iter().map(|(key, name, programmed)| proto::TracedFrontend {
            frontend: key.socket().to_string(),
            protocol: protocol(&key),
            port_name: name.port.into(),
            programmed: programmed.is_some(),
            affinity_s: programmed.as_ref().map_or(0, |frontend| frontend.affinity_s),
            backends: programmed.iter().flat_map(|f| &f.backends).map(ToString::to_string).collect(),
        });
        proto::TraceReply {
            node: self.node.to_string(),
            known,
            frontends: frontends.collect(),
            unprogrammed: trace.unprogrammed,
        }
    }

    /// Events from now on, of the Services that the request names.
    pub(crate) fn flows(&self, request: proto::FlowsRequest) -> Result<FlowStream, Error> {
        Ok(FlowStream { observer: self.clone(), request, flows: self.dataplane.flows()? })
    }
}

/// Events with names, for one listener.
pub(crate) struct FlowStream {
    observer: Observer,
    request: proto::FlowsRequest,
    flows: Flows,
}

impl FlowStream {
    /// The next event that was asked for; `None` when the data plane ends.
    pub(crate) async fn next(&mut self) -> Option<proto::Flow> {
        loop {
            let flow = match self.flows.next().await? {
                Ok(event) => self.observer.flow(&event),
                Err(missed) => proto::Flow {
                    node: self.observer.node.to_string(),
                    what: "missed".to_owned(),
                    missed,
                    ..proto::Flow::default()
                },
            };
            let wanted = |asked: &str, found: &str| asked.is_empty() || asked == found;
            if flow.missed > 0
                || wanted(&self.request.namespace, &flow.namespace)
                    && wanted(&self.request.service, &flow.service)
            {
                return Some(flow);
            }
        }
    }
}

impl Observer {
    fn flow(&self, event: &FlowEvent) -> proto::Flow {
        // A Service that is gone by now has no name any more; its address says which it was.
        let name = self.dataplane.port_name(&event.pair.frontend).unwrap_or_default();
        let what = match event.what {
            What::Opened => "opened",
            What::Closed => "closed",
            What::Reset => "reset",
            What::Aborted => "aborted",
            What::Failed => "failed",
            What::Refused => "refused",
            What::DeniedOut | What::DeniedIn => "denied",
        };
        let text = |address: Option<std::net::SocketAddr>| address.map(|a| a.to_string()).unwrap_or_default();
        proto::Flow {
            node: self.node.to_string(),
            what: what.to_owned(),
            namespace: name.namespace.into(),
            service: name.service.into(),
            port_name: name.port.into(),
            frontend: event.pair.frontend.socket().to_string(),
            backend: text(event.pair.backend),
            client: text(event.client),
            connect_ns: event.connect.as_nanos() as u64,
            lasted_ms: event.lasted.as_millis() as u64,
            srtt_us: event.srtt.as_micros() as u64,
            retransmits: event.retransmits.into(),
            sent_bytes: event.sent_bytes,
            received_bytes: event.received_bytes,
            sampled_one_in: event.sampled_one_in,
            missed: 0,
            reason: match event.what {
                What::DeniedOut => Reason::PolicyEgress.name().to_owned(),
                What::DeniedIn => Reason::PolicyIngress.name().to_owned(),
                _ => String::new(),
            },
        }
    }
}

fn policies(status: PolicyStatus) -> proto::Policies {
    proto::Policies {
        ready: status.ready,
        error: status.error.unwrap_or_default(),
        policies: status.policies as u64,
        groups: status.groups as u64,
        peers: status.peers as u64,
        classes: status.classes as u64,
        addresses: status.addresses as u64,
        entries: status.verdicts as u64,
        without_room: status.without_room,
    }
}

fn protocol(key: &FrontendKey) -> String {
    format!("{:?}", key.protocol).to_uppercase()
}

fn row(name: &PortName, pair: &Pair, figures: &Figures) -> proto::ServiceRow {
    proto::ServiceRow {
        namespace: name.namespace.to_string(),
        service: name.service.to_string(),
        port_name: name.port.to_string(),
        frontend: pair.frontend.socket().to_string(),
        port: pair.frontend.port.into(),
        protocol: protocol(&pair.frontend),
        backend: pair.backend.map(|backend| backend.to_string()).unwrap_or_default(),
        figures: Some(message(figures)),
    }
}

fn message(figures: &Figures) -> proto::Figures {
    let buckets = (0..BUCKETS).zip(figures.histogram.iter()).filter(|(_, count)| **count > 0);
    let connect = buckets.map(|(bucket, &count)| proto::Bucket {
        from_ns: bucket_start_ns(bucket),
        to_ns: if bucket + 1 == BUCKETS { 0 } else { bucket_start_ns(bucket + 1) },
        count,
    });
    proto::Figures {
        open: figures.open,
        ended: figures.ended,
        failed: figures.failed,
        refused: figures.refused,
        resets: figures.resets,
        aborts: figures.aborts,
        retransmits: figures.retransmits,
        sent_bytes: figures.sent_bytes,
        received_bytes: figures.received_bytes,
        srtt_us: figures.srtt_us,
        lasted_ms: figures.lasted_ms,
        connect_ns: figures.connect_ns,
        connect: connect.collect(),
    }
}
