//! What scheduler and controllers show of themselves where no API server is in their process: health, metrics, configuration.
//!
//! HTTPS as the API server's own; who asks and whether he may is asked of the API server ([`delegated`]), but health is for
//! everybody. Source of paths and rules: kube-scheduler's and kube-controller-manager's secure port.

mod delegated;

use crate::{
    authorization,
    health::{Health, Scope},
    request::{accept::Accepted, info::RequestInfo, query::Query},
    response::{Answer, Finish, finish},
    server::SetupError,
    version,
    wire::{
        Body, HttpOptions,
        peer::Peer,
        serve::{self, Handler},
        tls,
    },
};
use arc_swap::ArcSwap;
use delegated::Delegated;
use http::{Method, Request, Response, StatusCode, request::Parts};
use keelson_auth::authz::Attributes;
use keelson_metrics::Group;
use keelson_registry::status::{GroupResource, Status};
use serde_json::Value;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Paths that everybody may ask for (the default of upstream's `--authorization-always-allow-paths`).
const OPEN: [&str; 3] = ["/healthz", "/livez", "/readyz"];

/// What is served.
pub struct ComponentConfig {
    /// Reviews tokens and access, as the component's own user.
    pub client: kube::Client,
    /// Told at `/configz`.
    pub configuration: Value,
    /// Told at `/healthz` and its kin, after `ping`.
    pub checks: Vec<ComponentCheck>,
}

/// A check of a component's health.
pub struct ComponentCheck {
    /// As it is told.
    pub name: &'static str,
    /// At `/readyz` alone, or at `/healthz` too; at `/livez` there is only `ping`.
    pub readiness_only: bool,
    /// Err says what is wrong.
    pub check: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
}

/// What is shown and believed in TLS, all PEM.
pub struct ComponentTls {
    /// What clients see.
    pub cert_pem: String,
    /// Its key.
    pub key_pem: String,
    /// Verifies client certificates.
    pub client_ca_pem: String,
    /// Verifies those of front proxies; none are believed without.
    pub front_proxy_ca_pem: Option<String>,
}

/// The server of a component: cheap to clone.
#[derive(Clone)]
pub struct ComponentServer(Arc<Inner>);

struct Inner {
    delegated: Delegated,
    configuration: Value,
    health: Health,
}

impl ComponentServer {
    /// Nothing is asked of anybody yet.
    pub fn new(config: ComponentConfig) -> Self {
        let mut health = Health::default();
        health.now("ping", Scope::Everywhere, || Ok(()));
        for ComponentCheck { name, readiness_only, check } in config.checks {
            let scope = if readiness_only { Scope::Readiness } else { Scope::ButLiveness };
            health.now(name, scope, check);
        }
        let (delegated, configuration) = (Delegated::new(config.client), config.configuration);
        Self(Arc::new(Inner { delegated, configuration, health }))
    }

    /// Serves TLS on the listeners until `shutdown`, then drains.
    ///
    /// # Errors
    /// A certificate or key that cannot be used.
    pub async fn serve(
        self,
        listeners: Vec<TcpListener>,
        tls: &ComponentTls,
        shutdown: CancellationToken,
    ) -> Result<(), SetupError> {
        let proxies = tls.front_proxy_ca_pem.as_deref();
        let tls = tls::server(&tls.cert_pem, &tls.key_pem, &tls.client_ca_pem, proxies)?;
        let tls = Arc::new(ArcSwap::from_pointee(tls));
        serve::serve(listeners, tls, HttpOptions::default(), self, shutdown).await;
        Ok(())
    }

    async fn answer(&self, peer: &Peer, request: &Parts) -> Result<Answer, Status> {
        let query = Query::parse(request.uri.query().unwrap_or_default());
        let info = RequestInfo::parse(&request.method, request.uri.path(), &query)
            .map_err(|error| Status::bad_request(error.to_string()))?;
        let user = self.0.delegated.identify(peer, &request.headers).await?;
        if !OPEN.contains(&info.path.as_str()) {
            // There are no resources here, whatever the path looks like.
            let attributes = Attributes::path(&user, &info.verb, &info.path);
            let verdict = self.0.delegated.decide(&attributes).await;
            authorization::judged(&info, &attributes, &verdict)?;
        }
        if !matches!(request.method, Method::GET | Method::HEAD) {
            let nothing = GroupResource::new("", "");
            return Err(Status::method_not_allowed(&nothing, request.method.as_str()));
        }
        self.0.told(&info.path, &query).await.ok_or_else(Status::no_such_path)
    }
}

impl Inner {
    async fn told(&self, path: &str, query: &Query) -> Option<Answer> {
        if let Some(answer) = self.health.answer(path, query).await {
            return Some(answer);
        }
        let metrics = |text| Answer::bytes(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text);
        let mut text = String::new();
        match path {
            "/metrics" => {
                Group::process().render(&mut text);
                version::render(&mut text);
                self.health.render(&mut text);
                Some(metrics(text))
            }
            "/metrics/slis" => {
                self.health.render(&mut text);
                Some(metrics(text))
            }
            "/configz" => {
                Some(Answer::bytes(StatusCode::OK, "application/json", self.configuration.to_string()))
            }
            _ => None,
        }
    }
}

impl Handler for ComponentServer {
    async fn handle(&self, peer: Arc<Peer>, request: Request<Body>) -> Response<Body> {
        // Nobody reads a body here.
        let (request, _body) = request.into_parts();
        let answer = match self.answer(&peer, &request).await {
            Ok(answer) => answer,
            Err(status) => Answer::failure(&status, Accepted::JSON),
        };
        let head = request.method == Method::HEAD;
        let audit_id = uuid::Uuid::new_v4().to_string();
        finish(answer, &Finish { gzip: false, head, audit_id: &audit_id, warnings: &[] })
    }
}
