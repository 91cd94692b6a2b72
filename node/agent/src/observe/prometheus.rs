//! The Services' figures in Prometheus' text format.
//!
//! A label set is a Service port: namespace, service, port, protocol. Only the first [`SERVICES_MAX`] that were ever busy have
//! one of their own; all others are one, `service="other"` of no namespace. Backends have none: `kubectl keelson services -o wide`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use keelson_observer::{Figures, ServiceRow, ServicesReply, StatusReply};
use parking_lot::Mutex;

/// Service ports with a label set of their own.
const SERVICES_MAX: usize = 1_000;
/// Upper bounds of the histogram's buckets, as powers of two of nanoseconds: 16 us to 17 s. Each is where some bucket of the kernel's
/// histogram begins.
const BOUNDS_LOG2: std::ops::RangeInclusive<u32> = 14..=34;

/// A Service port.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
struct Labels {
    namespace: String,
    service: String,
    port: String,
    protocol: String,
}

impl Labels {
    fn of(row: &ServiceRow) -> Self {
        Self {
            namespace: row.namespace.clone(),
            service: row.service.clone(),
            // The number where the port has no name: a Service with one port need not name it.
            port: if row.port_name.is_empty() { row.port.to_string() } else { row.port_name.clone() },
            protocol: row.protocol.clone(),
        }
    }

    fn other() -> Self {
        Self { service: "other".to_owned(), ..Self::default() }
    }
}

/// What was told before, so that counters never go back: a connection that ends between our look at the totals and our look
/// at the open ones is in neither for once.
#[derive(Debug, Default)]
pub(crate) struct Exporter(Mutex<BTreeMap<Labels, Figures>>);

impl Exporter {
    /// Everything, as text.
    pub(crate) fn render(&self, services: &ServicesReply, status: &StatusReply) -> String {
        let mut out = String::new();
        self.render_services(services, &mut out);
        render_status(services, status, &mut out);
        out
    }

    fn render_services(&self, services: &ServicesReply, out: &mut String) {
        let mut told = self.0.lock();
        let rows = sums(services, &told);
        for (labels, now) in rows {
            let before = told.entry(labels).or_default();
            let open = now.open;
            keep_highest(before, now);
            before.open = open;
        }
        // Of Services that are gone only the label is kept out: their series end.
        let present: BTreeSet<Labels> = services.rows.iter().map(Labels::of).collect();
        told.retain(|labels, _| present.contains(labels) || *labels == Labels::other());
        for (name, kind, help, series) in FAMILIES {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for ((labels, figures), (extra, value)) in
                told.iter().flat_map(|one| series.iter().map(move |s| (one, s)))
            {
                let _ = writeln!(out, "{name}{{{}{extra}}} {}", text(labels), value(figures));
            }
        }
        render_histogram(&told, out);
    }
}

