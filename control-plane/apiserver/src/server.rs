//! The server as a whole: what its parts are and how they are put together.

use crate::{
    aggregation::{self, Aggregation},
    authorization, conversion, extensions, flow, follow,
    health::{self, Health, StartStep, Steps},
    identity::{self, Caller, TokenWebhook},
    metrics::Metrics,
    nodes::NodeClient,
    published::{Documents, Published},
    reloads::Reloads,
    resources::components::Running,
    type_checking,
    wire::{
        Body, HttpOptions,
        peer::Peer,
        serve::{self, Handler},
        tls::{self, ServerTls, TlsError},
    },
};
use arc_swap::ArcSwap;
use http::{Request, Response};
use keelson_audit::Auditor;
use keelson_auth::{authn::token::TokenError, authz::Authorizer};
use keelson_flow::Gate;
use keelson_registry::{Registry, admit::Admission, table::KindTable};
use keelson_webhook::{Identity, Transport};
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpListener, task::AbortHandle};
use tokio_util::sync::CancellationToken;

/// What the server is told. All keys and certificates are PEM.
pub struct Config {
    /// `HOST:PORT` that clients reach the server at.
    pub advertise: String,
    /// The issuer's URL in ServiceAccount tokens.
    pub issuer: String,
    /// Whom bearer tokens must be for; the issuer where it is empty.
    pub api_audiences: Vec<String>,
    /// Signs ServiceAccount tokens.
    pub service_account_key_pem: String,
    /// Verifies them; may hold several keys.
    pub service_account_public_pem: String,
    /// The cluster's CA: verifies client certificates and the nodes' serving certificates.
    pub cluster_ca_pem: String,
    /// What the server shows to nodes.
    pub kubelet_client_cert_pem: String,
    /// Its key.
    pub kubelet_client_key_pem: String,
    /// The authority of front proxies, whose word on who asks is believed.
    pub front_proxy_ca_pem: String,
    /// By which the server calls others; its identity is the front proxy's.
    pub calls: Arc<Transport>,
    /// Asked about tokens that are nobody else's.
    pub token_webhook: Option<TokenWebhook>,
    /// Requests answered at a time, in seats of flow control, of which most requests take one.
    pub seats: u32,
    /// Requests that are neither watches nor streams end after this.
    pub request_timeout: Duration,
    /// What of HTTP is to be chosen.
    pub http: HttpOptions,
    /// Records requests.
    pub auditor: Option<Arc<Auditor>>,
}

/// What can change of [`Config`] while the server runs, and the serving certificate. All PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificates {
    /// What clients see.
    pub serving_cert_pem: String,
    /// Its key.
    pub serving_key_pem: String,
    /// Verifies client certificates and the nodes' serving certificates.
    pub client_ca_pem: String,
    /// Verifies those of front proxies.
    pub front_proxy_ca_pem: String,
    /// What aggregated API servers see.
    pub front_proxy_client_cert_pem: String,
    /// Its key.
    pub front_proxy_client_key_pem: String,
    /// What nodes see.
    pub kubelet_client_cert_pem: String,
    /// Its key.
    pub kubelet_client_key_pem: String,
}

/// Why a server cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A certificate or key for TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A certificate or key that others are shown.
    #[error(transparent)]
    Calls(#[from] keelson_webhook::TlsError),
    /// A key for tokens.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The kind table names what the schemas do not have.
    #[error("OpenAPI cannot be made: {0}")]
    OpenApi(String),
}

/// The API server: cheap to clone.
#[derive(Clone)]
pub struct ApiServer {
    pub(crate) inner: Arc<Inner>,
}

/// Its parts.
pub(crate) struct Inner {
    pub(crate) registry: Arc<Registry>,
    pub(crate) admission: Arc<dyn Admission>,
    pub(crate) authorizer: Arc<Authorizer>,
    pub(crate) webhooks: authorization::Webhooks,
    pub(crate) identity: identity::Identity,
    published: Published,
    pub(crate) health: Health,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) reloads: Reloads,
    pub(crate) nodes: NodeClient,
    pub(crate) calls: Arc<Transport>,
    pub(crate) aggregation: Aggregation,
    /// None until [`ApiServer::serve`].
    tls: OnceLock<Arc<ArcSwap<ServerTls>>>,
    front_proxy_ca_pem: String,
    pub(crate) gate: Arc<Gate>,
    /// How far the start has come.
    pub(crate) steps: Steps,
    pub(crate) request_timeout: Duration,
    http: HttpOptions,
    pub(crate) auditor: Option<Arc<Auditor>>,
    pub(crate) components: OnceLock<Running>,
    pub(crate) shutdown: CancellationToken,
    started: AtomicBool,
}

impl Inner {
    pub(crate) fn table(&self) -> Arc<KindTable> {
        self.registry.table()
    }

    /// Discovery and OpenAPI of the kinds that are served now.
    pub(crate) fn published(&self) -> Arc<Documents> {
        self.published.of(&self.registry.table())
    }
}

