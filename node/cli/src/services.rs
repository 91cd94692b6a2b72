//! `services`: each Service port's figures over all nodes, or each backend's.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use clap::{Args, ValueEnum};
use keelson_observer::{Figures, ServiceRow, ServicesReply};
use serde::Serialize;

use crate::{
    nodes::Cluster,
    table::{Table, terminal_width},
    units::{bytes, time_or_none},
};

/// How often `-w` looks again.
const LOOK: Duration = Duration::from_secs(2);

/// What to show.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  kubectl keelson services                  of the context's namespace\n  kubectl keelson services -A -o wide       all namespaces, a row a backend\n  kubectl keelson services web -w           one Service, again every two seconds\n  kubectl keelson services -o json | jq '.[] | select(.connect_p99_ns > 1000000)'\n\nLatency is that of connect(), as the client's kernel measured it. SRTT, BYTES and RETRANS are of\nconnections that have ended; FAILED never were established or found no backend; RESETS came from the backend."
)]
pub(crate) struct Options {
    /// Only this Service
    service: Option<String>,
    /// All namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Output: table, wide (a row a backend) or json (with backends)
    #[arg(short, long, value_enum, default_value = "table")]
    output: Form,
    /// Show again every two seconds
    #[arg(short, long, conflicts_with = "output")]
    watch: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Table,
    Wide,
    Json,
}

/// A Service port, and in wide rows a backend.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize)]
struct Name {
    namespace: String,
    service: String,
    port: u32,
    port_name: String,
    protocol: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<String>,
}

/// A row as JSON: sums, and the figures read off them.
#[derive(Serialize)]
struct Record<'a> {
    #[serde(flatten)]
    name: &'a Name,
    connections: u64,
    connect_p50_ns: Option<u64>,
    connect_p99_ns: Option<u64>,
    srtt_mean_us: Option<u64>,
    #[serde(flatten)]
    figures: &'a Figures,
}

pub(crate) async fn run(cluster: &Cluster, options: &Options) -> Result<()> {
    loop {
        let replies: Vec<ServicesReply> = cluster.ask_all("services").await?;
        let by_backend = options.output != Form::Table;
        let wanted = |row: &ServiceRow| {
            (options.all_namespaces || row.namespace == cluster.namespace)
                && options.service.as_ref().is_none_or(|service| *service == row.service)
        };
        let sums = sums(replies.iter().flat_map(|reply| &reply.rows).filter(|row| wanted(row)), by_backend);
        if options.output == Form::Json {
            println!("{}", serde_json::to_string_pretty(&records(&sums))?);
            return Ok(());
        }
        let table = table(&sums, by_backend);
        if options.watch {
            // Clears the screen and goes to its first line (ECMA-48 ED and CUP).
            print!("\x1b[2J\x1b[H");
        }
        if table.is_empty() {
            println!("No Service was connected to yet. Namespaces other than {}: -A", cluster.namespace);
        } else {
            print!("{}", table.render(terminal_width()));
        }
        if !options.watch {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// One sum a Service port, or a backend of it, over all nodes.
fn sums<'a>(rows: impl Iterator<Item = &'a ServiceRow>, by_backend: bool) -> BTreeMap<Name, Figures> {
    let mut sums: BTreeMap<Name, Figures> = BTreeMap::new();
    for row in rows {
        let name = Name {
            namespace: row.namespace.clone(),
            service: row.service.clone(),
            port: row.port,
            port_name: row.port_name.clone(),
            protocol: row.protocol.clone(),
            backend: by_backend.then(|| row.backend.clone()),
        };
        row.figures.iter().for_each(|figures| sums.entry(name.clone()).or_default().add(figures));
    }
    // A daemon's own row of a Service has nothing in it until a backend goes.
    sums.retain(|_, f| f.established() + f.failed + f.refused > 0);
    sums
}

fn records(sums: &BTreeMap<Name, Figures>) -> Vec<Record<'_>> {
    let record = |(name, figures)| {
        let figures: &Figures = figures;
        Record {
            name,
            connections: figures.established(),
            connect_p50_ns: figures.connect_percentile_ns(50),
            connect_p99_ns: figures.connect_percentile_ns(99),
            srtt_mean_us: figures.srtt_mean_us(),
            figures,
        }
    };
    sums.iter().map(record).collect()
}

fn table(sums: &BTreeMap<Name, Figures>, by_backend: bool) -> Table {
    let mut heading = vec!["NAMESPACE", "SERVICE", "PORT"];
    heading.extend(by_backend.then_some("BACKEND"));
    heading
        .extend(["OPEN", "CONNS", "P50", "P99", "SRTT", "SENT", "RECEIVED", "RETRANS", "RESETS", "FAILED"]);
    let mut table = Table::new(&heading);
    for (name, f) in sums {
        let port = if name.port_name.is_empty() { name.port.to_string() } else { name.port_name.clone() };
        let mut row = vec![name.namespace.clone(), name.service.clone(), port];
        row.extend(name.backend.as_ref().map(|backend| match backend.as_str() {
            "" => "(none, or gone)".to_owned(),
            backend => backend.to_owned(),
        }));
        row.extend([
            f.open.to_string(),
            f.established().to_string(),
            time_or_none(f.connect_percentile_ns(50)),
            time_or_none(f.connect_percentile_ns(99)),
            time_or_none(f.srtt_mean_us().map(|us| us * 1_000)),
            bytes(f.sent_bytes),
            bytes(f.received_bytes),
            f.retransmits.to_string(),
            f.resets.to_string(),
            (f.failed + f.refused).to_string(),
        ]);
        table.push(row);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(service: &str, backend: &str, ended: u64) -> ServiceRow {
        ServiceRow {
            namespace: "default".into(),
            service: service.into(),
            port: 80,
            backend: backend.into(),
            figures: Some(Figures { ended, ..Figures::default() }),
            ..ServiceRow::default()
        }
    }

    #[test]
    fn backends_of_all_nodes_are_summed_unless_wide() {
        let rows = [
            row("a", "10.0.0.1:80", 2),
            row("a", "10.0.0.2:80", 3),
            row("a", "10.0.0.1:80", 4),
            row("b", "", 0),
        ];
        let ended = |by_backend| sums(rows.iter(), by_backend).values().map(|f| f.ended).collect::<Vec<_>>();
        assert_eq!(ended(false), [9]);
        assert_eq!(ended(true), [6, 3]);
        let sums = sums(rows.iter(), true);
        assert!(table(&sums, true).render(None).contains("10.0.0.2:80"));
        assert_eq!(serde_json::to_value(records(&sums)).unwrap()[1]["connections"], 3);
    }
}
