//! Service default/kubernetes and the endpoint behind it: this API server. Looked at again at upstream's interval.
//!
//! The slice names this server alone. Several servers behind one etcd need a list that they agree on, which is not built
//! yet: the last to look wins, and its address is a right one as long as that server lives.

use super::api::Api;
use serde_json::{Value, json};
use std::{net::IpAddr, time::Duration};
use tokio_util::sync::CancellationToken;

/// How often the objects are looked at again, as upstream's reconciler.
const INTERVAL: Duration = Duration::from_secs(10);
const NAME: &str = "kubernetes";

/// Where clients in the cluster reach the API.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endpoint {
    /// The first address of the Service range.
    pub(crate) service_address: IpAddr,
    /// An address of this server.
    pub(crate) address: IpAddr,
    /// Its port.
    pub(crate) port: u16,
}

/// Keeps Service and slice right until `shutdown`; `kept` is told each time that they are.
pub(crate) async fn keep(
    client: kube::Client,
    endpoint: Endpoint,
    shutdown: CancellationToken,
    kept: impl Fn(),
) {
    let api = Api::new(client);
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = interval.tick() => {}
        }
        match look(&api, endpoint).await {
            Ok(()) => kept(),
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the Service of the API server could not be kept"
                );
            }
        }
    }
}

async fn look(api: &Api, endpoint: Endpoint) -> anyhow::Result<()> {
    api.ensure(&service(endpoint)).await?;
    for wanted in [slice(endpoint), endpoints(endpoint)] {
        match api.get(&wanted).await? {
            None => api.create(&wanted).await?,
            Some(existing) => {
                if let Some(mended) = mend(&existing, &wanted) {
                    api.update(&mended).await?;
                }
            }
        }
    }
    Ok(())
}

/// The existing object with what matters set right; None when it is right.
fn mend(existing: &Value, wanted: &Value) -> Option<Value> {
    let mut mended = existing.clone();
    for key in ["addressType", "endpoints", "ports", "subsets"] {
        if let Some(value) = wanted.get(key) {
            mended[key] = value.clone();
        }
    }
    for (key, value) in wanted["metadata"]["labels"].as_object().into_iter().flatten() {
        mended["metadata"]["labels"][key] = value.clone();
    }
    (mended != *existing).then_some(mended)
}

fn service(endpoint: Endpoint) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": NAME,
            "namespace": "default",
            "labels": { "component": "apiserver", "provider": "kubernetes" },
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": endpoint.service_address.to_string(),
            "sessionAffinity": "None",
            "ports": [{ "name": "https", "protocol": "TCP", "port": 443, "targetPort": endpoint.port }],
        },
    })
}

fn slice(endpoint: Endpoint) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": NAME,
            "namespace": "default",
            "labels": { "kubernetes.io/service-name": NAME },
        },
        "addressType": if endpoint.address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{ "addresses": [endpoint.address.to_string()], "conditions": { "ready": true } }],
        "ports": [{ "name": "https", "protocol": "TCP", "port": endpoint.port }],
    })
}

/// The older form, which clients of the core API still read.
fn endpoints(endpoint: Endpoint) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": NAME,
            "namespace": "default",
            "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" },
        },
        "subsets": [{
            "addresses": [{ "ip": endpoint.address.to_string() }],
            "ports": [{ "name": "https", "port": endpoint.port, "protocol": "TCP" }],
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINT: Endpoint = Endpoint {
        service_address: IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 1)),
        address: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 5)),
        port: 6443,
    };

    #[test]
    fn a_foreign_address_is_mended_and_the_rest_left_alone() {
        let mut existing = slice(ENDPOINT);
        existing["metadata"]["annotations"] = json!({ "a": "b" });
        assert_eq!(mend(&existing, &slice(ENDPOINT)), None);
        existing["endpoints"][0]["addresses"] = json!(["10.0.0.9"]);
        let mended = mend(&existing, &slice(ENDPOINT)).unwrap();
        assert_eq!(mended["endpoints"][0]["addresses"][0], "10.0.0.5");
        assert_eq!(mended["metadata"]["annotations"]["a"], "b");
    }
}
