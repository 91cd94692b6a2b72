//! What the server counts, in Prometheus' text format. Does not own where it is served.

use crate::message::Transport;
use hickory_proto::{op::ResponseCode, rr::RecordType};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

const PROTOS: [&str; 2] = ["udp", "tcp"];
const TYPES: [&str; 9] = ["A", "AAAA", "SRV", "PTR", "CNAME", "TXT", "SOA", "HTTPS", "other"];
const CODES: [&str; 8] =
    ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "BADVERS", "other"];
/// Upper bounds of the histogram's buckets: from an answer out of memory to the longest wait for others.
const BOUNDS_US: [u64; 10] = [50, 100, 250, 1_000, 5_000, 25_000, 100_000, 500_000, 1_500_000, 5_000_000];

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// We ourselves: the cluster's names, and refusals.
    Own,
    /// Another server, some time ago.
    Cache,
    /// Another server, now.
    Forward,
}

const SOURCES: [&str; 3] = ["own", "cache", "forward"];

/// What went wrong on our side.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Not a query: no answer was given.
    Ignored,
    /// Too many questions wait for other servers.
    InFlight,
    /// Too many TCP connections are open.
    Connections,
    /// An answer could not be written or sent.
    Unsent,
    /// The cluster is not known yet.
    Unlisted,
    /// No other server answered.
    Unanswered,
}

const FAULTS: [&str; 6] = ["ignored", "in_flight", "connections", "unsent", "unlisted", "unanswered"];

#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    fn observe(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.buckets[BOUNDS_US.partition_point(|bound| *bound < us)].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    fn write(&self, out: &mut String, name: &str, labels: &str) -> fmt::Result {
        let mut count = 0;
        for (bucket, bound) in self.buckets.iter().zip(BOUNDS_US) {
            count += bucket.load(Relaxed);
            writeln!(out, "{name}_bucket{{{labels},le=\"{}\"}} {count}", seconds(bound))?;
        }
        count += self.buckets[BOUNDS_US.len()].load(Relaxed);
        writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}")?;
        writeln!(out, "{name}_sum{{{labels}}} {}", seconds(self.sum_us.load(Relaxed)))?;
        writeln!(out, "{name}_count{{{labels}}} {count}")
    }
}

fn seconds(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64()
}

/// What is counted. The servers that may be asked are few and known, so are all labels.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: [[[AtomicU64; CODES.len()]; TYPES.len()]; PROTOS.len()],
    times: [Histogram; SOURCES.len()],
    cache: [AtomicU64; 2],
    faults: [AtomicU64; FAULTS.len()],
    forwards: Mutex<BTreeMap<(SocketAddr, &'static str), Forwards>>,
}

#[derive(Debug, Default)]
struct Forwards {
    count: u64,
    time: Duration,
}

/// What is measured when it is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gauges {
    pub(crate) listed: bool,
    pub(crate) services: usize,
    pub(crate) cache_entries: usize,
    pub(crate) cache_bytes: u64,
    pub(crate) looping: usize,
}

impl Metrics {
    /// An answer was given.
    pub(crate) fn answered(
        &self,
        transport: Transport,
        kind: Option<RecordType>,
        code: ResponseCode,
        source: Source,
        time: Duration,
    ) {
        self.requests[transport as usize][type_of(kind)][code_of(code)].fetch_add(1, Relaxed);
        self.times[source as usize].observe(time);
    }

    /// The cache was asked.
    pub(crate) fn cache(&self, hit: bool) {
        self.cache[usize::from(hit)].fetch_add(1, Relaxed);
    }

    /// Something went wrong here.
    pub(crate) fn fault(&self, fault: Fault) {
        self.faults[fault as usize].fetch_add(1, Relaxed);
    }

    /// A server was asked.
    pub(crate) fn forwarded(&self, server: SocketAddr, result: &'static str, time: Duration) {
        let mut all = self.forwards.lock();
        let entry = all.entry((server, result)).or_default();
        entry.count += 1;
        entry.time += time;
    }

    /// All of it.
    pub(crate) fn text(&self, gauges: Gauges) -> String {
        let mut out = String::new();
        // Writing to a String does not fail.
        let _ = self.write(&mut out, gauges);
        out
    }

    fn write(&self, out: &mut String, gauges: Gauges) -> fmt::Result {
        head(out, "requests_total", "counter", "Answers given")?;
        for (proto, types) in PROTOS.iter().zip(&self.requests) {
            for (kind, codes) in TYPES.iter().zip(types) {
                for (code, count) in CODES.iter().zip(codes).map(|(code, n)| (code, n.load(Relaxed))) {
                    if count > 0 {
                        let labels = format!("proto=\"{proto}\",type=\"{kind}\",rcode=\"{code}\"");
                        writeln!(out, "keelson_dns_requests_total{{{labels}}} {count}")?;
                    }
                }
            }
        }
        head(out, "request_duration_seconds", "histogram", "From a query's arrival to its answer")?;
        for (source, histogram) in SOURCES.iter().zip(&self.times) {
            histogram.write(out, "keelson_dns_request_duration_seconds", &format!("source=\"{source}\""))?;
        }
        head(out, "cache_lookups_total", "counter", "Questions looked up in the cache")?;
        for (result, count) in ["miss", "hit"].iter().zip(&self.cache) {
            writeln!(out, "keelson_dns_cache_lookups_total{{result=\"{result}\"}} {}", count.load(Relaxed))?;
        }
        self.write_forwards(out)?;
        head(out, "errors_total", "counter", "Queries that were not answered as they should")?;
        for (reason, count) in FAULTS.iter().zip(&self.faults) {
            writeln!(out, "keelson_dns_errors_total{{reason=\"{reason}\"}} {}", count.load(Relaxed))?;
        }
        gauges.write(out)
    }

