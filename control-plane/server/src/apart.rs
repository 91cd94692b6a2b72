//! Scheduler and controllers without an API server in their process: their client, and the port at which each shows its own
//! health, metrics and configuration, as kube-scheduler and kube-controller-manager do.

use crate::components::{Component, Settings};
use anyhow::{Context, ensure};
use clap::Args;
use http::{HeaderValue, header::USER_AGENT};
use keelson_apiserver::{ComponentCheck, ComponentConfig, ComponentServer, ComponentTls};
use keelson_auth::pki::{Leaf, Purpose, names};
use keelson_harness::{Api, leader::LeaderElection};
use serde_json::{Value, json};
use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};
use time::OffsetDateTime;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// The options of `serve` that matter without an API server in the process.
#[derive(Args, Clone, Debug)]
pub(crate) struct ApartArgs {
    /// Without an API server in this process: the address at which scheduler and controllers serve their own health and metrics.
    #[arg(long, default_value = "0.0.0.0")]
    bind_address: IpAddr,
    /// Its port, for a process of one component; 0 for none. The default is 10257 for controllers and 10259 for the
    /// scheduler.
    #[arg(long)]
    secure_port: Option<u16>,
    /// The certificate that is served there, PEM; without it one is made that vouches for itself alone.
    #[arg(long, requires = "tls_private_key_file")]
    tls_cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long, requires = "tls_cert_file")]
    tls_private_key_file: Option<PathBuf>,
}

impl ApartArgs {
    /// Refuses what makes no sense together.
    pub(crate) fn check(&self, components: &[Component]) -> anyhow::Result<()> {
        if components.contains(&Component::Apiserver) {
            ensure!(
                self.secure_port.is_none() && self.tls_cert_file.is_none(),
                "--secure-port and --tls-cert-file are for a process without an API server: with one it is the API server \
                 (--bind) that tells of all in its process"
            );
        }
        ensure!(
            self.secure_port.unwrap_or(0) == 0 || components.len() == 1,
            "--secure-port is the port of one component: with several each has its default, or with 0 none"
        );
        Ok(())
    }

    /// Serves each component's own until `stop`. They listen when this returns.
    ///
    /// # Errors
    /// A port that is taken, a certificate that cannot be used.
    pub(crate) async fn serve(
        &self,
        components: &[Component],
        remote: &Remote,
        settings: &Settings,
        data: &Path,
        stop: &CancellationToken,
    ) -> anyhow::Result<Serving> {
        let mut serving = JoinSet::new();
        for component in components {
            let port = self.secure_port.unwrap_or(component.port());
            if port == 0 {
                continue;
            }
            let address = SocketAddr::new(self.bind_address, port);
            let agent = component.agent();
            let listening = TcpListener::bind(address).await;
            let listener = listening.with_context(|| {
                format!("{agent} cannot listen at {address} (--bind-address, --secure-port; 0 for none)")
            })?;
            let server = ComponentServer::new(ComponentConfig {
                client: remote.client(*component),
                configuration: configuration(*component, settings),
                checks: checks(*component, settings, stop),
            });
            let (tls, stop) = (self.tls(*component, data, settings)?, stop.clone());
            serving.spawn(async move {
                let ended = server.serve(vec![listener], &tls, stop).await;
                ended.with_context(|| format!("serving the health and metrics of {agent}"))
            });
            tracing::info!(%address, component = agent, "health and metrics are served");
        }
        Ok(Serving(serving))
    }

    fn tls(&self, component: Component, data: &Path, settings: &Settings) -> anyhow::Result<ComponentTls> {
        let read = |path: &Path| {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let (cert_pem, key_pem) = match (&self.tls_cert_file, &self.tls_private_key_file) {
            (Some(cert), Some(key)) => (read(cert)?, read(key)?),
            _ => {
                let leaf = Leaf {
                    common_name: component.agent().to_owned(),
                    organizations: Vec::new(),
                    purpose: Purpose::Server,
                    dns_names: vec!["localhost".to_owned()],
                    ips: vec![self.bind_address],
                };
                let made =
                    leaf.self_signed(OffsetDateTime::now_utc()).context("making a serving certificate")?;
                (made.cert_pem, made.key_pem)
            }
        };
        let proxies = names::pki_file(data, names::FRONT_PROXY_CA_CERT);
        Ok(ComponentTls {
            cert_pem,
            key_pem,
            client_ca_pem: settings.cluster_ca.borrow().pem.clone(),
            front_proxy_ca_pem: proxies.exists().then(|| read(&proxies)).transpose()?,
        })
    }
}

/// What is being served.
pub(crate) struct Serving(JoinSet<anyhow::Result<()>>);

impl Serving {
    /// Waits until all is drained, after the stop.
    pub(crate) async fn ended(mut self) -> anyhow::Result<()> {
        let mut result = Ok(());
        while let Some(ended) = self.0.join_next().await {
            result = result.and(ended.context("a component's server panicked").and_then(|ended| ended));
        }
        result
    }
}

/// The API server in another process.
pub(crate) struct Remote {
    host: String,
    controllers: kube::Client,
    scheduler: kube::Client,
}

impl Remote {
    /// As the kubeconfig says.
    pub(crate) async fn new(kubeconfig: &Path) -> anyhow::Result<Self> {
        let read = kube::config::Kubeconfig::read_from(kubeconfig)
            .with_context(|| format!("cannot read the kubeconfig {}", kubeconfig.display()))?;
        let config = kube::Config::from_custom_kubeconfig(read, &kube::config::KubeConfigOptions::default())
            .await
            .with_context(|| format!("the kubeconfig {} is not usable", kubeconfig.display()))?;
        let client = |component: Component| -> anyhow::Result<kube::Client> {
            let mut config = config.clone();
            config.headers.push((USER_AGENT, HeaderValue::from_static(component.agent())));
            Ok(kube::Client::try_from(config)?)
        };
        Ok(Self {
            host: config.cluster_url.authority().map(ToString::to_string).unwrap_or_default(),
            controllers: client(Component::Controllers)?,
            scheduler: client(Component::Scheduler)?,
        })
    }

