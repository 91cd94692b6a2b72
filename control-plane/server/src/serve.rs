//! `keelson serve`: puts store, registry, admission, API server and components together, and takes them down in order.

use crate::{
    apart::{self, ApartArgs},
    audit::AuditArgs,
    authentication::AuthenticationArgs,
    authorization::{Authorization, AuthorizationArgs},
    backup,
    bootstrap::{self, Authorities, Endpoint},
    certificates, cluster_ca,
    components::{self, Component, Elections, Settings},
    encryption,
    init::first_address,
    lock, repair,
    serving::{ServingArgs, Signals},
    store::{self, EtcdArgs, StoreKind},
};
use anyhow::{Context, ensure};
use clap::Args;
use ipnet::IpNet;
use keelson_admission::Chain;
use keelson_apiserver::{ApiServer, ServiceResolver, StartStep, in_process_client};
use keelson_audit::Auditor;
use keelson_auth::{
    UserInfo, authn::token::DEFAULT_ISSUER, authz::Authorizer, pki::names, user::names::MASTERS_GROUP,
};
use keelson_controllers::{ClusterRange, NodeIpam, Pool};
use keelson_harness::Api;
use keelson_registry::{KindTable, Registry, RegistryConfig, alloc::NodePortRange};
use keelson_scheduler::HandlerSync;
use keelson_store::encrypted::Encrypted;
use keelson_webhook::{Client, Identity, Transport};
use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// Worker threads: the control plane waits more than it computes, and each thread costs an arena.
const WORKER_THREADS: usize = 2;
/// Threads for blocking calls (reads of the embedded store, name resolution).
const BLOCKING_THREADS_MAX: usize = 16;

/// How long the audit webhook has for its last events.
const AUDIT_CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The options of `serve`.
#[derive(Args)]
pub(crate) struct ServeArgs {
    /// The data folder that `init` made.
    #[arg(long)]
    data: PathBuf,
    /// Addresses to listen at.
    #[arg(long, value_delimiter = ',', default_value = "0.0.0.0:6443")]
    bind: Vec<SocketAddr>,
    /// The address that clients in the cluster reach this server at.
    #[arg(long)]
    advertise: Option<IpAddr>,
    /// Where objects are kept.
    #[arg(long, value_enum, default_value = "embedded")]
    store: StoreKind,
    #[command(flatten)]
    etcd: EtcdArgs,
    /// An EncryptionConfiguration file: what is encrypted in the store, and with which keys; read again when it changes.
    /// Without it Secrets are encrypted with the key that `init` made.
    #[arg(long)]
    encryption_provider_config: Option<PathBuf>,
    /// Ranges of Service addresses.
    #[arg(long, value_delimiter = ',', default_value = "10.96.0.0/16")]
    service_cidr: Vec<IpNet>,
    /// The ports that Services may have on every node.
    #[arg(long, default_value = "30000-32767")]
    service_node_port_range: NodePortRange,
    /// Addresses for Services of type LoadBalancer: a range (192.0.2.0/24) or two ends (192.0.2.10-192.0.2.20); may be
    /// repeated. Without any, another load balancer is waited for.
    #[arg(long = "load-balancer-pool", value_delimiter = ',')]
    load_balancer_pools: Vec<Pool>,
    /// The pods' addresses, one range a family, of which each node that comes without is given its own.
    #[arg(long, value_delimiter = ',')]
    cluster_cidr: Vec<IpNet>,
    /// Prefix length of a node's IPv4 range.
    #[arg(long, default_value_t = 24)]
    node_cidr_mask_size_ipv4: u8,
    /// Prefix length of a node's IPv6 range.
    #[arg(long, default_value_t = 64)]
    node_cidr_mask_size_ipv6: u8,
    /// What to run in this process.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "apiserver,controllers,scheduler")]
    components: Vec<Component>,
    /// The API server to speak to, when none runs in this process.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Elect one leader among several copies of scheduler and controllers. The default is to do so unless the store is
    /// embedded, which excludes a second copy.
    #[arg(long)]
    leader_elect: Option<bool>,
    /// How long a node may be silent before it counts as lost (e.g. 50s).
    #[arg(long, default_value = "50s", value_parser = duration)]
    node_monitor_grace: Duration,
    /// With --max-mutating-requests-inflight, the seats that flow control gives out: requests answered at a time.
    #[arg(long, default_value_t = 400)]
    max_requests_inflight: u32,
    /// See --max-requests-inflight: priority levels share the sum of both.
    #[arg(long, default_value_t = 200)]
    max_mutating_requests_inflight: u32,
    #[command(flatten)]
    serving: ServingArgs,
    #[command(flatten)]
    apart: ApartArgs,
    #[command(flatten)]
    authentication: AuthenticationArgs,
    #[command(flatten)]
    authorization: AuthorizationArgs,
    #[command(flatten)]
    audit: AuditArgs,
    /// Seconds that pods tolerate a node that is not ready or not reachable, unless they say otherwise.
    #[arg(long, default_value_t = 300)]
    not_ready_toleration: i64,
}