type Series = (&'static str, fn(&Figures) -> u64);

/// Name, type, help, and the series by what is added to the labels.
const FAMILIES: &[(&str, &str, &str, &[Series])] = &[
    (
        "keelson_service_open_connections",
        "gauge",
        "Connections to the Service that are established now",
        &[("", |f| f.open)],
    ),
    (
        "keelson_service_connections_total",
        "counter",
        "Connections to the Service that were established",
        &[("", Figures::established)],
    ),
    (
        "keelson_service_connect_failures_total",
        "counter",
        "connect() calls to the Service that were not established",
        &[(",reason=\"unanswered\"", |f| f.failed), (",reason=\"no_backend\"", |f| f.refused)],
    ),
    (
        "keelson_service_resets_total",
        "counter",
        "Connections that ended by a reset or a timeout",
        &[(",by=\"backend\"", |f| f.resets), (",by=\"client\"", |f| f.aborts)],
    ),
    (
        "keelson_service_bytes_total",
        "counter",
        "Bytes of ended connections",
        &[(",direction=\"sent\"", |f| f.sent_bytes), (",direction=\"received\"", |f| f.received_bytes)],
    ),
    (
        "keelson_service_retransmits_total",
        "counter",
        "Segments that clients sent again, of ended connections",
        &[("", |f| f.retransmits)],
    ),
    (
        "keelson_service_ended_connections_total",
        "counter",
        "Connections that have ended: what the next two are sums over",
        &[("", |f| f.ended)],
    ),
    (
        "keelson_service_srtt_microseconds_total",
        "counter",
        "Sum of the smoothed round trip times at the end of connections",
        &[("", |f| f.srtt_us)],
    ),
    (
        "keelson_service_lasted_milliseconds_total",
        "counter",
        "Sum of how long ended connections lasted",
        &[("", |f| f.lasted_ms)],
    ),
];

/// Sums by label set; those beyond the maximum under "other".
fn sums(services: &ServicesReply, told: &BTreeMap<Labels, Figures>) -> BTreeMap<Labels, Figures> {
    let mut named: BTreeSet<Labels> = told.keys().cloned().collect();
    let mut sums: BTreeMap<Labels, Figures> = BTreeMap::new();
    for row in &services.rows {
        let mut labels = Labels::of(row);
        if !named.contains(&labels) {
            if named.len() < SERVICES_MAX {
                named.insert(labels.clone());
            } else {
                labels = Labels::other();
            }
        }
        row.figures.iter().for_each(|figures| sums.entry(labels.clone()).or_default().add(figures));
    }
    let other = services.other.iter().filter(|other| other.established() + other.failed + other.refused > 0);
    other.for_each(|other| sums.entry(Labels::other()).or_default().add(other));
    sums
}

fn keep_highest(before: &mut Figures, now: Figures) {
    let highest = |before: &mut u64, now: u64| *before = now.max(*before);
    // So that open and ended together never go back, what is missing of the sum counts as ended.
    let established = before.established().max(now.established());
    before.ended = established - now.open.min(established);
    highest(&mut before.failed, now.failed);
    highest(&mut before.refused, now.refused);
    highest(&mut before.resets, now.resets);
    highest(&mut before.aborts, now.aborts);
    highest(&mut before.retransmits, now.retransmits);
    highest(&mut before.sent_bytes, now.sent_bytes);
    highest(&mut before.received_bytes, now.received_bytes);
    highest(&mut before.srtt_us, now.srtt_us);
    highest(&mut before.lasted_ms, now.lasted_ms);
    highest(&mut before.connect_ns, now.connect_ns);
    for bucket in now.connect {
        match before.connect.binary_search_by_key(&bucket.from_ns, |b| b.from_ns) {
            Ok(at) => highest(&mut before.connect[at].count, bucket.count),
            Err(at) => before.connect.insert(at, bucket),
        }
    }
}

fn render_histogram(told: &BTreeMap<Labels, Figures>, out: &mut String) {
    const NAME: &str = "keelson_service_connect_seconds";
    let _ = writeln!(out, "# HELP {NAME} How long connect() to the Service took\n# TYPE {NAME} histogram");
    for (labels, figures) in told {
        let labels = text(labels);
        for log2 in BOUNDS_LOG2 {
            let below = figures.connect.iter().filter(|b| b.to_ns > 0 && b.to_ns <= 1 << log2);
            let (count, bound): (u64, f64) = (below.map(|b| b.count).sum(), (1_u64 << log2) as f64 / 1e9);
            let _ = writeln!(out, "{NAME}_bucket{{{labels},le=\"{bound}\"}} {count}");
        }
        let all: u64 = figures.connect.iter().map(|b| b.count).sum();
        let sum = figures.connect_ns as f64 / 1e9;
        let _ = writeln!(out, "{NAME}_bucket{{{labels},le=\"+Inf\"}} {all}");
        let _ = writeln!(out, "{NAME}_sum{{{labels}}} {sum}\n{NAME}_count{{{labels}}} {all}");
    }
}

fn render_status(services: &ServicesReply, status: &StatusReply, out: &mut String) {
    let mut family = |name: &str, kind: &str, help: &str, series: &mut dyn Iterator<Item = (String, u64)>| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in series {
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    };
    let drops = status.drops.iter().map(|d| (format!("{{reason=\"{}\"}}", d.reason), d.count));
    family(
        "keelson_dataplane_drops_total",
        "counter",
        "What programs decided against clients or could not do for them",
        &mut { drops },
    );
    if let Some(wire) = &status.wire {
        let verdicts = wire.verdicts.iter().map(|v| (format!("{{verdict=\"{}\"}}", v.name), v.count));
        family(
            "keelson_dataplane_wire_packets_total",
            "counter",
            "Packets on the uplink to Services that XDP looks after, and answers to them, by what it did with them",
            &mut { verdicts },
        );
        let mode = [(format!("{{mode=\"{}\"}}", wire.mode), 1)];
        family(
            "keelson_dataplane_wire_info",
            "gauge",
            "How XDP is attached to the uplink",
            &mut mode.into_iter(),
        );
    }
    let maps = status.maps.iter().map(|m| (format!("{{map=\"{}\"}}", m.name), m.bytes));
    family("keelson_dataplane_map_bytes", "gauge", "Kernel memory of a table", &mut { maps });
    for (name, help, value) in [
        ("keelson_dataplane_frontends", "Service addresses in the kernel", status.frontends),
        ("keelson_dataplane_backends", "Backends in the kernel, over all frontends", status.backends),
        ("keelson_dataplane_ready", "Whether the tables follow the API", status.ready.into()),
        ("keelson_dataplane_totals_rows", "Rows in the table of totals", services.totals_rows),
    ] {
        family(name, "gauge", help, &mut [(String::new(), value)].into_iter());
    }
}

/// Namespaces, names and ports are DNS labels: nothing in them needs escaping.
fn text(labels: &Labels) -> String {
    let Labels { namespace, service, port, protocol } = labels;
    format!("namespace=\"{namespace}\",service=\"{service}\",port=\"{port}\",protocol=\"{protocol}\"")
}

#[cfg(test)]
mod tests {
    use keelson_observer::Bucket;

    use super::*;

    fn row(service: usize, ended: u64, buckets: &[(u64, u64, u64)]) -> ServiceRow {
        let connect =
            buckets.iter().map(|&(from_ns, to_ns, count)| Bucket { from_ns, to_ns, count }).collect();
        ServiceRow {
            namespace: "default".into(),
            service: format!("s{service}"),
            port: 80,
            protocol: "TCP".into(),
            figures: Some(Figures { ended, connect, ..Figures::default() }),
            ..ServiceRow::default()
        }
    }

    fn render(exporter: &Exporter, rows: Vec<ServiceRow>) -> String {
        exporter.render(&ServicesReply { rows, ..ServicesReply::default() }, &StatusReply::default())
    }

    #[test]
    fn backends_are_summed_and_the_histogram_is_cumulative() {
        let rows =
            vec![row(1, 3, &[(16_384, 20_480, 3)]), row(1, 2, &[(20_480, 24_576, 1), (1 << 34, 0, 1)])];
        let text = render(&Exporter::default(), rows);
        let labels = "namespace=\"default\",service=\"s1\",port=\"80\",protocol=\"TCP\"";
        for line in [
            format!("keelson_service_connections_total{{{labels}}} 5"),
            format!("keelson_service_connect_seconds_bucket{{{labels},le=\"0.000016384\"}} 0"),
            format!("keelson_service_connect_seconds_bucket{{{labels},le=\"0.000032768\"}} 4"),
            format!("keelson_service_connect_seconds_bucket{{{labels},le=\"17.179869184\"}} 4"),
            format!("keelson_service_connect_seconds_bucket{{{labels},le=\"+Inf\"}} 5"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn a_counter_never_goes_back() {
        let exporter = Exporter::default();
        assert!(
            render(&exporter, vec![row(1, 7, &[(16_384, 20_480, 7)])])
                .contains("_count{namespace=\"default\",service=\"s1\",port=\"80\",protocol=\"TCP\"} 7")
        );
        let text = render(&exporter, vec![row(1, 6, &[(16_384, 20_480, 6)])]);
        assert!(text.contains(
            "connections_total{namespace=\"default\",service=\"s1\",port=\"80\",protocol=\"TCP\"} 7"
        ));
        assert!(text.contains("_count{namespace=\"default\",service=\"s1\",port=\"80\",protocol=\"TCP\"} 7"));
    }

    #[test]
    fn services_beyond_the_maximum_are_one() {
        let rows = (0..SERVICES_MAX + 5).map(|n| row(n, 1, &[])).collect();
        let text = render(&Exporter::default(), rows);
        let series = text.lines().filter(|line| line.starts_with("keelson_service_connections_total{"));
        assert_eq!(series.count(), SERVICES_MAX + 1);
        assert!(text.contains(
            "keelson_service_connections_total{namespace=\"\",service=\"other\",port=\"\",protocol=\"\"} 5"
        ));
    }
}