    /// A component's client, which says whose it is.
    fn client(&self, component: Component) -> kube::Client {
        match component {
            Component::Scheduler => self.scheduler.clone(),
            Component::Apiserver | Component::Controllers => self.controllers.clone(),
        }
    }

    /// What the component's calls are made by, and counted.
    pub(crate) fn api(&self, component: Component) -> Api {
        Api::of(&self.host, self.client(component))
    }
}

/// Upstream's checks of the component's own: `leaderElection`, and at `/readyz` `shutdown` and the scheduler's
/// `sched-handler-sync`.
fn checks(component: Component, settings: &Settings, stop: &CancellationToken) -> Vec<ComponentCheck> {
    let mut checks = Vec::new();
    if let Some(election) = settings.election(component).cloned() {
        checks.push(ComponentCheck {
            name: "leaderElection",
            readiness_only: false,
            check: Box::new(move || election.leadership.check(&election)),
        });
    }
    if component == Component::Scheduler {
        let sync = settings.handler_sync.clone();
        checks.push(ComponentCheck {
            name: "sched-handler-sync",
            readiness_only: true,
            check: Box::new(move || sync.check()),
        });
    }
    let stop = stop.clone();
    checks.push(ComponentCheck {
        name: "shutdown",
        readiness_only: true,
        check: Box::new(move || match stop.is_cancelled() {
            true => Err("process is shutting down".to_owned()),
            false => Ok(()),
        }),
    });
    checks
}

/// What `/configz` tells: under upstream's names, those fields that there are here.
fn configuration(component: Component, settings: &Settings) -> Value {
    let election = leader_election(settings.election(component), component);
    match component {
        Component::Scheduler => json!({"componentconfig": {
            "LeaderElection": election,
            "Profiles": [{"SchedulerName": keelson_scheduler::Config::default().scheduler_name}],
        }}),
        Component::Apiserver | Component::Controllers => {
            json!({"kubecontrollermanager.config.k8s.io": {
                "Generic": {"LeaderElection": election},
                "KubeCloudShared": {"AllocateNodeCIDRs": settings.node_ipam.is_some()},
                "NodeLifecycleController": {
                    "NodeMonitorGracePeriod": format!("{}s", settings.node_monitor_grace.as_secs_f64()),
                },
            }})
        }
    }
}

fn leader_election(election: Option<&LeaderElection>, component: Component) -> Value {
    let Some(election) = election else { return json!({"LeaderElect": false}) };
    let seconds = |duration: std::time::Duration| format!("{}s", duration.as_secs_f64());
    json!({
        "LeaderElect": true,
        "LeaseDuration": seconds(election.lease_duration),
        "RenewDeadline": seconds(election.renew_deadline),
        "RetryPeriod": seconds(election.retry_period),
        "ResourceLock": "leases",
        "ResourceName": component.agent(),
        "ResourceNamespace": election.namespace,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        apart: ApartArgs,
    }

    #[test]
    fn ports_are_for_processes_without_an_api_server() {
        use Component::{Apiserver, Controllers, Scheduler};
        let rows: [(&str, &[Component], bool); 7] = [
            ("", &[Apiserver, Controllers, Scheduler], true),
            ("", &[Controllers, Scheduler], true),
            ("--secure-port 1", &[Scheduler], true),
            ("--secure-port 0", &[Controllers, Scheduler], true),
            ("--secure-port 1", &[Controllers, Scheduler], false),
            ("--secure-port 1", &[Apiserver], false),
            ("--tls-cert-file a --tls-private-key-file b", &[Apiserver], false),
        ];
        for (text, components, good) in rows {
            let line = Line::parse_from(std::iter::once("serve").chain(text.split_whitespace()));
            assert_eq!(line.apart.check(components).is_ok(), good, "{text} {components:?}");
        }
        assert!(
            Line::try_parse_from(["serve", "--tls-cert-file", "a"]).is_err(),
            "a certificate without its key"
        );
    }
}
