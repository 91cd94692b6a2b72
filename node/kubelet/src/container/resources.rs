//! Requests and limits as the kernel knows them: shares, quota, memory, who is killed first.
//! Formulas: Kubernetes documentation, "Manage resources for containers" and "Node-pressure eviction"
//! (oom_score_adj by QoS class).

use keelson_runtime::v1;
use keelson_semantics::quantity::Format;
use keelson_semantics::resources::{ResourceList, ResourceRequirements};
use keelson_semantics::{PodResources, QosClass, Quantity};
use keelson_sys::cgroups::{CPU_PERIOD_US, Limits};

use crate::config::Config;
use crate::pod::Stored;

/// The kernel's smallest cpu.shares and cfs quota.
const SHARES_MIN: i64 = 2;
const QUOTA_MIN_US: i64 = 1000;
/// The largest page of an architecture that Linux runs on here.
const PAGE_BYTES_MAX: i64 = 64 << 10;

/// cpu.shares of a request in thousandths of a CPU.
fn shares(milli: i64) -> i64 {
    (milli * 1024 / 1000).max(SHARES_MIN)
}

/// CFS quota of a limit in thousandths of a CPU.
fn quota(milli: i64) -> i64 {
    (milli * i64::try_from(CPU_PERIOD_US).unwrap_or(100_000) / 1000).max(QUOTA_MIN_US)
}

fn milli(list: &ResourceList, name: &str) -> Option<i64> {
    list.get(name).copied().map(Quantity::milli_value).filter(|amount| *amount > 0)
}

fn bytes(list: &ResourceList, name: &str) -> Option<i64> {
    list.get(name).copied().map(Quantity::value).filter(|amount| *amount > 0)
}

/// What one container's cgroup gets.
pub(crate) fn linux_resources(
    given: &ResourceRequirements,
    qos: QosClass,
    memory_capacity: i64,
) -> v1::LinuxContainerResources {
    let (requests, limits) = (&given.requests, &given.limits);
    let memory_request = bytes(requests, "memory").or_else(|| bytes(limits, "memory"));
    v1::LinuxContainerResources {
        cpu_shares: cpu_shares(given),
        cpu_quota: milli(limits, "cpu").map_or(0, quota),
        cpu_period: i64::try_from(CPU_PERIOD_US).unwrap_or(100_000),
        memory_limit_in_bytes: bytes(limits, "memory").unwrap_or(0),
        oom_score_adj: oom_score_adj(qos, memory_request.unwrap_or(0), memory_capacity),
        ..Default::default()
    }
}

/// Whether a limit of the kernel is that which was given: it has whole pages.
fn is_same_memory(limit: Option<i64>, given: Option<i64>) -> bool {
    match (limit, given) {
        (Some(limit), Some(given)) => limit <= given && given - limit < PAGE_BYTES_MAX,
        (limit, given) => limit == given,
    }
}

/// Whether a pod's cgroup has these limits.
pub(crate) fn is_as_wanted(has: &Limits, wanted: &Limits) -> bool {
    let signed = |limit: Option<u64>| limit.and_then(|bytes| i64::try_from(bytes).ok());
    has.cpu_quota_us == wanted.cpu_quota_us
        && is_same_memory(signed(has.memory_bytes), signed(wanted.memory_bytes))
}

fn cpu_shares(given: &ResourceRequirements) -> i64 {
    shares(milli(&given.requests, "cpu").or_else(|| milli(&given.limits, "cpu")).unwrap_or(0))
}

/// What a container has, by what its cgroup says: in the words of what it was given where both come to the same. Of the
/// requests only that of cpu is known to the kernel; the others are as given.
pub(crate) fn read_back(given: &ResourceRequirements, actual: &Limits) -> ResourceRequirements {
    let mut has = given.clone();
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let mut put =
        |of: fn(&mut ResourceRequirements) -> &mut ResourceList, name: &str, amount: Option<Quantity>| {
            match amount {
                Some(amount) => drop(of(&mut has).insert(name.to_owned(), amount)),
                None => drop(of(&mut has).remove(name)),
            }
        };
    let period = i64::try_from(CPU_PERIOD_US).unwrap_or(100_000);
    let quota_us = actual.cpu_quota_us.map(signed);
    if quota_us != milli(&given.limits, "cpu").map(quota) {
        put(|of| &mut of.limits, "cpu", quota_us.map(|us| Quantity::from_milli(us * 1000 / period)));
    }
    let limit = actual.memory_bytes.map(signed);
    if !is_same_memory(limit, bytes(&given.limits, "memory")) {
        let amount = limit.map(|bytes| Quantity::from_units(bytes, Format::BinarySi));
        put(|of| &mut of.limits, "memory", amount);
    }
    if let Some(weight) = actual.cpu_shares.map(signed).filter(|weight| *weight != cpu_shares(given)) {
        let milli = (weight > SHARES_MIN).then(|| Quantity::from_milli(weight * 1000 / 1024));
        put(|of| &mut of.requests, "cpu", milli);
    }
    has
}

