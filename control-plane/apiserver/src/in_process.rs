//! `kube::Client` without a socket: the same pipeline as over TLS, with an identity that only this constructor can give.

use crate::{identity::Caller, server::ApiServer, wire::Body};
use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response, header::USER_AGENT};
use http_body_util::BodyExt;
use keelson_auth::UserInfo;
use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

/// A client that acts as `user`, and as program goes by the name of `agent`, which is who owns the fields that it
/// writes. Authentication is what it skips; authorisation and admission apply.
pub fn in_process_client(server: &ApiServer, user: UserInfo, agent: &'static str) -> kube::Client {
    let service = InProcess { server: server.clone(), user: Arc::new(user), agent };
    kube::Client::new(service, "default")
}

#[derive(Clone)]
struct InProcess {
    server: ApiServer,
    user: Arc<UserInfo>,
    agent: &'static str,
}

impl tower::Service<Request<kube::client::Body>> for InProcess {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let InProcess { server, user, agent } = self.clone();
        Box::pin(async move {
            let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
            request.headers_mut().entry(USER_AGENT).or_insert(HeaderValue::from_static(agent));
            Ok(server.answer(Caller::InProcess(user), request).await)
        })
    }
}
