//! How requests are served and how the server goes: the options of upstream's that are about HTTP and the end.

use crate::serve::duration;
use anyhow::ensure;
use clap::Args;
use keelson_apiserver::{ApiServer, HttpOptions};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// More would have clients do nothing but connect, as upstream.
const GOAWAY_CHANCE_MAX: f64 = 0.02;

/// The options of `serve`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServingArgs {
    /// Requests that are neither watches nor streams end after this (e.g. 60s), or after what they ask for with
    /// `?timeout=`, where that is less.
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub(crate) request_timeout: Duration,
    /// Requests that one HTTP/2 connection may have under way; 0 for the default, 250.
    #[arg(long, default_value_t = 0)]
    http2_max_streams_per_connection: u32,
    /// How likely it is that a client is told, with the answer to a request over HTTP/2, to open another connection: several
    /// servers behind a load balancer then share clients evenly (e.g. 0.001 for one in a thousand; 0.02 at most).
    #[arg(long, default_value_t = 0.0)]
    goaway_chance: f64,
    /// How long requests are answered as ever after SIGTERM, while /readyz fails already: as long as load balancers need to
    /// see that (e.g. 20s). A second signal ends the wait.
    #[arg(long, default_value = "0s", value_parser = duration)]
    shutdown_delay_duration: Duration,
}

impl ServingArgs {
    /// Refuses what makes no sense.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.request_timeout.is_zero(), "--request-timeout must be more than 0");
        ensure!(
            (0.0..=GOAWAY_CHANCE_MAX).contains(&self.goaway_chance),
            "--goaway-chance can not be less than 0 or greater than {GOAWAY_CHANCE_MAX}"
        );
        Ok(())
    }

    /// How long requests are answered after the first signal.
    pub(crate) fn shutdown_delay_duration(&self) -> Duration {
        self.shutdown_delay_duration
    }

    /// What the API server is told of HTTP.
    pub(crate) fn http(&self) -> HttpOptions {
        HttpOptions {
            streams_per_connection_max: self.http2_max_streams_per_connection,
            goaway_chance: self.goaway_chance,
        }
    }
}

/// SIGTERM and SIGINT.
pub(crate) struct Signals {
    term: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on they do not end the process by themselves.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Cancels `stop` on the first signal, after the delay.
    pub(crate) async fn stop_on(
        mut self,
        server: Option<ApiServer>,
        delay: Duration,
        stop: CancellationToken,
    ) {
        self.next().await;
        if let Some(server) = server.filter(|_| !delay.is_zero()) {
            server.leave();
            tracing::info!(
                delay_s = delay.as_secs_f64(),
                "about to stop: /readyz fails, requests are answered"
            );
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = self.next() => {}
                () = stop.cancelled() => {}
            }
        }
        tracing::info!("stopping");
        stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        serving: ServingArgs,
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let rows = [
            ("", true),
            ("--goaway-chance 0.02 --http2-max-streams-per-connection 7", true),
            ("--goaway-chance 0.03", false),
            ("--goaway-chance=-0.1", false),
            ("--request-timeout 0s", false),
        ];
        for (text, good) in rows {
            let line = Line::parse_from(std::iter::once("serve").chain(text.split_whitespace()));
            assert_eq!(line.serving.check().is_ok(), good, "{text}");
        }
    }
}
