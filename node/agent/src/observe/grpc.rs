//! The observer's contract as gRPC, on a Unix socket that root alone may open.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use anyhow::Context;
use futures::Stream;
use keelson_observer as proto;
use keelson_observer::observer_server::{Observer as Contract, ObserverServer};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{Observer, PathError};

/// Listens; serves in a task until `shutdown`.
pub(crate) fn serve(observer: Observer, socket: PathBuf, shutdown: CancellationToken) -> anyhow::Result<()> {
    let listener = listen(&socket).with_context(|| format!("listening on {}", socket.display()))?;
    tokio::spawn(async move {
        let served = tonic::transport::Server::builder()
            .add_service(ObserverServer::new(observer))
            .serve_with_incoming_shutdown(UnixListenerStream::new(listener), shutdown.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(error = &error as &dyn std::error::Error, "the observer's server ended");
        }
    });
    Ok(())
}

fn listen(socket: &Path) -> std::io::Result<UnixListener> {
    // A socket left by a daemon that was killed: nobody listens on it, binding needs it away.
    match std::fs::remove_file(socket) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn failed(error: keelson_dataplane::Error) -> Status {
    let text = format!("{:#}", anyhow::Error::new(error));
    Status::internal(text)
}

#[tonic::async_trait]
impl Contract for Observer {
    type FlowsStream = Pin<Box<dyn Stream<Item = Result<proto::Flow, Status>> + Send>>;

    async fn services(
        &self,
        _request: Request<proto::ServicesRequest>,
    ) -> Result<Response<proto::ServicesReply>, Status> {
        self.services().await.map(Response::new).map_err(failed)
    }

    async fn flows(
        &self,
        request: Request<proto::FlowsRequest>,
    ) -> Result<Response<Self::FlowsStream>, Status> {
        let flows = self.flows(request.into_inner()).map_err(failed)?;
        let stream = futures::stream::unfold(flows, async |mut flows| Some((Ok(flows.next().await?), flows)));
        Ok(Response::new(Box::pin(stream)))
    }

    async fn status(
        &self,
        _request: Request<proto::StatusRequest>,
    ) -> Result<Response<proto::StatusReply>, Status> {
        self.status().await.map(Response::new).map_err(failed)
    }

    async fn trace(
        &self,
        request: Request<proto::TraceRequest>,
    ) -> Result<Response<proto::TraceReply>, Status> {
        Ok(Response::new(self.trace(request.get_ref())))
    }

    async fn path(&self, request: Request<proto::PathRequest>) -> Result<Response<proto::PathReply>, Status> {
        self.path(request.get_ref()).await.map(Response::new).map_err(|error| match error {
            PathError::Address { .. } | PathError::Protocol { .. } | PathError::Port { .. } => {
                Status::invalid_argument(error.to_string())
            }
            PathError::Routes(_) => Status::internal(format!("{:#}", anyhow::Error::new(error))),
            PathError::Tables(error) => failed(error),
        })
    }
}
