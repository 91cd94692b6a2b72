//! The router over the model store: every refusal, every form, as a client sees them on the wire.

mod aggregated;
mod audit;
mod authorization;
mod bounds;
mod certificates;
mod custom;
mod flow;
mod forms;
mod identity;
mod impersonation;
mod protobuf;
mod proxied;
mod refusals;
mod scripts;
mod strangers;
mod streams;
mod tokens;
mod type_checking;
mod walk;
mod warnings;
mod watching;
mod writes;

use crate::{
    ServiceResolver, TokenWebhook,
    identity::Caller,
    server::{ApiServer, Config},
    wire::{
        Body, HttpOptions, body,
        peer::{Peer, PeerCertificate},
    },
};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use keelson_admission::Chain;
use keelson_auth::{
    UserInfo,
    authn::token::DEFAULT_ISSUER,
    authz::Authorizer,
    pki::{self, InitConfig, names},
};
use keelson_registry::{
    KindTable, Registry, RegistryConfig,
    admit::{Admission, AdmitAll},
};
use keelson_store::model::Model;
use keelson_webhook::{Identity, Transport};
use serde_json::Value;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

/// A server without sockets.
pub(crate) struct Bed {
    pub(crate) server: ApiServer,
    _folder: tempfile::TempDir,
}

/// An answer, read to its end.
pub(crate) struct Got {
    pub(crate) code: StatusCode,
    headers: HeaderMap,
    bytes: Vec<u8>,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The body in whichever encoding it came.
    fn object(&self) -> Value {
        match self.headers["content-type"].to_str().unwrap() {
            "application/yaml" => serde_saphyr::from_str(&self.text()).unwrap(),
            _ => self.json(),
        }
    }

    fn message(&self) -> String {
        self.object()["message"].as_str().unwrap_or_default().to_owned()
    }
}

/// What differs from test to test.
struct More {
    seats: u32,
    request_timeout: Duration,
    api_audiences: Vec<String>,
    token_webhook: Option<TokenWebhook>,
}

impl Default for More {
    fn default() -> Self {
        let request_timeout = Duration::from_secs(60);
        Self { seats: 600, request_timeout, api_audiences: Vec::new(), token_webhook: None }
    }
}

impl Bed {
    pub(crate) async fn new() -> Self {
        Self::configured(More::default()).await
    }

    /// With so many seats, and so much time for each request.
    async fn limited(seats: u32, request_timeout: Duration) -> Self {
        Self::configured(More { seats, request_timeout, ..More::default() }).await
    }

    /// With what a test is about.
    async fn configured(more: More) -> Self {
        Self::made(Arc::new(AdmitAll), |config| {
            config.api_audiences = more.api_audiences;
            config.token_webhook = more.token_webhook;
            config.seats = more.seats;
            config.request_timeout = more.request_timeout;
        })
        .await
    }

    /// With the admission that a server runs with.
    async fn admitting() -> Self {
        let chain = |registry: &Arc<Registry>, authorizer: &Arc<Authorizer>, calls: &Arc<Transport>| {
            let client = keelson_webhook::Client::new(calls.clone());
            Chain::over(registry, authorizer.clone(), keelson_admission::Config::default(), client)
        };
        Self::built(chain, |_| {}).await
    }

    /// With an admission of its own, and what else is to be configured.
    async fn made(admission: Arc<dyn Admission>, change: impl FnOnce(&mut Config)) -> Self {
        Self::built(|_, _, _| admission, change).await
    }

    async fn built(
        admission: impl FnOnce(&Arc<Registry>, &Arc<Authorizer>, &Arc<Transport>) -> Arc<dyn Admission>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let init = InitConfig {
            data: folder.path().to_owned(),
            advertise: vec!["127.0.0.1".parse().unwrap()],
            port: 6443,
            service_addresses: vec!["10.96.0.1".parse().unwrap()],
            cluster_domain: "cluster.local".to_owned(),
        };
        pki::init(&init, OffsetDateTime::now_utc()).unwrap();
        let read = |name| std::fs::read_to_string(names::pki_file(folder.path(), name)).unwrap();
        let ranges = RegistryConfig {
            service_cidrs: vec!["10.96.0.0/16".parse().unwrap()],
            ..RegistryConfig::default()
        };
        let registry =
            Registry::open(Arc::new(Model::default()), KindTable::builtin(), ranges).await.unwrap();
        let proxy =
            Identity::from_pem(&read(names::FRONT_PROXY_CLIENT_CERT), &read(names::FRONT_PROXY_CLIENT_KEY));
        let calls = Arc::new(Transport::new(ServiceResolver::over(&registry), Some(proxy.unwrap())));
        let authorizer = Arc::new(Authorizer::new());
        let admission = admission(&registry, &authorizer, &calls);
        let mut config = Config {
            advertise: "127.0.0.1:6443".to_owned(),
            issuer: DEFAULT_ISSUER.to_owned(),
            api_audiences: Vec::new(),
            service_account_key_pem: read(names::SERVICE_ACCOUNT_KEY),
            service_account_public_pem: read(names::SERVICE_ACCOUNT_PUBLIC),
            cluster_ca_pem: read(names::CA_CERT),
            kubelet_client_cert_pem: read(names::KUBELET_CLIENT_CERT),
            kubelet_client_key_pem: read(names::KUBELET_CLIENT_KEY),
            front_proxy_ca_pem: read(names::FRONT_PROXY_CA_CERT),
            calls,
            token_webhook: None,
            seats: 600,
            request_timeout: Duration::from_secs(60),
            http: HttpOptions::default(),
            auditor: None,
        };
        change(&mut config);
        registry.set_admission(admission.clone());
        let server =
            ApiServer::new(registry, admission, authorizer, config, CancellationToken::new()).unwrap();
        Self { server, _folder: folder }
    }

    fn root() -> Caller {
        Caller::InProcess(Arc::new(UserInfo::authenticated("root", ["system:masters"])))
    }

    /// Without credentials, over a socket.
    fn nobody() -> Caller {
        let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
        Caller::Peer(Arc::new(Peer { address, certificate: PeerCertificate::Absent }))
    }

    async fn open(
        &self,
        caller: Caller,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        text: &str,
    ) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if text.is_empty() { body::empty() } else { body::full(text.to_owned()) };
        self.server.answer(caller, request.body(body).unwrap()).await
    }

    async fn send_as(
        &self,
        caller: Caller,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        text: &str,
    ) -> Got {
        let (head, body) = self.open(caller, method, uri, headers, text).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes().to_vec();
        Got { code: head.status, headers: head.headers, bytes }
    }

    /// As a member of system:masters.
    pub(crate) async fn send(&self, method: &str, uri: &str, headers: &[(&str, &str)], text: &str) -> Got {
        self.send_as(Self::root(), method, uri, headers, text).await
    }

    async fn get(&self, uri: &str) -> Got {
        self.send("GET", uri, &[], "").await
    }

    /// Creates a ConfigMap in default.
    async fn config_map(&self, name: &str) -> Value {
        let body =
            format!(r#"{{"metadata":{{"name":"{name}","labels":{{"n":"{name}"}}}},"data":{{"k":"v"}}}}"#);
        let got = self.send("POST", MAPS, &[], &body).await;
        assert_eq!(got.code, 201, "{}", got.text());
        got.json()
    }
}

/// The ConfigMaps of default.
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
