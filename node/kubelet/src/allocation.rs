//! What this node has given to its pods of cpu and memory, and whether it has room when one asks for more.
//!
//! A pod gets what its spec asks for when it comes: the scheduler has seen to it that there is room. A later change of the spec is
//! given where there is room, and written down in the pod's folder before anything is done, so that a daemon after this one
//! knows of it. What a container has been brought to is the pod machine's. Who asks first gets first: upstream's order by
//! priority among pods that wait is not kept.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use keelson_semantics::resources::{ResourceList, ResourceRequirements, add};
use keelson_semantics::{PodResources, Quantity};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::config::Config;
use crate::container::fields::{parse, requirements};
use crate::context::Capacity;
use crate::machine::resize::{Amounts, Refusal};

/// Resources by container.
pub(crate) type ByContainer = HashMap<String, Amounts>;

/// What pods on the node have been given.
#[derive(Debug)]
pub(crate) struct Allocations {
    allocatable: Capacity,
    given: Mutex<HashMap<String, PodResources>>,
    freed: watch::Sender<()>,
}

impl Allocations {
    /// Of a node that has this for its pods, on which nothing is known yet.
    pub(crate) fn new(allocatable: Capacity) -> Self {
        Self { allocatable, given: Mutex::default(), freed: watch::Sender::new(()) }
    }

    /// Told whenever a pod gives something back.
    pub(crate) fn freed(&self) -> watch::Receiver<()> {
        self.freed.subscribe()
    }

    /// Counts a pod that comes, with what was written down for it, else what the API was last told that it has, else what it asks
    /// for; answers the first two.
    pub(crate) fn admit(&self, config: &Config, pod: &Pod) -> ByContainer {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let given = match read(&checkpoint(config, &uid)) {
            Ok(given) => given.unwrap_or_else(|| told(pod)),
            Err(error) => {
                tracing::error!(pod_uid = uid, %error, "what a pod was given cannot be read; the API's record of it counts");
                told(pod)
            }
        };
        let mut resources = pod.spec.as_ref().map(of_spec).unwrap_or_default();
        resources.replace(&given);
        self.given.lock().insert(uid, resources);
        given
    }

    /// Gives a pod what it wants where there is room for it, and writes it down.
    pub(crate) fn ask(
        &self,
        config: &Config,
        uid: &str,
        wanted: &ByContainer,
    ) -> io::Result<Result<(), Refusal>> {
        let mut given = self.given.lock();
        let Some(before) = given.get(uid).cloned() else { return Ok(Ok(())) };
        let mut after = before.clone();
        after.replace(wanted);
        let mut others = ResourceList::new();
        for (_, pod) in given.iter().filter(|(other, _)| *other != uid) {
            add(&mut others, &pod.requests());
        }
        if let Err(refusal) = fits(&self.allocatable, &others, &before.requests(), &after.requests()) {
            return Ok(Err(refusal));
        }
        write(&checkpoint(config, uid), wanted)?;
        given.insert(uid.to_owned(), after);
        drop(given);
        self.freed.send_replace(());
        Ok(Ok(()))
    }

    /// The pod needs nothing any more.
    pub(crate) fn release(&self, uid: &str) {
        if self.given.lock().remove(uid).is_some() {
            self.freed.send_replace(());
        }
    }
}

/// Puts amounts into what a pod asks for, container by container.
pub(crate) trait Replace {
    /// Containers that are not named stay.
    fn replace(&mut self, by: &ByContainer);
}

impl Replace for PodResources {
    fn replace(&mut self, by: &ByContainer) {
        for container in self.containers.iter_mut().chain(&mut self.init_containers) {
            if let Some(amounts) = by.get(&container.name) {
                container.resources = ResourceRequirements::clone(amounts);
            }
        }
    }
}

/// What is lowered or stays is always given. Words: upstream's `InsufficientResourceError`.
fn fits(
    all: &Capacity,
    others: &ResourceList,
    before: &ResourceList,
    after: &ResourceList,
) -> Result<(), Refusal> {
    let amount = |list: &ResourceList, name: &str| list.get(name).copied().unwrap_or(Quantity::ZERO);
    for (name, total, unit) in [
        ("cpu", all.cpu_milli, Quantity::milli_value as fn(Quantity) -> i64),
        ("memory", all.memory_bytes, Quantity::value),
    ] {
        let (was, wanted, used) =
            (unit(amount(before, name)), unit(amount(after, name)), unit(amount(others, name)));
        if wanted <= was {
            continue;
        }
        if wanted > total {
            return Err(Refusal::Infeasible(format!(
                "Node didn't have enough capacity: {name}, requested: {wanted}, capacity: {total}"
            )));
        }
        if wanted.saturating_add(used) > total {
            return Err(Refusal::Deferred(format!(
                "Node didn't have enough resource: {name}, requested: {wanted}, used: {used}, capacity: {total}"
            )));
        }
    }
    Ok(())
}

fn of_spec(spec: &PodSpec) -> PodResources {
    let read = |spec| serde_json::from_value(serde_json::to_value(spec)?);
    let read: Result<PodResources, serde_json::Error> = read(spec);
    // The API server has let only quantities pass; a pod that cannot be read is left alone by whoever keeps it.
    read.unwrap_or_default()
}

