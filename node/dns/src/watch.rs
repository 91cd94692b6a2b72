//! Keeps the index true to the API: one watch of Services, one of EndpointSlices. What is decoded is read and dropped.

use crate::index::{Endpoint, EndpointSet, Index, Port, Service, ServiceKey};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::{
    core::v1::Service as ApiService,
    discovery::v1::{Endpoint as ApiEndpoint, EndpointSlice},
};
use kube::{
    Api, Client, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use parking_lot::RwLock;
use std::{collections::BTreeSet, sync::Arc};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Which Service a slice belongs to.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Follows Services until `shutdown`; `synced` turns true with the first whole list.
pub(crate) async fn services(
    client: Client,
    index: Arc<RwLock<Index>>,
    synced: watch::Sender<bool>,
    shutdown: CancellationToken,
) {
    let stream = watcher(Api::<ApiService>::all(client), watcher::Config::default()).default_backoff();
    let mut events = stream.take_until(shutdown.cancelled_owned()).boxed();
    let mut listing = BTreeSet::new();
    loop {
        match events.try_next().await {
            Ok(None) => return,
            Err(error) => tracing::warn!(%error, "watching Services; answers stay as they are"),
            Ok(Some(Event::Init)) => listing.clear(),
            Ok(Some(Event::InitApply(object))) => {
                listing.insert(key(&object));
                put_service(&index, &object);
            }
            Ok(Some(Event::InitDone)) => {
                index.write().retain_services(&listing);
                synced.send_replace(true);
            }
            Ok(Some(Event::Apply(object))) => put_service(&index, &object),
            Ok(Some(Event::Delete(object))) => index.write().remove_service(&key(&object)),
        }
    }
}

fn key(object: &ApiService) -> ServiceKey {
    ServiceKey { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}

fn put_service(index: &RwLock<Index>, object: &ApiService) {
    let mut index = index.write();
    match service(object) {
        Some(service) => index.put_service(key(object), service),
        None => index.remove_service(&key(object)),
    }
}

/// None for a Service that has no address of a family that we answer for yet.
fn service(object: &ApiService) -> Option<Service> {
    let spec = object.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return spec.external_name.clone().map(Service::ExternalName);
    }
    if spec.cluster_ip.as_deref() == Some("None") {
        return Some(Service::Headless);
    }
    let addresses = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    let address = addresses.filter_map(|address| address.parse().ok()).next()?;
    let port = |p: &k8s_openapi::api::core::v1::ServicePort| {
        port(p.name.as_deref(), p.protocol.as_deref(), Some(p.port))
    };
    Some(Service::ClusterIp { address, ports: spec.ports.iter().flatten().filter_map(port).collect() })
}

fn port(name: Option<&str>, protocol: Option<&str>, port: Option<i32>) -> Option<Port> {
    Some(Port {
        name: name.unwrap_or_default().into(),
        protocol: protocol.unwrap_or("TCP").to_lowercase(),
        port: u16::try_from(port?).ok()?,
    })
}

/// Follows EndpointSlices until `shutdown`; `synced` turns true with the first whole list.
pub(crate) async fn slices(
    client: Client,
    index: Arc<RwLock<Index>>,
    synced: watch::Sender<bool>,
    shutdown: CancellationToken,
) {
    let stream = watcher(Api::<EndpointSlice>::all(client), watcher::Config::default()).default_backoff();
    let mut events = stream.take_until(shutdown.cancelled_owned()).boxed();
    let mut listing = BTreeSet::new();
    loop {
        match events.try_next().await {
            Ok(None) => return,
            Err(error) => tracing::warn!(%error, "watching EndpointSlices; answers stay as they are"),
            Ok(Some(Event::Init)) => listing.clear(),
            Ok(Some(Event::InitApply(slice))) => {
                listing.extend(owner(&slice).map(|key| (key, slice.name_any())));
                put_slice(&index, &slice);
            }
            Ok(Some(Event::InitDone)) => {
                index.write().retain_slices(&listing);
                synced.send_replace(true);
            }
            Ok(Some(Event::Apply(slice))) => put_slice(&index, &slice),
            Ok(Some(Event::Delete(slice))) => {
                if let Some(key) = owner(&slice) {
                    index.write().remove_slice(&key, &slice.name_any());
                }
            }
        }
    }
}

fn owner(slice: &EndpointSlice) -> Option<ServiceKey> {
    let name = slice.labels().get(SERVICE_NAME_LABEL)?.clone();
    Some(ServiceKey { namespace: slice.namespace().unwrap_or_default(), name })
}

fn put_slice(index: &RwLock<Index>, slice: &EndpointSlice) {
    if let Some(key) = owner(slice).filter(|_| slice.address_type == "IPv4") {
        let endpoints =
            slice.endpoints.iter().flatten().filter(|e| is_ready(e)).flat_map(addresses).collect();
        let ports = slice.ports.iter().flatten();
        let ports = ports.filter_map(|p| port(p.name.as_deref(), p.protocol.as_deref(), p.port)).collect();
        index.write().put_slice(key, &slice.name_any(), EndpointSet { endpoints, ports });
    }
}

/// Absent means ready (API reference, EndpointConditions).
fn is_ready(endpoint: &ApiEndpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
}

fn addresses(endpoint: &ApiEndpoint) -> impl Iterator<Item = Endpoint> + '_ {
    let hostname = || endpoint.hostname.clone();
    let parsed = endpoint.addresses.iter().filter_map(|address| address.parse().ok());
    parsed.map(move |address| Endpoint { address, hostname: hostname() })
}
