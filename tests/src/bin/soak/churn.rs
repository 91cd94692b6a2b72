//! Churn: Services, Deployments and pods come and go as fast as the API takes it, around a Service that stays.
//!
//! Promises: no request to that Service fails; in the end no sandbox, folder, address, link or map entry is left of what went;
//! the processes have not grown.

use crate::{Run, kept, memory, steady};
use anyhow::{Context, Result, ensure};
use keelson_tests::{Cluster, Namespace, PATIENCE, api, eventually, figures::Report, manifest};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Pods of the churn at one time, over three nodes on two cores.
const PODS_MAX: usize = 12;
/// Services without pods at one time.
const SERVICES_MAX: usize = 50;
/// Workers of each kind.
const SERVICE_WORKERS: u64 = 1;
const DEPLOYMENT_WORKERS: u64 = 2;
const POD_WORKERS: u64 = 1;
/// Between two lines of progress.
const SAID_EVERY: Duration = Duration::from_secs(15);
/// Until everything of the churn is gone: pods end, slices follow, nodes clean up.
const GONE_MAX: Duration = Duration::from_secs(120);

/// What was done so far.
#[derive(Default)]
struct Done {
    services: AtomicU64,
    deployments: AtomicU64,
    pods: AtomicU64,
    calls: AtomicU64,
    /// The most connections that were seen remembered at one time, whose number in the end shows that none leaks.
    connections_most: AtomicU64,
}

/// Runs the scenario.
pub(crate) fn run(run: &Run, report: &mut Report) -> Result<()> {
    let cluster = Cluster::require()?;
    let memory_before = memory::idle()?;
    let kept_before = kept::by_nodes(&cluster)?;
    let namespace = Namespace::create("soak")?;
    steady::deploy(&namespace)?;
    let containers = steady::containers(&namespace)?;
    // That what is there is counted: the same count in the end then shows that nothing else is.
    eventually(PATIENCE, "the nodes keep what the API has", || {
        let kept = kept::exactly_what_is_wanted(&cluster, &kept_before)?;
        ensure!(kept.sandboxes == containers.len(), "{kept:?}");
        Ok(())
    })?;
    let load = steady::Load::start(&cluster, &namespace)?;
    let churned = Namespace::create("churn")?;
    // The time counts from here on.
    let run = Run { start: Instant::now(), ..*run };
    let done = Done::default();
    let workers = work(&run, &cluster, &churned, &done);
    churned.delete_and_wait(GONE_MAX)?;
    let requests = load.stop();
    workers?;
    let requests = requests?;
    requests.by_name.all_answered(1).context("by name, from a node")?;
    ensure!(
        steady::containers(&namespace)? == containers,
        "pods of the Service that nobody touches were replaced or restarted"
    );
    namespace.delete_and_wait(GONE_MAX)?;
    let kept = eventually(GONE_MAX, "nothing is left on the nodes", || {
        kept::exactly_what_is_wanted(&cluster, &kept_before)
    })?;

    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
    let minutes = run.length.as_secs_f64() / 60.0;
    let note = format!("in {minutes} min");
    report.add("churn: requests to the unchanged Service", requests.answered as f64, "", "none failed");
    report.add("churn: Services made and deleted", count(&done.services), "", &note);
    report.add("churn: Deployments made, scaled and deleted", count(&done.deployments), "", &note);
    report.add("churn: pods made and deleted by hand", count(&done.pods), "", &note);
    report.add("churn: writes", count(&done.calls) / run.length.as_secs_f64(), "1/s", "");
    let most = format!("at most {} were seen", count(&done.connections_most));
    let left = [
        ("sandboxes", kept.sandboxes, "no pod is left"),
        ("pods' folders", kept.folders, ""),
        ("addresses", kept.addresses, ""),
        ("links", kept.links, ""),
        ("Service ports in the kernel", kept.frontends, "those of the API, on three nodes"),
        ("remembered connections", kept.connections, most.as_str()),
    ];
    for (what, number, note) in left {
        report.add(format!("churn: {what} in the end"), number as f64, "", note);
    }
    memory::compare("churn", &memory_before, &memory::idle()?, report)
}

fn work(run: &Run, cluster: &Cluster, namespace: &Namespace, done: &Done) -> Result<()> {
    type Worker = fn(&Worked) -> Result<()>;
    let kinds: [(Worker, u64); 3] =
        [(services, SERVICE_WORKERS), (deployments, DEPLOYMENT_WORKERS), (pods, POD_WORKERS)];
    std::thread::scope(|scope| {
        let workers: Vec<_> = kinds
            .into_iter()
            .flat_map(|(worker, number)| (0..number).map(move |_| worker))
            .zip(0..)
            .map(|(worker, number)| scope.spawn(move || worker(&Worked { run, namespace, done, number })))
            .collect();
        while !run.is_over() && workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(SAID_EVERY.min(run.length.saturating_sub(run.start.elapsed())));
            let connections = kept::connections_now(cluster)? as u64;
            done.connections_most.fetch_max(connections, Ordering::Relaxed);
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            run.says(format!(
                "{} Services, {} Deployments, {} pods, {} writes",
                count(&done.services),
                count(&done.deployments),
                count(&done.pods),
                count(&done.calls)
            ));
        }
        workers.into_iter().try_for_each(|worker| worker.join().expect("workers answer errors"))
    })
}

