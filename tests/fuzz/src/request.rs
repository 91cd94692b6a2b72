//! Whole requests, to a whole server over the model store: everything behind the socket.

use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::BodyExt;
use keelson_admission::Chain;
use keelson_apiserver::{ApiServer, Config, HttpOptions, ServiceResolver, in_process_client};
use keelson_auth::{
    UserInfo,
    authn::token::DEFAULT_ISSUER,
    authz::Authorizer,
    pki::{self, InitConfig, names},
};
use keelson_registry::{KindTable, Registry, RegistryConfig};
use keelson_store::model::Model;
use keelson_webhook::{Client, Identity, Transport};
use std::{
    cell::RefCell,
    sync::{Arc, LazyLock},
    time::Duration,
};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// A server answers so many, then the next one starts empty: what a fault was made of stays near.
const REQUESTS_PER_SERVER: u32 = 500;
/// Watches are looked at so long.
const WATCHED_FOR: Duration = Duration::from_millis(2);
/// An answer that takes longer is a loop.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

thread_local! {
    static SERVED: RefCell<Option<Served>> = const { RefCell::new(None) };
}

/// Between requests: in no text.
const PARTED_BY: u8 = 0xff;

/// Requests one after another: a line `METHOD PATH`, lines of headers, an empty line, the body.
pub fn run(data: &[u8]) {
    let mut requests = Vec::new();
    for text in data.split(|byte| *byte == PARTED_BY) {
        requests.extend(parse(text));
    }
    SERVED.with_borrow_mut(|served| {
        for request in requests {
            let fresh = served.take().filter(|served| served.left > 0);
            let served = served.insert(fresh.unwrap_or_else(Served::new));
            served.left -= 1;
            served.answer(request);
        }
    });
}

fn parse(text: &[u8]) -> Option<Request<Vec<u8>>> {
    let end = text.windows(2).position(|two| two == b"\n\n");
    let (head, body) = end.map_or((text, &[][..]), |end| (&text[..end], &text[end + 2..]));
    let mut lines = str::from_utf8(head).ok()?.lines();
    let (method, path) = lines.next()?.split_once(' ')?;
    let mut request = Request::new(body.to_vec());
    *request.method_mut() = Method::from_bytes(method.as_bytes()).ok()?;
    *request.uri_mut() = path.parse::<Uri>().ok()?;
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        request.headers_mut().append(name, HeaderValue::from_str(value).ok()?);
    }
    Some(request)
}

/// A server with the admission that it has in earnest, and its client.
struct Served {
    runtime: Runtime,
    client: kube::Client,
    stop: CancellationToken,
    left: u32,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

static KEYS: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder for keys");
    let init = InitConfig {
        data: folder.path().to_owned(),
        advertise: vec!["127.0.0.1".parse().expect("an address")],
        port: 6443,
        service_addresses: vec!["10.96.0.1".parse().expect("an address")],
        cluster_domain: "cluster.local".to_owned(),
    };
    pki::init(&init, time::OffsetDateTime::now_utc()).expect("keys can be made");
    folder
});

impl Served {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let stop = CancellationToken::new();
        let client = runtime.block_on(client(stop.clone()));
        Self { runtime, client, stop, left: REQUESTS_PER_SERVER }
    }

    fn answer(&self, request: Request<Vec<u8>>) {
        let what = format!("{} {}", request.method(), request.uri());
        // Nobody takes the steps of a start here, which is 500 where it is asked for.
        let asks_for_health =
            ["/healthz", "/livez", "/readyz"].iter().any(|path| request.uri().path().starts_with(path));
        let answered = async {
            let response =
                self.client.send(request.map(kube::client::Body::from)).await.expect("no refusals");
            let status = response.status();
            let body = tokio::time::timeout(WATCHED_FOR, response.into_body().collect()).await;
            (status, body.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes))
        };
        let answered = self.runtime.block_on(async { tokio::time::timeout(ANSWERED_WITHIN, answered).await });
        let (status, body) = answered.unwrap_or_else(|_| panic!("{what}: no answer"));
        let body = body.unwrap_or_default();
        let body = String::from_utf8_lossy(&body);
        let is_broken = status == StatusCode::INTERNAL_SERVER_ERROR && !body.is_empty();
        assert!(asks_for_health || !is_broken, "{what}: {body}");
    }
}

async fn client(stop: CancellationToken) -> kube::Client {
    let read = |name| std::fs::read_to_string(names::pki_file(KEYS.path(), name)).expect("a key");
    let ranges = RegistryConfig {
        service_cidrs: vec!["10.96.0.0/16".parse().expect("a range")],
        ..RegistryConfig::default()
    };
    let registry = Registry::open(Arc::new(Model::default()), KindTable::builtin(), ranges).await;
    let registry = registry.expect("an empty store");
    let proxy =
        Identity::from_pem(&read(names::FRONT_PROXY_CLIENT_CERT), &read(names::FRONT_PROXY_CLIENT_KEY));
    let calls = Arc::new(Transport::new(ServiceResolver::over(&registry), Some(proxy.expect("an identity"))));
    let authorizer = Arc::new(Authorizer::new());
    let told = keelson_admission::Config::default();
    let admission = Chain::over(&registry, authorizer.clone(), told, Client::new(calls.clone()));
    registry.set_admission(admission.clone());
    let config = Config {
        advertise: "127.0.0.1:6443".to_owned(),
        issuer: DEFAULT_ISSUER.to_owned(),
        api_audiences: Vec::new(),
        token_webhook: None,
        auditor: None,
        service_account_key_pem: read(names::SERVICE_ACCOUNT_KEY),
        service_account_public_pem: read(names::SERVICE_ACCOUNT_PUBLIC),
        cluster_ca_pem: read(names::CA_CERT),
        kubelet_client_cert_pem: read(names::KUBELET_CLIENT_CERT),
        kubelet_client_key_pem: read(names::KUBELET_CLIENT_KEY),
        front_proxy_ca_pem: read(names::FRONT_PROXY_CA_CERT),
        calls,
        seats: 600,
        request_timeout: Duration::from_secs(1),
        http: HttpOptions::default(),
    };
    let server = ApiServer::new(registry, admission, authorizer, config, stop).expect("a server");
    server.mark_started();
    in_process_client(&server, UserInfo::authenticated("root", ["system:masters"]), "fuzz")
}