/// `50s`, `2m`, `500ms` or a number of seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is not a duration such as 50s"))?;
    match &text[digits.len()..] {
        "ms" => Ok(Duration::from_millis(number)),
        "" | "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        "h" => Ok(Duration::from_secs(number * 3600)),
        unit => Err(format!("{unit:?} is not one of ms, s, m, h")),
    }
}

/// Runs the command until SIGTERM or SIGINT.
pub(crate) fn run(args: ServeArgs) -> anyhow::Result<()> {
    check(&args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(serve(args));
    runtime.shutdown_timeout(Duration::from_secs(2));
    result
}

fn check(args: &ServeArgs) -> anyhow::Result<()> {
    let apiserver = args.components.contains(&Component::Apiserver);
    ensure!(apiserver || args.kubeconfig.is_some(), "components without an API server need --kubeconfig");
    ensure!(
        !apiserver || args.advertise.is_some(),
        "--advertise is needed: the address that pods reach the API server at"
    );
    ensure!(
        args.store != StoreKind::Etcd || !args.etcd.etcd.is_empty(),
        "--store etcd needs --etcd with at least one URL"
    );
    ensure!(
        args.store == StoreKind::Etcd || args.etcd.etcd.is_empty(),
        "--etcd is given, but --store is not etcd"
    );
    ensure!(
        args.max_requests_inflight.saturating_add(args.max_mutating_requests_inflight) > 0,
        "--max-requests-inflight and --max-mutating-requests-inflight must not both be 0"
    );
    args.serving.check()?;
    args.apart.check(&args.components)?;
    ensure!(!args.service_cidr.is_empty(), "--service-cidr must name at least one range");
    ensure!(one_a_family(&args.service_cidr), "--service-cidr may name one range of each IP family");
    ensure!(one_a_family(&args.cluster_cidr), "--cluster-cidr may name one range of each IP family");
    node_ipam(args).map(drop)
}

fn one_a_family(ranges: &[IpNet]) -> bool {
    let v4 = ranges.iter().filter(|range| range.network().is_ipv4()).count();
    v4 <= 1 && ranges.len() - v4 <= 1
}

/// None unless nodes are given their ranges.
fn node_ipam(args: &ServeArgs) -> anyhow::Result<Option<NodeIpam>> {
    let mut ranges = Vec::with_capacity(args.cluster_cidr.len());
    for range in &args.cluster_cidr {
        let is_v4 = range.network().is_ipv4();
        let prefix = if is_v4 { args.node_cidr_mask_size_ipv4 } else { args.node_cidr_mask_size_ipv6 };
        ranges.push(ClusterRange::new(*range, prefix).context("--cluster-cidr")?);
    }
    Ok((!ranges.is_empty()).then(|| NodeIpam { ranges, reserved: args.service_cidr.clone() }))
}

async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let signals = Signals::listen().context("cannot listen for SIGTERM and SIGINT")?;
    let lock = args.components.contains(&Component::Apiserver).then(|| lock::take(&args.data)).transpose()?;
    let settings = Settings {
        node_monitor_grace: args.node_monitor_grace,
        cluster_ca: cluster_ca::follow(
            &args.data,
            args.components.contains(&Component::Controllers),
            stop.clone(),
        )?,
        load_balancer_pools: args.load_balancer_pools.clone(),
        node_ipam: node_ipam(&args)?,
        elections: elections(&args)?,
        handler_sync: HandlerSync::default(),
    };
    if !args.components.contains(&Component::Apiserver) {
        tokio::spawn(signals.stop_on(None, Duration::ZERO, stop.clone()));
        let path = args.kubeconfig.as_deref().context("--kubeconfig is needed")?;
        let remote = apart::Remote::new(path).await?;
        let serving = args.apart.serve(&args.components, &remote, &settings, &args.data, &stop).await?;
        let started = components::start(&args.components, |which| remote.api(which), &settings, &stop);
        let result = until_stopped(started.tasks, &stop).await;
        return result.and(serving.ended().await);
    }
    let drain = CancellationToken::new();
    let certificates = certificates::watch(&args.data);
    let (server, registry, auditor) = api_server(&args, drain.clone()).await?;
    tokio::spawn(signals.stop_on(Some(server.clone()), args.serving.shutdown_delay_duration(), stop.clone()));
    let listeners = bind(&args.bind).await?;
    let serving = spawn_serving(&args, &server, listeners)?;

    let authorities = Authorities {
        client_ca_pem: read(&args.data, names::CA_CERT)?,
        front_proxy_ca_pem: read(&args.data, names::FRONT_PROXY_CA_CERT)?,
    };
    let masters = UserInfo::authenticated(Component::Apiserver.user(), [MASTERS_GROUP]);
    let own = in_process_client(&server, masters, Component::Apiserver.agent());
    bootstrap::run(own.clone(), &args.service_cidr, &authorities, |step| server.finished(step))
        .await
        .context("making the objects that a cluster starts with")?;
    server.mark_started();
    tokio::spawn(certificates::renew(args.data.clone(), stop.clone()));
    tokio::spawn(certificates::follow(
        args.data.clone(),
        certificates,
        server.clone(),
        own.clone(),
        stop.clone(),
    ));
    let endpoint = endpoint(&args)?;
    let repaired = server.clone();
    let repairing = tokio::spawn(repair::keep(registry, own.clone(), stop.clone(), move || {
        repaired.finished(StartStep::ServiceRepair);
    }));
    let kept = server.clone();
    let keeping = tokio::spawn(bootstrap::keep(own, endpoint, stop.clone(), move || {
        kept.finished(StartStep::Services);
    }));
    tracing::info!(bind = ?args.bind, "the API server is ready");

    let api = |component: Component| {
        let user = UserInfo::authenticated(component.user(), [] as [&str; 0]);
        Api::new(in_process_client(&server, user, component.agent()))
    };
    let started = components::start(&args.components, api, &settings, &stop);
    server.set_components(started.handles);
    let result = until_stopped(started.tasks, &stop).await;
    keeping.await.context("keeping the API server's Service")?;
    repairing.await.context("repairing the records of Services")?;
    server.leave();
    drain.cancel();
    serving.await.context("serving")??;
    if let Some(auditor) = auditor {
        auditor.close(AUDIT_CLOSE_TIMEOUT).await;
    }
    tracing::info!("drained");
    drop(server);
    drop(lock);
    result
}

