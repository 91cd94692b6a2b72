//! What a pod may ask for that this node cannot do yet. Found before anything is started, and said by
//! name: never ignored.

use k8s_openapi::api::core::v1::{Container, Pod, Probe};

/// The first such thing, as a message for the user.
pub(crate) fn find(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let field = if spec.host_users == Some(false) {
        "spec.hostUsers: false"
    } else if spec.resource_claims.as_ref().is_some_and(|claims| !claims.is_empty()) {
        "spec.resourceClaims"
    } else if spec.os.as_ref().is_some_and(|os| os.name != "linux") {
        "spec.os"
    } else if spec.containers.iter().any(|container| container.restart_policy.is_some()) {
        "restartPolicy of a container that is no init container"
    } else if let Some(volume) = spec.volumes.iter().flatten().find(|v| !crate::volumes::is_supported(v)) {
        let kind = crate::volumes::type_name(volume);
        return Some(format!("volume \"{}\" of type {kind} is not supported yet by this node", volume.name));
    } else {
        let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
        return containers.into_iter().find_map(in_container);
    };
    Some(format!("{field} is not supported yet by this node"))
}

/// The same of one container.
pub(crate) fn in_container(container: &Container) -> Option<String> {
    let resources = container.resources.as_ref();
    let huge = resources
        .iter()
        .flat_map(|r| [&r.requests, &r.limits])
        .flatten()
        .any(|list| list.keys().any(|name| name.starts_with("hugepages-")));
    let grpc = |probe: &Option<Probe>| probe.as_ref().is_some_and(|probe| probe.grpc.is_some());
    let security = container.security_context.as_ref();
    let field = if huge {
        "resources hugepages"
    } else if resources.is_some_and(|r| r.claims.is_some()) {
        "resources.claims"
    } else if grpc(&container.startup_probe)
        || grpc(&container.readiness_probe)
        || grpc(&container.liveness_probe)
    {
        "a gRPC probe"
    } else if container.volume_devices.is_some() {
        "volumeDevices"
    } else if container.restart_policy_rules.is_some() {
        "restartPolicyRules"
    } else if container.lifecycle.as_ref().is_some_and(|l| l.stop_signal.is_some()) {
        "lifecycle.stopSignal"
    } else if security.is_some_and(|s| s.se_linux_options.is_some()) {
        "securityContext.seLinuxOptions"
    } else {
        return None;
    };
    Some(format!("{field} (container {}) is not supported yet by this node", container.name))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{GRPCAction, PodSpec};

    use super::*;

    #[test]
    fn what_cannot_be_done_is_named() {
        let pod = |change: fn(&mut Container)| {
            let mut container = Container { name: "app".into(), ..Default::default() };
            change(&mut container);
            Pod {
                spec: Some(PodSpec { containers: vec![container], ..Default::default() }),
                ..Default::default()
            }
        };
        assert_eq!(find(&pod(|_| {})), None);
        let grpc = pod(|c| {
            c.readiness_probe = Some(Probe { grpc: Some(GRPCAction::default()), ..Default::default() });
        });
        assert_eq!(
            find(&grpc).as_deref(),
            Some("a gRPC probe (container app) is not supported yet by this node")
        );
    }
}
