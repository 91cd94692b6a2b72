//! From a patch to its event at each of many watchers.

use super::{
    http::{self, Body, Connection, Endpoint},
    objects,
};
use crate::percentile;
use anyhow::{Context, Result};
use futures::future::{try_join, try_join_all};
use std::{
    cell::{Cell, RefCell},
    time::Instant,
};
use tokio::sync::Notify;

const WATCHERS: usize = 50;
const PATCHES: usize = 300;

/// Reports p50 and p99 over all watchers and patches.
pub(super) async fn measure(
    endpoint: &Endpoint,
    pods: usize,
    mut add: impl FnMut(&str, f64, String),
) -> Result<()> {
    let mut writer = endpoint.connect().await?;
    // It makes every watch begin after a revision that is known: that of this pod, which nobody else changes.
    let revision = change(&mut writer, 0, "first").await?;
    let mut watchers = Vec::with_capacity(WATCHERS);
    for _ in 0..WATCHERS {
        watchers.push(Watcher::open(endpoint, &revision).await?);
    }
    let round = Round::default();
    let writing = async {
        for number in 0..PATCHES {
            round.begin();
            change(&mut writer, objects::scattered(number, pods), &number.to_string()).await?;
            round.ended().await;
        }
        Ok(())
    };
    try_join(writing, try_join_all(watchers.iter_mut().map(|watcher| watcher.follow(&round)))).await?;
    let mut samples = round.samples_ms.take();
    let first = percentile(&mut round.first_ms.take(), 0.5);
    let note = format!("{WATCHERS} watchers, {PATCHES} patches, at the first of them {first:.1} ms");
    add("watch p50", percentile(&mut samples, 0.5), note.clone());
    add("watch p99", percentile(&mut samples, 0.99), note);
    Ok(())
}

/// One patch, and the watchers that have not seen it.
#[derive(Default)]
struct Round {
    began: Cell<Option<Instant>>,
    waiting: Cell<usize>,
    all: Notify,
    samples_ms: RefCell<Vec<f64>>,
    /// Of those that saw a patch first: what writing takes, and one delivery.
    first_ms: RefCell<Vec<f64>>,
}

impl Round {
    fn begin(&self) {
        self.waiting.set(WATCHERS);
        self.began.set(Some(Instant::now()));
    }

    fn seen(&self) {
        let took = self.began.get().map_or(f64::NAN, |began| began.elapsed().as_secs_f64() * 1e3);
        self.samples_ms.borrow_mut().push(took);
        if self.waiting.get() == WATCHERS {
            self.first_ms.borrow_mut().push(took);
        }
        self.waiting.set(self.waiting.get().saturating_sub(1));
        if self.waiting.get() == 0 {
            self.all.notify_one();
        }
    }

    async fn ended(&self) {
        while self.waiting.get() > 0 {
            self.all.notified().await;
        }
    }
}

struct Watcher {
    connection: Connection,
    body: Body,
}

impl Watcher {
    async fn open(endpoint: &Endpoint, revision: &str) -> Result<Watcher> {
        let mut connection = endpoint.connect().await?;
        let path = objects::collection(&format!("?watch=true&resourceVersion={revision}"));
        connection.send(&http::request("GET", &path, "")).await?;
        let body = connection.head(200).await?;
        Ok(Watcher { connection, body })
    }

    /// An event is a line.
    async fn follow(&mut self, round: &Round) -> Result<()> {
        let mut seen = 0;
        while seen < PATCHES {
            let data = self.body.next(&mut self.connection).await?.context("a watch ended")?;
            for _ in data.iter().filter(|byte| **byte == b'\n') {
                seen += 1;
                round.seen();
            }
        }
        Ok(())
    }
}

/// Patches a pod; its resourceVersion.
async fn change(connection: &mut Connection, pod: usize, value: &str) -> Result<String> {
    let body = format!(r#"{{"metadata":{{"annotations":{{"changed":"{value}"}}}}}}"#);
    let request = http::patch(&objects::item(pod, ""), "application/merge-patch+json", &body);
    connection.send(&request).await?;
    let mut answer = connection.head(200).await?;
    let mut text = Vec::new();
    while let Some(data) = answer.next(connection).await? {
        text.extend_from_slice(data);
    }
    let pod: serde_json::Value = serde_json::from_slice(&text).context("a pod")?;
    Ok(pod["metadata"]["resourceVersion"].as_str().context("a pod without resourceVersion")?.to_owned())
}
