//! From a pod's spec to its sandbox: names, namespaces, DNS, /etc/hosts, cgroup. Pure.

mod bandwidth;
mod dns;
mod hosts;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodSpec;
use keelson_runtime::{keys, v1};

use crate::config::Config;
use crate::container::resources::{overhead, pod_cgroup};
use crate::container::{groups, namespaces, seccomp};
use crate::pod::Stored;

pub(crate) use bandwidth::check as check_bandwidth;
pub(crate) use dns::HostResolver;
pub(crate) use hosts::hosts_file;

/// Longest host name that Linux takes.
const HOSTNAME_BYTES_MAX: usize = 63;

/// Labels by which the pod is found again from what the runtime lists.
pub(crate) fn labels(stored: &Stored) -> BTreeMap<String, String> {
    [(keys::POD_NAME, &stored.name), (keys::POD_NAMESPACE, &stored.namespace), (keys::POD_UID, &stored.uid)]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect()
}

/// The sandbox's configuration. The same for every call about one sandbox.
pub(crate) fn sandbox_config(
    config: &Config,
    stored: &Stored,
    spec: &PodSpec,
    resolver: &HostResolver,
    attempt: u32,
) -> v1::PodSandboxConfig {
    let pod = stored.pod();
    let labels = labels(stored).into_iter().chain(pod.metadata.labels.clone().unwrap_or_default()).collect();
    let context = spec.security_context.clone().unwrap_or_default();
    let sysctls = context.sysctls.iter().flatten().map(|s| (s.name.clone(), s.value.clone())).collect();
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: stored.name.clone(),
            uid: stored.uid.clone(),
            namespace: stored.namespace.clone(),
            attempt,
        }),
        hostname: sandbox_hostname(config, stored, spec),
        log_directory: config.log_dir(&stored.namespace, &stored.name, &stored.uid).display().to_string(),
        dns_config: Some(dns::dns_config(config, &stored.namespace, spec, resolver)),
        labels,
        annotations: pod.metadata.annotations.unwrap_or_default().into_iter().collect(),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: pod_cgroup(config, stored.qos, &stored.uid),
            security_context: Some(v1::LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces(spec)),
                run_as_user: context.run_as_user.map(|value| v1::Int64Value { value }),
                run_as_group: context
                    .run_as_group
                    .filter(|_| context.run_as_user.is_some())
                    .map(|value| v1::Int64Value { value }),
                supplemental_groups: groups(spec),
                privileged: any_privileged(spec),
                // The pause process is ours: the default profile fits it whatever the containers' is.
                seccomp: Some(seccomp(config, None)),
                ..Default::default()
            }),
            sysctls,
            overhead: overhead(stored),
            resources: None,
        }),
    }
}

fn any_privileged(spec: &PodSpec) -> bool {
    let lasting = spec.init_containers.iter().flatten().chain(&spec.containers);
    let lasting = lasting.map(|container| &container.security_context);
    // The runtime looks here, too, when a privileged one comes to a pod that runs.
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|container| &container.security_context);
    lasting.chain(ephemeral).flatten().any(|context| context.privileged == Some(true))
}

/// The pod's host name by its spec, cut to what Linux takes.
pub(crate) fn hostname(spec: &PodSpec, pod_name: &str) -> String {
    let name = spec.hostname.as_deref().filter(|name| !name.is_empty()).unwrap_or(pod_name);
    let cut = &name[..name.len().min(HOSTNAME_BYTES_MAX)];
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// `<hostname>.<subdomain>.<namespace>.svc.<cluster domain>`, for pods with a subdomain.
pub(crate) fn fqdn(config: &Config, spec: &PodSpec, pod_name: &str, namespace: &str) -> Option<String> {
    let subdomain = spec.subdomain.as_deref().filter(|name| !name.is_empty())?;
    Some(format!("{}.{subdomain}.{namespace}.svc.{}", hostname(spec, pod_name), config.cluster_domain))
}

fn sandbox_hostname(config: &Config, stored: &Stored, spec: &PodSpec) -> String {
    if spec.host_network == Some(true) {
        return String::new();
    }
    if let Some(name) = spec.hostname_override.as_deref().filter(|name| !name.is_empty()) {
        return name.to_owned();
    }
    if spec.set_hostname_as_fqdn == Some(true)
        && let Some(name) = fqdn(config, spec, &stored.name, &stored.namespace)
    {
        return name;
    }
    hostname(spec, &stored.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_pod_name_makes_a_host_name_that_linux_takes() {
        let spec = PodSpec::default();
        let name = format!("{}-x", "a".repeat(62));
        assert_eq!(hostname(&spec, &name), "a".repeat(62));
        let spec = PodSpec { hostname: Some("db-0".into()), ..Default::default() };
        assert_eq!(hostname(&spec, "pod"), "db-0");
    }
}