    fn write_forwards(&self, out: &mut String) -> fmt::Result {
        let all = self.forwards.lock();
        head(out, "forwards_total", "counter", "Questions put to other servers")?;
        for ((server, result), forwards) in &*all {
            let labels = format!("server=\"{server}\",result=\"{result}\"");
            writeln!(out, "keelson_dns_forwards_total{{{labels}}} {}", forwards.count)?;
        }
        head(out, "forward_seconds_total", "counter", "Time that they took")?;
        for ((server, result), forwards) in &*all {
            let labels = format!("server=\"{server}\",result=\"{result}\"");
            let time = forwards.time.as_secs_f64();
            writeln!(out, "keelson_dns_forward_seconds_total{{{labels}}} {time}")?;
        }
        Ok(())
    }
}

impl Gauges {
    fn write(self, out: &mut String) -> fmt::Result {
        let rows = [
            ("listed", "Whether the cluster's Services are known", u64::from(self.listed)),
            ("services", "Services that have names", self.services as u64),
            ("cache_entries", "Answers in the cache", self.cache_entries as u64),
            ("cache_bytes", "Bytes of the cache", self.cache_bytes),
            ("looping_servers", "Servers that send questions back", self.looping as u64),
        ];
        for (name, help, value) in rows {
            head(out, name, "gauge", help)?;
            writeln!(out, "keelson_dns_{name} {value}")?;
        }
        Ok(())
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP keelson_dns_{name} {help}\n# TYPE keelson_dns_{name} {kind}")
}

fn type_of(kind: Option<RecordType>) -> usize {
    match kind {
        Some(RecordType::A) => 0,
        Some(RecordType::AAAA) => 1,
        Some(RecordType::SRV) => 2,
        Some(RecordType::PTR) => 3,
        Some(RecordType::CNAME) => 4,
        Some(RecordType::TXT) => 5,
        Some(RecordType::SOA) => 6,
        Some(RecordType::HTTPS) => 7,
        _ => 8,
    }
}

fn code_of(code: ResponseCode) -> usize {
    match code {
        ResponseCode::NoError => 0,
        ResponseCode::FormErr => 1,
        ResponseCode::ServFail => 2,
        ResponseCode::NXDomain => 3,
        ResponseCode::NotImp => 4,
        ResponseCode::Refused => 5,
        ResponseCode::BADVERS | ResponseCode::BADSIG => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_said_and_buckets_add_up() {
        let metrics = Metrics::default();
        for us in [10, 60, 9_000_000] {
            let time = Duration::from_micros(us);
            metrics.answered(Transport::Udp, Some(RecordType::A), ResponseCode::NXDomain, Source::Own, time);
        }
        let server = "192.0.2.1:53".parse().unwrap();
        metrics.forwarded(server, "timeout", Duration::from_millis(1500));
        metrics.fault(Fault::InFlight);
        metrics.cache(true);
        let gauges = Gauges { listed: true, services: 3, cache_entries: 1, cache_bytes: 256, looping: 0 };
        let text = metrics.text(gauges);
        for line in [
            "keelson_dns_requests_total{proto=\"udp\",type=\"A\",rcode=\"NXDOMAIN\"} 3",
            "keelson_dns_request_duration_seconds_bucket{source=\"own\",le=\"0.00005\"} 1",
            "keelson_dns_request_duration_seconds_bucket{source=\"own\",le=\"0.0001\"} 2",
            "keelson_dns_request_duration_seconds_bucket{source=\"own\",le=\"5\"} 2",
            "keelson_dns_request_duration_seconds_bucket{source=\"own\",le=\"+Inf\"} 3",
            "keelson_dns_request_duration_seconds_count{source=\"own\"} 3",
            "keelson_dns_request_duration_seconds_sum{source=\"own\"} 9.00007",
            "keelson_dns_forwards_total{server=\"192.0.2.1:53\",result=\"timeout\"} 1",
            "keelson_dns_forward_seconds_total{server=\"192.0.2.1:53\",result=\"timeout\"} 1.5",
            "keelson_dns_errors_total{reason=\"in_flight\"} 1",
            "keelson_dns_cache_lookups_total{result=\"hit\"} 1",
            "keelson_dns_services 3",
        ] {
            assert!(text.lines().any(|said| said == line), "{line} is missing in\n{text}");
        }
    }
}
