//! Requests and limits as the kernel knows them: shares, quota, memory, who is killed first.
//! Formulas: Kubernetes documentation, "Manage resources for containers" and "Node-pressure eviction"
//! (oom_score_adj by QoS class).

use k8s_openapi::api::core::v1::Container;
use keelson_runtime::v1;
use keelson_semantics::resources::ResourceList;
use keelson_semantics::{QosClass, Quantity};
use keelson_sys::cgroups::{CPU_PERIOD_US, Limits};

use super::fields::parse;
use crate::config::Config;
use crate::context::Context;
use crate::pod::Stored;

/// The kernel's smallest cpu.shares and cfs quota.
const SHARES_MIN: i64 = 2;
const QUOTA_MIN_US: i64 = 1000;

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
pub(super) fn container_resources(
    ctx: &Context,
    stored: &Stored,
    container: &Container,
) -> v1::LinuxContainerResources {
    let resources = container.resources.clone().unwrap_or_default();
    let requests = parse(&resources.requests.unwrap_or_default());
    let limits = parse(&resources.limits.unwrap_or_default());
    let cpu_limit = milli(&limits, "cpu");
    let cpu_request = milli(&requests, "cpu").or(cpu_limit);
    let memory_request = bytes(&requests, "memory").or_else(|| bytes(&limits, "memory"));
    v1::LinuxContainerResources {
        cpu_shares: shares(cpu_request.unwrap_or(0)),
        cpu_quota: cpu_limit.map_or(0, quota),
        cpu_period: i64::try_from(CPU_PERIOD_US).unwrap_or(100_000),
        memory_limit_in_bytes: bytes(&limits, "memory").unwrap_or(0),
        oom_score_adj: oom_score_adj(stored.qos, memory_request.unwrap_or(0), ctx.capacity.memory_bytes),
        ..Default::default()
    }
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
pub(crate) fn pod_limits(stored: &Stored) -> Limits {
    let resources = stored.resources();
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
    fn burstable_pods_are_killed_between_best_effort_and_guaranteed() {
        let gib = 1 << 30;
        assert_eq!(oom_score_adj(QosClass::BestEffort, 0, 4 * gib), 1000);
        assert_eq!(oom_score_adj(QosClass::Guaranteed, gib, 4 * gib), -997);
        assert_eq!(oom_score_adj(QosClass::Burstable, gib, 4 * gib), 750);
        assert_eq!(oom_score_adj(QosClass::Burstable, 0, 4 * gib), 999);
        assert_eq!(oom_score_adj(QosClass::Burstable, 4 * gib, 4 * gib), 3);
    }
}
