//! How long a pod takes from its creation to Ready, as a client sees it: by a watch opened before.

use crate::percentile;
use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Namespace as ApiNamespace, Pod, ServiceAccount};
use keelson_tests::figures::Report;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams},
    runtime::{conditions, wait::await_condition},
};
use serde_json::json;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// Pods that are made one after another.
const SERIAL_PODS: usize = 20;
/// Pods that are made at once.
const BURST_PODS: usize = 30;
/// A run in which a pod takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// A namespace for the length of a run.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    pub(crate) async fn create(client: &Client) -> Result<Namespace> {
        let name = format!("bench-{}", std::process::id());
        let object = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        Api::<ApiNamespace>::all(client.clone()).create(&PostParams::default(), &object).await?;
        // Admission refuses pods until the namespace's ServiceAccount is there.
        let accounts = Api::<ServiceAccount>::namespaced(client.clone(), &name);
        let there =
            await_condition(accounts, "default", |account: Option<&ServiceAccount>| account.is_some());
        tokio::time::timeout(PATIENCE, there).await.context("waiting for the default ServiceAccount")??;
        Ok(Namespace { name })
    }

    pub(crate) async fn delete(&self, client: &Client) -> Result<()> {
        Api::<ApiNamespace>::all(client.clone()).delete(&self.name, &DeleteParams::default()).await?;
        Ok(())
    }

    pub(crate) fn pods(&self, client: &Client) -> Api<Pod> {
        Api::namespaced(client.clone(), &self.name)
    }
}

fn pod(name: &str) -> Result<Pod> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "main", "image": "busybox:1.35", "imagePullPolicy": "IfNotPresent", "command": ["sleep", "1000000"],
            }],
        },
    }))?)
}

/// Makes the named pods at once and waits until all are Ready; answers the seconds.
pub(crate) async fn until_ready(pods: &Api<Pod>, names: &[String]) -> Result<f64> {
    let version = pods.list_metadata(&ListParams::default().limit(1)).await?.metadata.resource_version;
    let version = version.context("a list without resourceVersion")?;
    let mut events =
        pods.watch(&WatchParams::default().timeout(PATIENCE.as_secs() as u32), &version).await?.boxed();
    let start = Instant::now();
    let objects = names.iter().map(|name| pod(name)).collect::<Result<Vec<_>>>()?;
    let params = PostParams::default();
    let creates = futures::future::try_join_all(objects.iter().map(|pod| pods.create(&params, pod)));
    let mut waiting: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let ready = async {
        while let Some(event) = events.try_next().await? {
            if let WatchEvent::Modified(pod) = event
                && is_ready(&pod)
                && waiting.remove(pod.name_any().as_str())
                && waiting.is_empty()
            {
                return Ok(start.elapsed().as_secs_f64());
            }
        }
        bail!("not Ready after {PATIENCE:?}: {waiting:?}")
    };
    let (_, seconds) = tokio::try_join!(async { creates.await.map_err(anyhow::Error::from) }, ready)?;
    Ok(seconds)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Deletes the named pods and waits until they are gone.
pub(crate) async fn until_gone(pods: &Api<Pod>, names: &[String]) -> Result<()> {
    for name in names {
        let Some(uid) = pods.get(name).await?.metadata.uid else { bail!("pod {name} has no uid") };
        pods.delete(name, &DeleteParams::default()).await?;
        let gone = await_condition(pods.clone(), name, conditions::is_deleted(&uid));
        tokio::time::timeout(PATIENCE, gone).await.with_context(|| format!("waiting for {name} to go"))??;
    }
    Ok(())
}

pub(crate) async fn measure(client: &Client, namespace: &Namespace, report: &mut Report) -> Result<()> {
    let pods = namespace.pods(client);
    let mut samples = Vec::new();
    for number in 0..SERIAL_PODS {
        let names = [format!("serial-{number}")];
        samples.push(until_ready(&pods, &names).await? * 1e3);
        until_gone(&pods, &names).await?;
    }
    let note = format!("{SERIAL_PODS} pods, image present");
    report.add("pod create to Ready, one after another, p50", percentile(&mut samples, 0.5), "ms", &note);
    report.add("pod create to Ready, one after another, p90", percentile(&mut samples, 0.9), "ms", &note);
    let names: Vec<String> = (0..BURST_PODS).map(|number| format!("burst-{number}")).collect();
    let seconds = until_ready(&pods, &names).await?;
    report.add("30 pods at once, until all Ready", seconds, "s", "");
    until_gone(&pods, &names).await
}
