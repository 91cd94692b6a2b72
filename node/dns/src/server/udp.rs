//! Queries over UDP. What is known is answered where it is read; what others must be asked waits in a task of its own.

use super::handler::{Handler, Taken};
use crate::{message::Transport, metrics::Fault};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::net::UdpSocket;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Bytes of a query; longer ones are cut by the kernel, and then malformed.
const QUERY_BYTES_MAX: usize = 4096;
/// At the end: what was queued before the socket was closed to others is there by then.
const QUEUE_MAX: Duration = Duration::from_millis(50);

pub(super) async fn serve(
    socket: UdpSocket,
    handler: Arc<Handler>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
) {
    let socket = Arc::new(socket);
    let mut buffer = vec![0; QUERY_BYTES_MAX];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            () = shutdown.cancelled() => break,
        };
        match received {
            Ok((length, client)) => take(&socket, &handler, &tasks, &buffer[..length], client).await,
            // It concerns an earlier answer (an ICMP error); the socket goes on.
            Err(error) => {
                tracing::debug!(%error, "receiving a query");
                tokio::task::yield_now().await;
            }
        }
    }
    // Connected to itself the socket gets nothing more: the kernel gives new queries to the successor's alone. What it was
    // given before would be lost with it.
    let closed = match socket.local_addr() {
        Ok(own) => socket.connect(own).await,
        Err(error) => Err(error),
    };
    if let Err(error) = closed {
        tracing::warn!(%error, "queries that are queued may be lost");
    }
    while let Ok(Ok((length, client))) = tokio::time::timeout(QUEUE_MAX, socket.recv_from(&mut buffer)).await
    {
        take(&socket, &handler, &tasks, &buffer[..length], client).await;
    }
}

async fn take(
    socket: &Arc<UdpSocket>,
    handler: &Arc<Handler>,
    tasks: &TaskTracker,
    query: &[u8],
    client: SocketAddr,
) {
    match handler.take(query, Transport::Udp) {
        Taken::Answered(answer) => send(socket, handler, answer.as_deref(), client).await,
        Taken::Waits(waiting) => {
            let (socket, handler) = (socket.clone(), handler.clone());
            tasks.spawn(async move {
                let answer = handler.finish(*waiting).await;
                send(&socket, &handler, answer.as_deref(), client).await;
            });
        }
    }
}

async fn send(socket: &UdpSocket, handler: &Handler, answer: Option<&[u8]>, client: SocketAddr) {
    let Some(answer) = answer else { return };
    if let Err(error) = socket.send_to(answer, client).await {
        tracing::debug!(%client, %error, "sending an answer");
        handler.metrics.fault(Fault::Unsent);
    }
}
