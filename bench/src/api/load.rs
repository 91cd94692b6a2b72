//! A closed loop: each connection sends its next request when the last one is answered.

use super::http::Connection;
use crate::percentile;
use anyhow::Result;
use futures::future::try_join_all;
use std::{cell::Cell, time::Instant};

/// What came of it.
pub(super) struct Outcome {
    pub(super) requests: usize,
    seconds: f64,
    /// Of each request.
    samples_ms: Vec<f64>,
}

impl Outcome {
    pub(super) fn per_second(&self) -> f64 {
        self.requests as f64 / self.seconds
    }

    pub(super) fn p50_ms(&self) -> f64 {
        percentile(&mut self.samples_ms.clone(), 0.5)
    }

    pub(super) fn p99_ms(&self) -> f64 {
        percentile(&mut self.samples_ms.clone(), 0.99)
    }
}

/// Sends the requests 0 to `requests`, each as `make` has it; each must be answered with `code`.
pub(super) async fn run(
    connections: &mut [Connection],
    requests: usize,
    code: u16,
    make: impl Fn(usize) -> Vec<u8>,
) -> Result<Outcome> {
    let (next, make) = (&Cell::new(0), &make);
    let start = Instant::now();
    let samples = try_join_all(connections.iter_mut().map(|connection| async move {
        let mut samples = Vec::with_capacity(requests / 32);
        while next.get() < requests {
            let request = make(next.replace(next.get() + 1));
            let sent = Instant::now();
            connection.ask(&request, code).await?;
            samples.push(sent.elapsed().as_secs_f64() * 1e3);
        }
        anyhow::Ok(samples)
    }))
    .await?
    .concat();
    Ok(Outcome { requests, seconds: start.elapsed().as_secs_f64(), samples_ms: samples })
}