/// Whom the kernel kills first when memory is short: best effort, then by how far over their request.
fn oom_score_adj(qos: QosClass, memory_request: i64, memory_capacity: i64) -> i64 {
    match qos {
        QosClass::Guaranteed => -997,
        QosClass::BestEffort => 1000,
        QosClass::Burstable => {
            let share = i128::from(memory_request) * 1000 / i128::from(memory_capacity.max(1));
            (1000 - i64::try_from(share).unwrap_or(1000)).clamp(3, 999)
        }
    }
}

/// The pod's own cgroup, in which its containers' cgroups lie.
pub(crate) fn pod_cgroup(config: &Config, qos: QosClass, uid: &str) -> String {
    let parent = config.cgroup_parent.trim_end_matches('/');
    match qos {
        QosClass::Guaranteed => format!("{parent}/kubepods/pod{uid}"),
        QosClass::Burstable => format!("{parent}/kubepods/burstable/pod{uid}"),
        QosClass::BestEffort => format!("{parent}/kubepods/besteffort/pod{uid}"),
    }
}

/// Limits of the pod's cgroup: the sum of its containers', where every one of them has a limit.
pub(crate) fn pod_limits(resources: &PodResources) -> Limits {
    let (requests, limits) = (resources.requests(), resources.limits());
    let every = |name: &str| {
        let containers = resources.containers.iter().chain(&resources.init_containers);
        let pod_level = resources.resources.as_ref().is_some_and(|r| r.limits.contains_key(name));
        pod_level || containers.into_iter().all(|c| c.resources.limits.contains_key(name))
    };
    let unsigned = |amount: i64| u64::try_from(amount).ok();
    Limits {
        cpu_shares: unsigned(shares(milli(&requests, "cpu").unwrap_or(0))),
        cpu_quota_us: milli(&limits, "cpu").filter(|_| every("cpu")).map(quota).and_then(unsigned),
        memory_bytes: bytes(&limits, "memory").filter(|_| every("memory")).and_then(unsigned),
    }
}

/// What the sandbox itself takes, by the pod's RuntimeClass; for runtimes that make room for it beside the containers.
pub(crate) fn overhead(stored: &Stored) -> Option<v1::LinuxContainerResources> {
    let fixed = stored.resources().overhead;
    let (cpu, memory) = (milli(&fixed, "cpu"), bytes(&fixed, "memory"));
    (cpu.is_some() || memory.is_some()).then(|| v1::LinuxContainerResources {
        cpu_shares: cpu.map_or(0, shares),
        cpu_quota: cpu.map_or(0, quota),
        cpu_period: i64::try_from(CPU_PERIOD_US).unwrap_or(100_000),
        memory_limit_in_bytes: memory.unwrap_or(0),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_becomes_shares_and_quota() {
        assert_eq!([0, 1, 100, 1000, 2500].map(shares), [2, 2, 102, 1024, 2560]);
        assert_eq!([1, 5, 100, 1500].map(quota), [1000, 1000, 10_000, 150_000]);
    }

    #[test]
    fn what_a_cgroup_has_is_told_in_the_words_of_what_was_given() {
        let list = |text: &str| -> ResourceList {
            let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
            pairs.map(|(name, amount)| (name.to_owned(), amount.parse().unwrap())).collect()
        };
        let of = |requests: &str, limits: &str| ResourceRequirements {
            requests: list(requests),
            limits: list(limits),
        };
        let given = of("cpu=100m memory=1Gi", "cpu=1500m memory=100M");
        let exact =
            Limits { cpu_shares: Some(102), cpu_quota_us: Some(150_000), memory_bytes: Some(99_999_744) };
        for (actual, expected) in [
            (exact, given.clone()),
            (Limits { cpu_shares: None, ..exact }, given.clone()),
            (Limits { cpu_shares: Some(1024), ..exact }, of("cpu=1 memory=1Gi", "cpu=1500m memory=100M")),
            (Limits { cpu_shares: Some(2), ..exact }, of("memory=1Gi", "cpu=1500m memory=100M")),
            (Limits { cpu_quota_us: None, ..exact }, of("cpu=100m memory=1Gi", "memory=100M")),
            (
                Limits { memory_bytes: Some(1 << 30), ..exact },
                of("cpu=100m memory=1Gi", "cpu=1500m memory=1Gi"),
            ),
        ] {
            assert_eq!(read_back(&given, &actual), expected);
        }
        let unbound = Limits { cpu_shares: Some(2), ..Limits::default() };
        assert_eq!(read_back(&of("", ""), &unbound), of("", ""));
    }

    #[test]
    fn burstable_pods_are_killed_between_best_effort_and_guaranteed() {
        let gib = 1 << 30;
        assert_eq!(oom_score_adj(QosClass::BestEffort, 0, 4 * gib), 1000);
        assert_eq!(oom_score_adj(QosClass::Guaranteed, gib, 4 * gib), -997);
        assert_eq!(oom_score_adj(QosClass::Burstable, gib, 4 * gib), 750);
        assert_eq!(oom_score_adj(QosClass::Burstable, 0, 4 * gib), 999);
        assert_eq!(oom_score_adj(QosClass::Burstable, 4 * gib, 4 * gib), 3);
    }
}
