//! Services as environment variables (`enableServiceLinks`): a small projection of every Service, kept
//! by one watch. Variable names: Kubernetes documentation, "Connecting applications with Services".

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Service;
use kube::runtime::watcher;
use kube::{Api, Client};
use parking_lot::RwLock;
use tokio::sync::watch;

/// What a variable needs of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Link {
    ip: Box<str>,
    ports: Box<[Port]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Port {
    name: Option<Box<str>>,
    number: i32,
    protocol: &'static str,
}

/// Services by namespace and name. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Services {
    links: Arc<RwLock<Links>>,
    synced: watch::Receiver<bool>,
}

impl Services {
    /// Begins to watch; the task lives as long as the process.
    pub(crate) fn start(client: Client) -> Self {
        let (done, synced) = watch::channel(false);
        let services = Self { links: Arc::default(), synced };
        tokio::spawn(services.clone().follow(client, done));
        services
    }

    /// Waits until the Services that existed at the start are known.
    pub(crate) async fn wait_synced(&self) {
        // The sender lives as long as the watch, which never ends.
        let _ = self.synced.clone().wait_for(|synced| *synced).await;
    }

    async fn follow(self, client: Client, done: watch::Sender<bool>) {
        let api: Api<Service> = Api::all(client);
        let mut events = keelson_watch::watch(api, watcher::Config::default());
        let mut fresh = BTreeMap::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => fresh = BTreeMap::new(),
                Ok(watcher::Event::InitApply(service)) => apply(&mut fresh, &service),
                Ok(watcher::Event::InitDone) => {
                    *self.links.write() = std::mem::take(&mut fresh);
                    done.send_replace(true);
                }
                Ok(watcher::Event::Apply(service)) => apply(&mut self.links.write(), &service),
                Ok(watcher::Event::Delete(service)) => remove(&mut self.links.write(), &service),
                Err(error) => tracing::warn!(%error, "the watch of Services broke; it is made again"),
            }
        }
    }

    /// Variables for a pod of `namespace`: its Services if `links`, and the API server's in any case.
    pub(crate) fn environment(&self, namespace: &str, links: bool) -> Vec<(String, String)> {
        let all = self.links.read();
        let mut chosen: BTreeMap<&str, &Link> = BTreeMap::new();
        if let Some(link) = all.get("default").and_then(|services| services.get("kubernetes")) {
            chosen.insert("kubernetes", link);
        }
        if links {
            let own = all.get(namespace).into_iter().flatten();
            chosen.extend(own.map(|(name, link)| (name.as_ref(), link)));
        }
        chosen.into_iter().flat_map(|(name, link)| variables(name, link)).collect()
    }
}

type Links = BTreeMap<Box<str>, BTreeMap<Box<str>, Link>>;

fn key(service: &Service) -> (Box<str>, Box<str>) {
    let text = |text: &Option<String>| text.clone().unwrap_or_default().into_boxed_str();
    (text(&service.metadata.namespace), text(&service.metadata.name))
}

fn apply(links: &mut Links, service: &Service) {
    match link(service) {
        Some(link) => {
            let (namespace, name) = key(service);
            links.entry(namespace).or_default().insert(name, link);
        }
        None => remove(links, service),
    }
}

fn remove(links: &mut Links, service: &Service) {
    let (namespace, name) = key(service);
    if let Some(services) = links.get_mut(&namespace) {
        services.remove(&name);
        if services.is_empty() {
            links.remove(&namespace);
        }
    }
}

/// `None`: headless or without address, which has no variables.
fn link(service: &Service) -> Option<Link> {
    let spec = service.spec.as_ref()?;
    let ip = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None")?;
    let ports = spec.ports.iter().flatten().map(|port| Port {
        name: port.name.as_deref().filter(|name| !name.is_empty()).map(Into::into),
        number: port.port,
        protocol: match port.protocol.as_deref() {
            Some("UDP") => "UDP",
            Some("SCTP") => "SCTP",
            _ => "TCP",
        },
    });
    Some(Link { ip: ip.into(), ports: ports.collect() })
}

fn variables(service: &str, link: &Link) -> Vec<(String, String)> {
    let upper = |text: &str| text.to_uppercase().replace('-', "_");
    let prefix = upper(service);
    let host = if link.ip.contains(':') { format!("[{}]", link.ip) } else { link.ip.to_string() };
    let Some(first) = link.ports.first() else { return Vec::new() };
    let mut out = vec![
        (format!("{prefix}_SERVICE_HOST"), link.ip.to_string()),
        (format!("{prefix}_SERVICE_PORT"), first.number.to_string()),
    ];
    for port in &link.ports {
        if let Some(name) = &port.name {
            out.push((format!("{prefix}_SERVICE_PORT_{}", upper(name)), port.number.to_string()));
        }
    }
    let url = |port: &Port| format!("{}://{host}:{}", port.protocol.to_lowercase(), port.number);
    out.push((format!("{prefix}_PORT"), url(first)));
    for port in &link.ports {
        let base = format!("{prefix}_PORT_{}_{}", port.number, port.protocol);
        out.push((format!("{base}_PROTO"), port.protocol.to_lowercase()));
        out.push((format!("{base}_PORT"), port.number.to_string()));
        out.push((format!("{base}_ADDR"), link.ip.to_string()));
        out.push((base, url(port)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_the_variables_of_the_documentation() {
        let link = Link {
            ip: "10.0.0.11".into(),
            ports: Box::new([Port { name: Some("web-1".into()), number: 6379, protocol: "TCP" }]),
        };
        let variables: BTreeMap<_, _> = variables("redis-primary", &link).into_iter().collect();
        for (name, value) in [
            ("REDIS_PRIMARY_SERVICE_HOST", "10.0.0.11"),
            ("REDIS_PRIMARY_SERVICE_PORT", "6379"),
            ("REDIS_PRIMARY_SERVICE_PORT_WEB_1", "6379"),
            ("REDIS_PRIMARY_PORT", "tcp://10.0.0.11:6379"),
            ("REDIS_PRIMARY_PORT_6379_TCP", "tcp://10.0.0.11:6379"),
            ("REDIS_PRIMARY_PORT_6379_TCP_PROTO", "tcp"),
            ("REDIS_PRIMARY_PORT_6379_TCP_PORT", "6379"),
            ("REDIS_PRIMARY_PORT_6379_TCP_ADDR", "10.0.0.11"),
        ] {
            assert_eq!(variables.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert_eq!(variables.len(), 8);
    }
}