/// None where there is one copy.
fn elections(args: &ServeArgs) -> anyhow::Result<Option<Elections>> {
    let wanted = args.leader_elect.unwrap_or(args.store == StoreKind::Etcd);
    wanted.then(|| Ok(Elections::of(&identity(args)?))).transpose()
}

/// Our name in elections. A process that holds the data folder goes by the folder's name, so that after a crash it takes
/// its own lease up again at once.
fn identity(args: &ServeArgs) -> anyhow::Result<String> {
    let fresh = || uuid::Uuid::new_v4().to_string();
    if !args.components.contains(&Component::Apiserver) {
        return Ok(fresh());
    }
    let path = args.data.join("identity");
    match std::fs::read_to_string(&path) {
        Ok(known) if !known.trim().is_empty() => Ok(known.trim().to_owned()),
        _ => {
            let made = fresh();
            std::fs::write(&path, &made).with_context(|| format!("cannot write {}", path.display()))?;
            Ok(made)
        }
    }
}

/// Waits for the signal. A component that ends before it takes the process down: half a control plane is a trap.
async fn until_stopped(
    mut tasks: JoinSet<anyhow::Result<()>>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut result = Ok(());
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = tasks.join_next() => {
                result = ended.context("a component panicked").and_then(|r| r);
                if !stop.is_cancelled() && result.is_ok() {
                    result = Err(anyhow::anyhow!("a component ended on its own"));
                }
                stop.cancel();
            }
        }
    }
    while let Some(ended) = tasks.join_next().await {
        let ended = ended.context("a component panicked").and_then(|r| r);
        result = result.and(ended);
    }
    result
}

fn read(data: &Path, name: &str) -> anyhow::Result<String> {
    let path = names::pki_file(data, name);
    std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {} (run `keelson init` first)", path.display()))
}

