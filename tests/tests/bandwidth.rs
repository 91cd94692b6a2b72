//! `kubernetes.io/ingress-bandwidth` and `egress-bandwidth`: the rates that pods get are those that were asked for.

use anyhow::{Context, Result, ensure};
use keelson_tests::{Cluster, Namespace, PATIENCE, eventually, manifest};
use serde_json::{Value, json};

/// What is asked for, in bits a second, and its text.
const RATE: f64 = 25e6;
const RATE_TEXT: &str = "25M";
/// What is sent: 3.4 s at that rate, far more than the bucket holds.
const BLOB_BYTES: u64 = 10 << 20;

/// A pod that serves the blob, and has a shell.
fn server(name: &str, node: &str) -> Value {
    let mut pod = manifest::on_node(manifest::shell(name), node);
    let start =
        format!("head -c {BLOB_BYTES} /dev/zero > /usr/share/nginx/html/blob; exec nginx -g 'daemon off;'");
    let mut nginx = manifest::answering(name);
    nginx["command"] = json!(["sh", "-c", start]);
    pod["spec"]["containers"].as_array_mut().expect("a list").push(nginx);
    pod
}

/// Bytes on the wire for each byte of the blob: a full segment's headers (Ethernet, IPv4, TCP with times) beside its payload.
const WIRE: f64 = 1514.0 / 1448.0;

/// How fast a pod gets the blob of another, in bits a second as its link counts them.
fn rate(namespace: &Namespace, client: &str, server: &str) -> Result<f64> {
    let server = namespace.get(&format!("pods/{server}"))?;
    let address = server["status"]["podIP"].as_str().context("a running pod has an address")?;
    // By the pod's own clock: how long kubectl takes is no matter.
    let script = format!("{{ time timeout 60 wget -q -O - http://{address}/blob | wc -c; }} 2>&1");
    let said = namespace.kubectl(&["exec", client, "-c", "main", "--", "sh", "-c", &script])?;
    ensure!(said.lines().any(|line| line == BLOB_BYTES.to_string()), "not the whole blob came: {said}");
    Ok(BLOB_BYTES as f64 * WIRE * 8.0 / seconds(&said).with_context(|| said.clone())?)
}

/// busybox's `real\t0m 3.41s`.
fn seconds(said: &str) -> Option<f64> {
    let real = said.lines().find_map(|line| line.strip_prefix("real"))?;
    let (minutes, seconds) = real.trim().strip_suffix('s')?.split_once('m')?;
    Some(minutes.trim().parse::<f64>().ok()? * 60.0 + seconds.trim().parse::<f64>().ok()?)
}

#[test]
fn a_pod_sends_and_gets_as_fast_as_its_annotations_say() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("bandwidth")?);
    let nodes = cluster.nodes();
    let mut slow = server("slow", &nodes[0]);
    slow["metadata"]["annotations"] = json!({
        "kubernetes.io/ingress-bandwidth": RATE_TEXT, "kubernetes.io/egress-bandwidth": RATE_TEXT,
    });
    namespace.apply_all(&[slow, server("near", &nodes[0]), server("far", &nodes[1])])?;
    for pod in ["slow", "near", "far"] {
        namespace.ready(pod)?;
    }
    for (client, server) in [("slow", "near"), ("slow", "far"), ("near", "slow"), ("far", "slow")] {
        let found = rate(&namespace, client, server)?;
        println!("{client} gets from {server}: {:.1} Mbit/s", found / 1e6);
        ensure!((found / RATE - 1.0).abs() < 0.15, "{client} gets from {server}: {:.1} Mbit/s", found / 1e6);
    }
    // The others are as fast as ever.
    let free = rate(&namespace, "near", "far")?;
    ensure!(free > 4.0 * RATE, "near gets from far: {:.1} Mbit/s", free / 1e6);
    Ok(())
}

#[test]
fn a_bandwidth_that_is_none_is_refused_with_an_event() -> Result<()> {
    let namespace = Namespace::create("bandwidth")?;
    let mut pod = manifest::shell("odd");
    pod["metadata"]["annotations"] = json!({"kubernetes.io/ingress-bandwidth": "10"});
    namespace.apply_all(&[pod])?;
    eventually(PATIENCE, "an event says why", || {
        let events = namespace.list("events", "")?;
        let told = |event: &&Value| {
            event["reason"] == "FailedCreatePodSandBox"
                && event["message"].as_str().is_some_and(|text| text.contains("bandwidth"))
        };
        events.iter().find(told).map(drop).with_context(|| format!("events: {events:?}"))
    })?;
    // And it can go.
    namespace.kubectl("delete pod odd --timeout=20s").map(drop)
}