/// What a worker works with.
struct Worked<'a> {
    run: &'a Run,
    namespace: &'a Namespace,
    done: &'a Done,
    number: u64,
}

impl Worked<'_> {
    /// Seeded by the run's seed and the worker's number: the same choices again, though not at the same moments.
    fn rng(&self) -> StdRng {
        StdRng::seed_from_u64(self.run.seed.wrapping_add(self.number))
    }

    fn create(&self, collection: &str, object: &Value) -> Result<()> {
        self.done.calls.fetch_add(1, Ordering::Relaxed);
        api::create(&self.namespace.path(collection), object).map(drop)
    }

    fn patch(&self, resource: &str, patch: &Value) -> Result<()> {
        self.done.calls.fetch_add(1, Ordering::Relaxed);
        let path = self.namespace.path(resource);
        let answer = api::send("PATCH", &path, "application/merge-patch+json", &patch.to_string())?;
        ensure!(answer.code == 200, "PATCH {path}: {} {}", answer.code, answer.message());
        Ok(())
    }

    fn delete(&self, resource: &str) -> Result<()> {
        self.done.calls.fetch_add(1, Ordering::Relaxed);
        api::delete(&self.namespace.path(resource))
    }

    /// Until there is room for more pods: an API takes pods faster than two cores start and end them.
    fn wait_for_room(&self) -> Result<()> {
        eventually(PATIENCE, "old pods go", || {
            let pods = self.namespace.list("pods", "")?.len();
            ensure!(pods < PODS_MAX, "{pods} pods are there");
            Ok(())
        })
    }
}

/// Services whose endpoints are written by hand: nothing but the API, the watches and the maps.
fn services(worked: &Worked) -> Result<()> {
    let mut rng = worked.rng();
    let mut living = VecDeque::new();
    for number in 0_u64.. {
        if worked.run.is_over() {
            break;
        }
        let name = format!("s{}-{number}", worked.number);
        worked.create(
            "services",
            &json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80, "targetPort": 8080}]}}),
        )?;
        worked.create("discovery.k8s.io/v1/endpointslices", &slice(&name, rng.random_range(1..=8)))?;
        living.push_back(name);
        let changed = &living[rng.random_range(0..living.len())];
        let resource = format!("discovery.k8s.io/v1/endpointslices/{changed}");
        worked.patch(&resource, &json!({"endpoints": endpoints(rng.random_range(0..=8))}))?;
        if living.len() > SERVICES_MAX
            && let Some(oldest) = living.pop_front()
        {
            worked.delete(&format!("services/{oldest}"))?;
            // Not by its Service: no controller collects a slice that it did not make.
            worked.delete(&format!("discovery.k8s.io/v1/endpointslices/{oldest}"))?;
            worked.done.services.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

fn slice(service: &str, endpoint_count: u8) -> Value {
    json!({
        "metadata": {"name": service, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints(endpoint_count),
    })
}

/// Of the range for documentation (RFC 5737): nobody connects to them.
fn endpoints(count: u8) -> Vec<Value> {
    (1..=count)
        .map(|n| json!({"addresses": [format!("192.0.2.{n}")], "conditions": {"ready": true}}))
        .collect()
}

/// Deployments with a Service; half of them are waited for, half are scaled and deleted while they start.
fn deployments(worked: &Worked) -> Result<()> {
    let mut rng = worked.rng();
    for number in 0_u64.. {
        if worked.run.is_over() {
            break;
        }
        worked.wait_for_room()?;
        let name = format!("d{}-{number}", worked.number);
        let replicas = rng.random_range(1..=3);
        worked.create("services", &manifest::service(&name, &name))?;
        worked.create("apps/v1/deployments", &sleeping(&name, replicas))?;
        if rng.random_bool(0.5) {
            worked.namespace.ready_pods(&format!("app={name}"), replicas as usize)?;
        }
        let resource = format!("apps/v1/deployments/{name}");
        worked.patch(&resource, &json!({"spec": {"replicas": rng.random_range(0..=4)}}))?;
        worked.delete(&resource)?;
        worked.delete(&format!("services/{name}"))?;
        worked.done.deployments.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn sleeping(name: &str, replicas: u32) -> Value {
    let container = json!({"name": "main", "image": manifest::BUSYBOX, "command": ["sleep", "1000000"]});
    let mut deployment = manifest::deployment(name, replicas, container);
    deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(0);
    deployment
}

/// Pods that are deleted at some moment of their start.
fn pods(worked: &Worked) -> Result<()> {
    let mut rng = worked.rng();
    for number in 0_u64.. {
        if worked.run.is_over() {
            break;
        }
        worked.wait_for_room()?;
        let name = format!("p{}-{number}", worked.number);
        worked.create("pods", &manifest::shell(&name))?;
        // At any moment between being bound and running: time is what is chosen here, not waited for.
        std::thread::sleep(Duration::from_millis(rng.random_range(0..600)));
        worked.delete(&format!("pods/{name}"))?;
        worked.done.pods.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
