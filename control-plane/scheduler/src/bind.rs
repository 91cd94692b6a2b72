//! Telling the server: bindings, and what stands in the way of pods that have no node.

use crate::{
    Scheduler,
    cluster::PodInfo,
    decide::Diagnosis,
    metrics::{Attempt, Outcome},
    watch::POD_DELETE,
};
use keelson_harness::{
    ApiError, Timestamp,
    api::{PODS, PatchKind, chain},
    views::MetaOnly,
};
use serde_json::{Value, json};
use std::sync::Arc;

impl Scheduler {
    /// POSTs the binding. What fails is forgotten, so that the next decision sees the node as it was.
    pub(crate) async fn bind(&self, pod: &PodInfo, node: &Arc<str>, attempt: &Attempt) {
        let meta = &pod.pod.metadata;
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let result = self.api.create_sub(&PODS, Some(&meta.namespace), &meta.name, "binding", &binding).await;
        match result {
            Ok(()) => {
                self.queue.remove(&meta.uid);
                attempt.succeeded();
                self.attempts.ended(Outcome::Scheduled, attempt.began);
                let message = format!("Successfully assigned {} to {node}", meta.key());
                self.recorder.normal(&PODS, meta, "Scheduled", message);
            }
            Err(error) => {
                self.attempts.ended(Outcome::Error, attempt.began);
                self.bind_failed(pod, &error);
            }
        }
    }

    fn bind_failed(&self, pod: &PodInfo, error: &ApiError) {
        let meta = &pod.pod.metadata;
        self.cache.lock().forget(&meta.uid);
        self.queue.event(crate::plugins::Plugins::ALL, POD_DELETE);
        if error.is_not_found() && error.message().contains("pods") {
            // The pod is gone; the watch will say so too.
            self.queue.remove(&meta.uid);
            return;
        }
        tracing::warn!(pod = %meta.key(), error = chain(error), "binding failed");
        self.queue.failed(&meta.uid);
        let message = format!("binding rejected: {}", error.message());
        self.recorder.warning(&PODS, meta, "FailedScheduling", message);
    }

    /// The event, and the condition PodScheduled unless it says so already.
    pub(crate) async fn report(&self, pod: &PodInfo, diagnosis: &Diagnosis) {
        let meta = &pod.pod.metadata;
        self.recorder.warning(&PODS, meta, "FailedScheduling", diagnosis.message.clone());
        let current = self.pods.get(&meta.key()).and_then(|p| p.status.scheduled.clone());
        let says = current
            .is_some_and(|c| !c.is_true && *c.reason == *UNSCHEDULABLE && *c.message == *diagnosis.message);
        if says {
            return;
        }
        let result = self
            .api
            .patch::<MetaOnly>(
                &PODS,
                Some(&meta.namespace),
                &meta.name,
                Some("status"),
                PatchKind::Strategic,
                &json!({
                    "metadata": {"uid": meta.uid},
                    "status": {"conditions": [condition(&diagnosis.message)]},
                }),
            )
            .await;
        if let Err(error) = result {
            tracing::debug!(pod = %meta.key(), error = chain(&error), "the condition PodScheduled was not written");
        }
    }
}

const UNSCHEDULABLE: &str = "Unschedulable";

fn condition(message: &str) -> Value {
    json!({"type": "PodScheduled", "status": "False", "reason": UNSCHEDULABLE, "message": message,
           "lastTransitionTime": Timestamp::now()})
}
