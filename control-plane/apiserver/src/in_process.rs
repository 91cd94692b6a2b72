//! `kube::Client` without a socket: the same pipeline as over TLS, with an identity that only this constructor can give.

use crate::{identity::Caller, server::ApiServer, wire::Body};
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;
use keelson_auth::UserInfo;
use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

/// A client that acts as `user`. Authentication is what it skips; authorisation and admission apply.
pub fn in_process_client(server: &ApiServer, user: UserInfo) -> kube::Client {
    let service = InProcess { server: server.clone(), user: Arc::new(user) };
    kube::Client::new(service, "default")
}

#[derive(Clone)]
struct InProcess {
    server: ApiServer,
    user: Arc<UserInfo>,
}

impl tower::Service<Request<kube::client::Body>> for InProcess {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let InProcess { server, user } = self.clone();
        Box::pin(async move {
            let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
            Ok(server.answer(Caller::InProcess(user), request).await)
        })
    }
}
