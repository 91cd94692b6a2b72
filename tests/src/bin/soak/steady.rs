//! The Service that nobody touches, and those who connect to it all the time.

use anyhow::{Context, Result, ensure};
use keelson_tests::{
    Cluster, Namespace,
    count::Count,
    load::{NodeLoad, PodLoad},
    manifest,
};
use serde_json::Value;
use std::collections::BTreeMap;

const REPLICAS: usize = 3;
const SERVICE: &str = "web";

/// Deployment and Service, ready.
pub(crate) fn deploy(namespace: &Namespace) -> Result<()> {
    namespace.apply_all(&[
        manifest::deployment(SERVICE, REPLICAS as u32, manifest::answering("$HOSTNAME")),
        manifest::service(SERVICE, SERVICE),
    ])?;
    namespace.ready_pods("app=web", REPLICAS)?;
    namespace.endpoints(SERVICE, REPLICAS).map(drop)
}

/// Its pods by uid, with their containers' identity: the same before and after, if nobody restarted anything.
pub(crate) fn containers(namespace: &Namespace) -> Result<BTreeMap<String, Value>> {
    let pods = namespace.ready_pods("app=web", REPLICAS)?;
    let identity = |pod: &Value| pod["status"]["containerStatuses"][0]["containerID"].clone();
    Ok(pods
        .iter()
        .map(|pod| (pod["metadata"]["uid"].as_str().unwrap_or_default().to_string(), identity(pod)))
        .collect())
}

/// New connections to the Service, one after another: from two nodes and from a pod.
pub(crate) struct Load<'a> {
    by_address: NodeLoad,
    by_name: NodeLoad,
    pod: PodLoad<'a>,
}

/// What it came to.
pub(crate) struct Requests {
    pub(crate) answered: u64,
    /// From a node whose DNS may have been killed: only the scenario knows what these may be.
    pub(crate) by_name: Count,
}

/// The Service by its name.
pub(crate) fn by_name(namespace: &Namespace) -> String {
    format!("{}:80", namespace.dns_name(SERVICE))
}

/// The node that asks by name.
pub(crate) const BY_NAME: &str = "n2";

impl<'a> Load<'a> {
    /// Starts it and waits until each was answered once.
    pub(crate) fn start(cluster: &Cluster, namespace: &'a Namespace) -> Result<Load<'a>> {
        let address = namespace.cluster_ip(SERVICE)?;
        Ok(Load {
            by_address: NodeLoad::start(cluster, "n1", &format!("{address}:80"))?,
            by_name: NodeLoad::start(cluster, BY_NAME, &by_name(namespace))?,
            pod: PodLoad::start(namespace, "load", &format!("http://{address}/"), Some("n3"))?,
        })
    }

    /// Ends it; an error if a request by address failed, wherever it came from.
    pub(crate) fn stop(self) -> Result<Requests> {
        let (by_address, by_name, pod) = (self.by_address.stop()?, self.by_name.stop()?, self.pod.stop()?);
        by_address.all_answered(1).context("by address, from a node")?;
        pod.all_answered(1).context("by address, from a pod")?;
        ensure!(by_name.answered() > 0, "by name: no request was answered");
        Ok(Requests { answered: by_address.answered() + by_name.answered() + pod.answered(), by_name })
    }
}