/// What the API was told that containers have been given: requests as allocated, limits as their cgroups have them.
fn told(pod: &Pod) -> ByContainer {
    let Some(status) = &pod.status else { return ByContainer::new() };
    let all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    all.filter_map(|status| {
        let mut has = requirements(Some(status.resources.as_ref()?));
        if let Some(allocated) = &status.allocated_resources {
            has.requests = parse(allocated);
        }
        Some((status.name.clone(), Arc::new(has)))
    })
    .collect()
}

fn checkpoint(config: &Config, uid: &str) -> PathBuf {
    config.pod_dir(uid).join("allocated.json")
}

fn read(file: &Path) -> io::Result<Option<ByContainer>> {
    match std::fs::read(file) {
        Ok(bytes) => {
            let found: HashMap<String, ResourceRequirements> = serde_json::from_slice(&bytes)?;
            Ok(Some(found.into_iter().map(|(name, amounts)| (name, Arc::new(amounts))).collect()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whole or not at all, also when the power goes.
fn write(file: &Path, given: &ByContainer) -> io::Result<()> {
    let plain: HashMap<&String, &ResourceRequirements> =
        given.iter().map(|(name, one)| (name, &**one)).collect();
    let (next, folder) = (file.with_extension("next"), file.parent().unwrap_or(file));
    std::fs::create_dir_all(folder)?;
    std::fs::write(&next, serde_json::to_vec(&plain)?)?;
    std::fs::File::open(&next)?.sync_all()?;
    std::fs::rename(&next, file)?;
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use keelson_semantics::quantity::Format;

    use super::*;
    use crate::context::tests::config;

    fn amounts(cpu: i64, memory: i64) -> ResourceList {
        let memory = Quantity::from_units(memory, Format::BinarySi);
        [("cpu".to_owned(), Quantity::from_milli(cpu)), ("memory".to_owned(), memory)].into()
    }

    #[test]
    fn more_is_given_where_there_is_room() {
        let all = Capacity { cpu_milli: 2000, memory_bytes: 1000, storage_bytes: 0 };
        let rows = [
            ((500, 100), (100, 100), (200, 200), ""),
            ((1500, 100), (100, 100), (500, 100), ""),
            (
                (1600, 100),
                (100, 100),
                (500, 100),
                "Deferred Node didn't have enough resource: cpu, requested: 500, used: 1600, capacity: 2000",
            ),
            (
                (0, 950),
                (0, 10),
                (0, 100),
                "Deferred Node didn't have enough resource: memory, requested: 100, used: 950, capacity: 1000",
            ),
            (
                (0, 0),
                (100, 100),
                (2001, 100),
                "Infeasible Node didn't have enough capacity: cpu, requested: 2001, capacity: 2000",
            ),
            // A node that is over-full takes back, and does not look at what stays.
            ((3000, 5000), (500, 100), (400, 100), ""),
        ];
        for (others, before, after, expected) in rows {
            let list = |(cpu, memory): (i64, i64)| amounts(cpu, memory);
            let found = match fits(&all, &list(others), &list(before), &list(after)) {
                Ok(()) => String::new(),
                Err(Refusal::Deferred(why)) => format!("Deferred {why}"),
                Err(Refusal::Infeasible(why)) => format!("Infeasible {why}"),
            };
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_was_given_is_known_to_the_next_daemon_and_goes_with_the_pod() {
        let root = tempfile::tempdir().unwrap();
        let config = Config { root: root.path().to_owned(), ..config() };
        let pod = |uid: &str, cpu: &str| -> Pod {
            serde_json::from_value(serde_json::json!({
                "metadata": {"name": uid, "uid": uid},
                "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
            }))
            .unwrap()
        };
        let wanted = |cpu: i64| {
            let requests = [("cpu".to_owned(), Quantity::from_milli(cpu))].into();
            ByContainer::from([(
                "c".to_owned(),
                Arc::new(ResourceRequirements { requests, ..Default::default() }),
            )])
        };
        let all = Capacity { cpu_milli: 2000, memory_bytes: 1 << 30, storage_bytes: 0 };
        let first = Allocations::new(all);
        assert!(first.admit(&config, &pod("a", "1")).is_empty());
        assert!(first.admit(&config, &pod("b", "500m")).is_empty());
        assert_eq!(first.ask(&config, "b", &wanted(1000)).unwrap(), Ok(()));
        let second = Allocations::new(all);
        second.admit(&config, &pod("a", "1"));
        assert_eq!(
            second.admit(&config, &pod("b", "3")),
            wanted(1000),
            "not what its spec asks for meanwhile"
        );
        let mut freed = second.freed();
        assert!(matches!(second.ask(&config, "b", &wanted(1500)).unwrap(), Err(Refusal::Deferred(_))));
        assert!(!freed.has_changed().unwrap());
        second.release("a");
        assert!(freed.has_changed().unwrap());
        freed.mark_unchanged();
        assert_eq!(second.ask(&config, "b", &wanted(1500)).unwrap(), Ok(()));
    }
}
