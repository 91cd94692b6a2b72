//! Services made: by kubectl for pods, and as fast as the API takes them.

use super::{RIGHT_MAX, TWO, all_right, on_ground, until};
use anyhow::{Context, Result, ensure};
use keelson_tests::{
    Namespace, api,
    figures::Report,
    fleet::{Fleet, Ground},
    manifest,
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// Services made by one kubectl.
const BY_KUBECTL: usize = 5_000;
/// Between two requests to one that is not reached yet.
const PAUSE: Duration = Duration::from_millis(1);
/// Until all of them, their slices and their pod are gone.
const GONE_MAX: Duration = Duration::from_secs(300);

/// All select one pod, so that their slices are the controller's.
pub(super) fn by_kubectl(report: &mut Report) -> Result<()> {
    let namespace = Namespace::create("kubectl")?;
    namespace.apply_all(&[manifest::deployment("web", 1, manifest::answering("web"))])?;
    namespace.ready_pods("app=web", 1)?;
    let services: Vec<Value> = (0..BY_KUBECTL).map(|n| manifest::service(&name(n), "web")).collect();
    let file = std::env::temp_dir().join(format!("{}.json", namespace.name));
    fs::write(&file, json!({"apiVersion": "v1", "kind": "List", "items": services}).to_string())?;
    let start = Instant::now();
    let made = namespace.kubectl(&["create", "-f", &file.display().to_string()]);
    let written = Instant::now();
    fs::remove_file(&file)?;
    made?;
    let last = namespace.cluster_ip(&name(BY_KUBECTL - 1))?;
    let last = SocketAddr::new(last.parse()?, 80);
    while let Err(error) = request(last) {
        ensure!(written.elapsed() < RIGHT_MAX, "the last Service, {last}, is not reached: {error:#}");
        std::thread::sleep(PAUSE);
    }
    let reached = written.elapsed();
    let listed = api::list(&namespace.path("services"))?;
    ensure!(listed.len() == BY_KUBECTL, "{} Services are there, not {BY_KUBECTL}", listed.len());
    for service in &listed {
        let address = service["spec"]["clusterIP"].as_str().and_then(|ip| ip.parse::<IpAddr>().ok());
        let address = SocketAddr::new(address.context("a Service without a ClusterIP")?, 80);
        request(address).with_context(|| format!("a Service made before the last, {address}"))?;
    }
    let took = written.duration_since(start);
    let note = format!("`kubectl create` took {:.1} s; each was reached at once then", took.as_secs_f64());
    report.add(
        format!("last of {BY_KUBECTL} Services reached after kubectl's last write"),
        reached.as_secs_f64(),
        "s",
        note,
    );
    namespace.delete_and_wait(GONE_MAX)
}

fn name(number: usize) -> String {
    format!("service-{number}")
}

fn request(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, RIGHT_MAX)?;
    stream.set_read_timeout(Some(RIGHT_MAX))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.ends_with("web\n"), "{answer:?} was answered");
    Ok(())
}

/// Until there are so many in the fleet.
pub(super) fn by_api(ground: &Ground, fleet: &mut Fleet, services: usize, report: &mut Report) -> Result<()> {
    let before = fleet.services();
    let start = Instant::now();
    fleet.grow(services, TWO)?;
    let written = Instant::now();
    let right = on_ground(ground, || {
        let right = until(fleet, services - 1, TWO)?;
        all_right(fleet, &[])?;
        Ok(right)
    })?;
    let rate = 2.0 * (services - before) as f64 / written.duration_since(start).as_secs_f64();
    let note = format!("{rate:.0} writes/s, a slice and a Service each");
    let lag = right.saturating_duration_since(written);
    report.add(
        format!("last of {services} Services right after the API's last write"),
        lag.as_secs_f64() * 1e3,
        "ms",
        note,
    );
    Ok(())
}
