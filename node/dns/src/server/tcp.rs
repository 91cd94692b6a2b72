//! Queries over TCP, several at once on a connection, answered as they are ready (RFC 7766).

use super::{
    framed,
    handler::{Handler, Taken},
};
use crate::{message::Transport, metrics::Fault};
use bytes::Bytes;
use futures::{Sink, SinkExt, StreamExt, stream::FuturesUnordered};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Connections at once; one more is closed.
pub(super) const CONNECTIONS_MAX: usize = 256;
/// Queries of one connection that may wait for other servers; then no more are read from it.
const PIPELINED_MAX: usize = 16;
/// A client that says nothing, or takes nothing, for this long is closed.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// When no connection can be taken, for want of descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn serve(
    listener: TcpListener,
    handler: Arc<Handler>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "taking a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = connections.clone().try_acquire_owned() else {
            handler.metrics.fault(Fault::Connections);
            continue;
        };
        let (handler, shutdown) = (handler.clone(), shutdown.clone());
        tasks.spawn(async move {
            if let Err(error) = connection(stream, &handler, &shutdown).await {
                tracing::debug!(%error, "a client's connection ended");
            }
            drop(permit);
        });
    }
}

async fn connection(stream: TcpStream, handler: &Handler, shutdown: &CancellationToken) -> io::Result<()> {
    let (mut answers, mut queries) = framed(stream).split();
    let mut waiting = FuturesUnordered::new();
    loop {
        tokio::select! {
            query = timeout(IDLE_MAX, queries.next()), if waiting.len() < PIPELINED_MAX => {
                let Ok(Some(query)) = query else { break };
                match handler.take(&query?, Transport::Tcp) {
                    Taken::Answered(answer) => send(&mut answers, handler, answer).await?,
                    Taken::Waits(query) => waiting.push(handler.finish(*query)),
                }
            }
            Some(answer) = waiting.next() => send(&mut answers, handler, answer).await?,
            () = shutdown.cancelled() => break,
        }
    }
    while let Some(answer) = waiting.next().await {
        send(&mut answers, handler, answer).await?;
    }
    Ok(())
}

async fn send(
    answers: &mut (impl Sink<Bytes, Error = io::Error> + Unpin),
    handler: &Handler,
    answer: Option<Vec<u8>>,
) -> io::Result<()> {
    let Some(answer) = answer else { return Ok(()) };
    let sent = timeout(IDLE_MAX, answers.send(answer.into())).await;
    let sent = sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    sent.inspect_err(|_| handler.metrics.fault(Fault::Unsent))
}