impl ApiServer {
    /// Puts a server together. Its authorizer follows the registry from here until `shutdown`; watches and streams end
    /// with `shutdown`.
    pub fn new(
        registry: Arc<Registry>,
        admission: Arc<dyn Admission>,
        authorizer: Arc<Authorizer>,
        mut config: Config,
        shutdown: CancellationToken,
    ) -> Result<Self, SetupError> {
        let server_url = format!("https://{}", config.advertise);
        let identity = identity::Identity::new(
            (&config.issuer, &config.api_audiences),
            &server_url,
            &config.service_account_key_pem,
            &config.service_account_public_pem,
            &config.calls,
            config.token_webhook.take(),
        )?;
        let nodes = NodeClient::new(
            &config.cluster_ca_pem,
            &config.kubelet_client_cert_pem,
            &config.kubelet_client_key_pem,
        )?;
        follow::authorizer(&registry, &authorizer, &shutdown);
        registry.set_conversion(conversion::Webhooks::over(&config.calls));
        let steps = Steps::default();
        extensions::follow(&registry, &steps.definitions_followed, &shutdown);
        let inner = Inner {
            published: Published::new(registry.table(), &config.advertise),
            health: health::of(&registry, &steps),
            metrics: Arc::new(Metrics::default()),
            reloads: Reloads::default(),
            gate: flow::gate(config.seats, config.request_timeout),
            steps,
            request_timeout: config.request_timeout,
            http: config.http,
            auditor: config.auditor.clone(),
            registry,
            admission,
            authorizer,
            webhooks: authorization::Webhooks::default(),
            identity,
            nodes,
            calls: config.calls.clone(),
            aggregation: Aggregation::default(),
            tls: OnceLock::new(),
            front_proxy_ca_pem: config.front_proxy_ca_pem.clone(),
            components: OnceLock::new(),
            shutdown,
            started: AtomicBool::new(false),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Says which components run in this process, by the names of their Leases (`kube-scheduler`), for ComponentStatus. Counts once.
    pub fn set_components(&self, running: Vec<(&'static str, AbortHandle)>) {
        if self.inner.components.set(running).is_err() {
            tracing::warn!("the components of this process are known already");
        }
    }

    /// A step of the start is done: its check passes from here on.
    pub fn finished(&self, step: StartStep) {
        self.inner.steps.outside(step).finish();
    }

    /// Makes `/readyz` fail, so that whoever balances load leads requests elsewhere; they are answered as before.
    pub fn leave(&self) {
        self.inner.steps.leaving.finish();
    }

    /// The objects that a cluster starts with are there. From here until `shutdown` the server
    /// keeps its APIServices and the objects of flow control, which it is not ready without, and checks the types of admission policies.
    pub fn mark_started(&self) {
        if !self.inner.started.swap(true, Ordering::AcqRel) {
            tokio::spawn(aggregation::keep(self.clone()));
            tokio::spawn(flow::keep(self.clone()));
            tokio::spawn(type_checking::keep(self.clone()));
            tokio::spawn(tick(self.clone()));
        }
    }

    /// Serves TLS on the listeners until `shutdown` (that of [`ApiServer::new`]), then drains.
    pub async fn serve(
        &self,
        listeners: Vec<TcpListener>,
        cert_pem: &str,
        key_pem: &str,
        client_ca_pem: &str,
    ) -> Result<(), SetupError> {
        let tls = tls::server(cert_pem, key_pem, client_ca_pem, Some(&self.inner.front_proxy_ca_pem))?;
        let current = self.inner.tls.get_or_init(|| Arc::new(ArcSwap::from_pointee(tls))).clone();
        serve::serve(listeners, current, self.inner.http, self.clone(), self.inner.shutdown.clone()).await;
        Ok(())
    }

    /// Shows and believes these from the next handshake on. Connections that are there go on, as whom they were made: a client
    /// whose authority is gone is known until his certificate ends or he connects anew.
    ///
    /// # Errors
    /// What cannot be used, a certificate without its key for one: then nothing changes.
    pub fn set_certificates(&self, new: &Certificates) -> Result<(), SetupError> {
        let tls = tls::server(
            &new.serving_cert_pem,
            &new.serving_key_pem,
            &new.client_ca_pem,
            Some(&new.front_proxy_ca_pem),
        )?;
        let nodes = NodeClient::connector(
            &new.client_ca_pem,
            &new.kubelet_client_cert_pem,
            &new.kubelet_client_key_pem,
        )?;
        let proxy = Identity::from_pem(&new.front_proxy_client_cert_pem, &new.front_proxy_client_key_pem)?;
        self.inner.calls.set_identity(proxy)?;
        self.inner.nodes.set(nodes);
        if let Some(current) = self.inner.tls.get() {
            current.store(Arc::new(tls));
        }
        Ok(())
    }
}

/// Has the most of each second told.
async fn tick(server: ApiServer) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            () = server.inner.shutdown.cancelled() => return,
            _ = second.tick() => server.inner.metrics.tick(),
        }
    }
}

impl Handler for ApiServer {
    async fn handle(&self, peer: Arc<Peer>, request: Request<Body>) -> Response<Body> {
        self.answer(Caller::Peer(peer), request).await
    }
}
