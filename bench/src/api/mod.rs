//! What the API server does a second, how long it takes and what it keeps in memory: one process on this machine, measured
//! over TLS from outside, with each store.
//!
//! The server is `keelson serve --components apiserver` as anybody runs it: client certificates, RBAC, admission. Client and server
//! share the machine's cores, so that a request's cost on the server is told beside the rates: its CPU time, from /proc.

mod http;
mod load;
mod objects;
mod server;
mod watchers;

use crate::percentile;
use anyhow::{Context, Result};
use clap::ValueEnum;
use http::{Connection, Endpoint};
use keelson_tests::figures::Report;
use load::Outcome;
use objects::{NAMESPACE, Objects};
use server::Server;
use std::time::Instant;

/// Connections that write and read at once.
const CONNECTIONS: usize = 64;
/// Gets and status patches that are measured.
const GETS: usize = 40_000;
const PATCHES: usize = 20_000;
/// Lists that are measured, one after another.
const LISTS: usize = 10;
const SELECTED_LISTS: usize = 50;

/// Where the server keeps its objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Store {
    /// In its data folder.
    Embedded,
    /// An etcd of one member beside it.
    Etcd,
}

impl Store {
    fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Etcd => "etcd",
        }
    }
}

/// Measures with each of the stores and `pods` pods.
pub(crate) async fn measure(stores: &[Store], pods: usize, report: &mut Report) -> Result<()> {
    for store in stores {
        let server = Server::start(*store).await?;
        let run = Run { store: store.name(), pods, server: &server, endpoint: server.endpoint().await? };
        let measured = run.all(report).await;
        measured.with_context(|| format!("over {}; the server said: {}", run.store, server.log_end()))?;
    }
    Ok(())
}

struct Run<'a> {
    store: &'static str,
    pods: usize,
    server: &'a Server,
    endpoint: Endpoint,
}

impl Run<'_> {
    async fn all(&self, report: &mut Report) -> Result<()> {
        let mib = |kib: u64| kib as f64 / 1024.0;
        let objects = Objects::new();
        self.add(report, "memory, empty", mib(self.server.resident_kib()?), "MiB", "resident");
        let mut connections = self.endpoint.connect_all(CONNECTIONS).await?;
        let before = self.server.cpu_s()?;
        let create = |index: usize| http::request("POST", &objects::collection(""), &objects.pod(index));
        let outcome = load::run(&mut connections, self.pods, 201, create).await?;
        self.rate(report, "create", &outcome, before)?;
        self.add(report, "create p99", outcome.p99_ms(), "ms", "");
        let kib = self.server.resident_kib()?;
        self.add(report, "memory, created", mib(kib), "MiB", format!("resident, {} pods", self.pods));

        let before = self.server.cpu_s()?;
        let get =
            |index: usize| http::request("GET", &objects::item(objects::scattered(index, self.pods), ""), "");
        let outcome = load::run(&mut connections, GETS, 200, get).await?;
        self.rate(report, "get", &outcome, before)?;
        self.lists(&mut connections[0], report).await?;
        watchers::measure(&self.endpoint, self.pods, |name, value, note| {
            self.add(report, name, value, "ms", note);
        })
        .await?;

        let before = self.server.cpu_s()?;
        let patch = |index: usize| {
            let path = objects::item(objects::scattered(index, self.pods), "/status");
            http::patch(&path, "application/strategic-merge-patch+json", &objects.status(index))
        };
        let outcome = load::run(&mut connections, PATCHES, 200, patch).await?;
        self.rate(report, "status patch", &outcome, before)?;
        let kib = self.server.resident_peak_kib()?;
        self.add(report, "memory, peak", mib(kib), "MiB", format!("resident, {} pods", self.pods));

        let before = self.server.cpu_s()?;
        let delete = |index: usize| http::request("DELETE", &objects::item(index, ""), "");
        let outcome = load::run(&mut connections, self.pods, 200, delete).await?;
        self.rate(report, "delete", &outcome, before)?;
        let note = "resident, all pods deleted";
        self.add(report, "memory, deleted", mib(self.server.resident_kib()?), "MiB", note);
        Ok(())
    }

    async fn lists(&self, connection: &mut Connection, report: &mut Report) -> Result<()> {
        let rows = [
            ("list all", "", LISTS),
            ("list by label", "?labelSelector=group%3Dgroup-07", SELECTED_LISTS),
            ("list by field", "?fieldSelector=spec.nodeName%3Dnobody", SELECTED_LISTS),
        ];
        for (name, query, times) in rows {
            let request = http::request("GET", &objects::collection(query), "");
            let (mut samples, mut bytes) = (Vec::with_capacity(times), 0);
            let before = self.server.cpu_s()?;
            for _ in 0..times {
                let start = Instant::now();
                bytes = connection.ask(&request, 200).await?;
                samples.push(start.elapsed().as_secs_f64() * 1e3);
            }
            let cpu_ms = (self.server.cpu_s()? - before) * 1e3 / times as f64;
            let note = format!("median of {times}, {bytes} bytes, {cpu_ms:.1} ms of the server's CPU");
            self.add(report, name, percentile(&mut samples, 0.5), "ms", note);
        }
        Ok(())
    }

    /// A rate is reported as the time that a request takes of it, so that less is better.
    fn rate(&self, report: &mut Report, name: &str, outcome: &Outcome, cpu_before: f64) -> Result<()> {
        let cpu_us = (self.server.cpu_s()? - cpu_before) * 1e6 / outcome.requests as f64;
        let note = format!(
            "{:.0}/s, p50 {:.1} ms, p99 {:.1} ms, {cpu_us:.0} us of the server's CPU",
            outcome.per_second(),
            outcome.p50_ms(),
            outcome.p99_ms()
        );
        self.add(report, name, 1e6 / outcome.per_second(), "us", note);
        Ok(())
    }

    fn add(&self, report: &mut Report, name: &str, value: f64, unit: &'static str, note: impl Into<String>) {
        report.add(format!("api {}: {name}", self.store), value, unit, note);
    }
}
