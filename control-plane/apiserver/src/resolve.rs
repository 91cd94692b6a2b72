//! From a Service to one of its ready endpoints, over the registry's watch caches: the server is no pod, so that nothing
//! on its host need translate Service addresses.

use keelson_registry::{Entry, Kind, Registry, meta};
use keelson_webhook::{Resolve, ResolveError};
use rand::seq::IteratorRandom;
use serde_json::Value;
use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Weak},
};

const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Resolves for as long as the registry lives; held weakly, as the registry's admission holds webhooks' connections.
pub struct ServiceResolver(Weak<Registry>);

/// A port of a Service, as a request names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WantedPort<'a> {
    /// `spec.ports[].port`.
    Number(u16),
    /// `spec.ports[].name`.
    Name(&'a str),
}

impl ServiceResolver {
    /// Over this registry's caches.
    pub fn over(registry: &Arc<Registry>) -> Arc<dyn Resolve> {
        Arc::new(Self(Arc::downgrade(registry)))
    }
}

impl Resolve for ServiceResolver {
    fn resolve(&self, namespace: &str, name: &str, port: u16) -> Result<SocketAddr, ResolveError> {
        let registry = self.0.upgrade();
        let registry =
            registry.ok_or_else(|| ResolveError::Unknown("the server is shutting down".to_owned()))?;
        endpoint(&registry, namespace, name, WantedPort::Number(port))
    }
}

/// One ready endpoint behind the port, any of them.
pub(crate) fn endpoint(
    registry: &Registry,
    namespace: &str,
    name: &str,
    port: WantedPort<'_>,
) -> Result<SocketAddr, ResolveError> {
    let services = kind(registry, "", "services")?;
    let service = registry
        .cached(&services, Some(namespace), name)
        .ok_or_else(|| ResolveError::NotFound(name.to_owned()))?
        .to_value();
    let port_name = port_name(&service, name, port)?;
    let slices = kind(registry, "discovery.k8s.io", "endpointslices")?;
    let ready = registry
        .cached_all(&slices, Some(namespace))
        .into_iter()
        .filter(|slice| slice.head.label(SERVICE_NAME) == Some(name))
        .flat_map(|slice| ready(&slice, port_name));
    ready.choose(&mut rand::rng()).ok_or_else(|| ResolveError::NoEndpoints(name.to_owned()))
}

fn kind(registry: &Registry, group: &str, plural: &str) -> Result<Arc<Kind>, ResolveError> {
    let kind = registry.table().by_resource(group, "v1", plural).cloned();
    kind.ok_or_else(|| ResolveError::Unknown(format!("{plural} are not served")))
}

/// The name of the Service's port, which is that of its slices' ports; "" where ports go unnamed.
fn port_name<'a>(service: &'a Value, name: &str, wanted: WantedPort<'_>) -> Result<&'a str, ResolveError> {
    let kind = meta::text(service, &["spec", "type"]);
    if !matches!(kind, "" | "ClusterIP" | "NodePort" | "LoadBalancer") {
        return Err(ResolveError::Unsupported(kind.to_owned()));
    }
    let ports = meta::items(service, &["spec", "ports"]);
    let found = ports.iter().find(|own| match wanted {
        WantedPort::Number(number) => meta::number(own, &["port"]) == Some(i64::from(number)),
        WantedPort::Name(wanted) => meta::text(own, &["name"]) == wanted,
    });
    match (found, wanted) {
        (Some(port), _) => Ok(meta::text(port, &["name"])),
        (None, WantedPort::Number(port)) => Err(ResolveError::NoPort { service: name.to_owned(), port }),
        (None, WantedPort::Name(_)) => Err(ResolveError::NoEndpoints(name.to_owned())),
    }
}

/// The addresses of a slice that take connections, with the slice's own number of the port.
fn ready(slice: &Entry, port_name: &str) -> Vec<SocketAddr> {
    let slice = slice.to_value();
    let port = meta::items(&slice, &["ports"])
        .iter()
        .find(|port| meta::text(port, &["name"]) == port_name)
        .and_then(|port| u16::try_from(meta::number(port, &["port"])?).ok());
    let Some(port) = port else { return Vec::new() };
    let endpoints = meta::items(&slice, &["endpoints"]).iter();
    endpoints
        .filter(|endpoint| meta::at(endpoint, &["conditions", "ready"]) != Some(&Value::Bool(false)))
        .filter_map(|endpoint| {
            meta::items(endpoint, &["addresses"]).first()?.as_str()?.parse::<IpAddr>().ok()
        })
        .map(|address| SocketAddr::new(address, port))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Bed;

    async fn resolved(bed: &Bed, name: &str, port: WantedPort<'_>) -> Result<String, String> {
        endpoint(&bed.server.inner.registry, "default", name, port)
            .map(|address| address.to_string())
            .map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_service_is_met_at_a_ready_endpoint() {
        let bed = Bed::new().await;
        let post = async |path: &str, text: &str| {
            let got = bed.send("POST", path, &[], text).await;
            assert_eq!(got.code, 201, "{}", got.text());
        };
        let services = "/api/v1/namespaces/default/services";
        let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
        let ports = r#"[{"name":"a","port":80,"targetPort":"web"},{"name":"b","port":443}]"#;
        post(services, &format!(r#"{{"metadata":{{"name":"s"}},"spec":{{"ports":{ports}}}}}"#)).await;
        post(
            services,
            r#"{"metadata":{"name":"x"},"spec":{"type":"ExternalName","externalName":"a.example"}}"#,
        )
        .await;
        use WantedPort::{Name, Number};
        let none = Err(r#"no endpoints available for service "s""#.to_owned());
        assert_eq!(resolved(&bed, "s", Number(80)).await, none);
        post(
            slices,
            r#"{"metadata":{"name":"s-1","labels":{"kubernetes.io/service-name":"s"}},"addressType":"IPv4",
                "ports":[{"name":"a","port":8080}],
                "endpoints":[{"addresses":["192.0.2.1"],"conditions":{"ready":false}},
                             {"addresses":["192.0.2.2"],"conditions":{"ready":true}}]}"#,
        )
        .await;
        let rows = [
            ("s", Number(80), Ok("192.0.2.2:8080")),
            ("s", Name("a"), Ok("192.0.2.2:8080")),
            ("s", Number(443), Err(r#"no endpoints available for service "s""#)),
            ("s", Number(81), Err(r#"no service port 81 found for service "s""#)),
            ("x", Number(80), Err(r#"unsupported service type "ExternalName""#)),
            ("nobody", Number(80), Err(r#"service "nobody" not found"#)),
        ];
        for (name, port, wanted) in rows {
            let wanted = wanted.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(resolved(&bed, name, port).await, wanted, "{name} {port:?}");
        }
    }
}