async fn api_server(
    args: &ServeArgs,
    drain: CancellationToken,
) -> anyhow::Result<(ApiServer, Arc<Registry>, Option<Arc<Auditor>>)> {
    let raw = store::open(args.store, &args.data, &args.etcd, &drain).await?;
    if let Err(error) = backup::serve(raw.clone(), &backup::socket_path(&args.data), drain.clone()) {
        // A path may be too long for a socket; the server is more than its snapshots.
        tracing::warn!(error = format!("{error:#}"), "no snapshot can be taken while this server runs");
    }
    let keys = args.encryption_provider_config.clone();
    let store = Arc::new(Encrypted::new(raw, encryption::keyring(keys.as_deref(), &args.data)?));
    tokio::spawn(encryption::keep(store.clone(), keys, drain.clone()));
    let config =
        RegistryConfig { service_cidrs: args.service_cidr.clone(), node_ports: args.service_node_port_range };
    let registry = Registry::open(store, KindTable::builtin(), config).await.context("filling the caches")?;
    let authorizer = Arc::new(Authorizer::new());
    let toleration = keelson_admission::Config {
        not_ready_toleration_seconds: args.not_ready_toleration,
        unreachable_toleration_seconds: args.not_ready_toleration,
    };
    let front_proxy = Identity::from_pem(
        &read(&args.data, names::FRONT_PROXY_CLIENT_CERT)?,
        &read(&args.data, names::FRONT_PROXY_CLIENT_KEY)?,
    )
    .context("reading the front proxy's certificate")?;
    let calls = Arc::new(Transport::new(ServiceResolver::over(&registry), Some(front_proxy)));
    let admission = Chain::over(&registry, authorizer.clone(), toleration, Client::new(calls.clone()));
    registry.set_admission(admission.clone());
    let endpoint = endpoint(args)?;
    let auditor = args.audit.auditor(ServiceResolver::over(&registry))?;
    let token_webhook = args.authentication.watch_webhook();
    let config = keelson_apiserver::Config {
        advertise: SocketAddr::new(endpoint.address, endpoint.port).to_string(),
        issuer: DEFAULT_ISSUER.to_owned(),
        api_audiences: args.authentication.api_audiences.clone(),
        service_account_key_pem: read(&args.data, names::SERVICE_ACCOUNT_KEY)?,
        service_account_public_pem: read(&args.data, names::SERVICE_ACCOUNT_PUBLIC)?,
        cluster_ca_pem: read(&args.data, names::CA_CERT)?,
        kubelet_client_cert_pem: read(&args.data, names::KUBELET_CLIENT_CERT)?,
        kubelet_client_key_pem: read(&args.data, names::KUBELET_CLIENT_KEY)?,
        front_proxy_ca_pem: read(&args.data, names::FRONT_PROXY_CA_CERT)?,
        calls,
        token_webhook: args.authentication.webhook(ServiceResolver::over(&registry))?,
        seats: args.max_requests_inflight.saturating_add(args.max_mutating_requests_inflight),
        request_timeout: args.serving.request_timeout,
        http: args.serving.http(),
        auditor: auditor.clone(),
    };
    let authenticators = args.authentication.load(DEFAULT_ISSUER)?;
    let resolve = ServiceResolver::over(&registry);
    let mut authorization = Authorization::load(&args.authorization, resolve)?;
    let server = ApiServer::new(registry.clone(), admission, authorizer, config, drain.clone())?;
    if let Some(authenticators) = authenticators {
        server.set_authenticators(authenticators);
    }
    authorization.apply(&server);
    tokio::spawn(authorization.keep(server.clone(), drain.clone()));
    let (authentication, resolve) = (args.authentication.clone(), ServiceResolver::over(&registry));
    tokio::spawn(authentication.keep_webhook(resolve, server.clone(), token_webhook, drain.clone()));
    tokio::spawn(args.authentication.clone().keep(server.clone(), DEFAULT_ISSUER.to_owned(), drain));
    Ok((server, registry, auditor))
}

async fn bind(addresses: &[SocketAddr]) -> anyhow::Result<Vec<TcpListener>> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for address in addresses {
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("cannot listen at {address}"))?;
        listeners.push(listener);
    }
    Ok(listeners)
}

fn spawn_serving(
    args: &ServeArgs,
    server: &ApiServer,
    listeners: Vec<TcpListener>,
) -> anyhow::Result<tokio::task::JoinHandle<anyhow::Result<()>>> {
    let cert = read(&args.data, names::APISERVER_CERT)?;
    let key = read(&args.data, names::APISERVER_KEY)?;
    let ca = read(&args.data, names::CA_CERT)?;
    let server = server.clone();
    Ok(tokio::spawn(async move { Ok(server.serve(listeners, &cert, &key, &ca).await?) }))
}

fn endpoint(args: &ServeArgs) -> anyhow::Result<Endpoint> {
    let range = args.service_cidr.first().context("--service-cidr must name at least one range")?;
    let bind = args.bind.first().context("--bind must name at least one address")?;
    Ok(Endpoint {
        service_address: first_address(range)?,
        address: args.advertise.context("--advertise is needed")?,
        port: bind.port(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_usual() {
        let rows = [("50s", 50_000), ("500ms", 500), ("2m", 120_000), ("7", 7_000)];
        for (text, ms) in rows {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(ms), "{text}");
        }
        assert!(duration("5d").is_err() && duration("x").is_err());
    }
}
