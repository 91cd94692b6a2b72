//! Ready and the pressures, as they are: asked from runtime and kernel each time, with upstream's
//! reasons and messages, which the control plane and users know.

use k8s_openapi::api::core::v1::NodeCondition;
use keelson_sys::host;

use super::{MEMORY_RESERVED_BYTES, condition, facts};
use crate::context::{Context, NetworkState};

/// Process ids that must be left.
const PIDS_LEFT_MIN: u64 = 1000;

pub(super) async fn conditions(ctx: &Context) -> Vec<NodeCondition> {
    let memory_short = facts::memory_available().is_some_and(|bytes| bytes < MEMORY_RESERVED_BYTES);
    let disk = host::file_system(&ctx.config.root).ok();
    let disk_short = disk.is_some_and(|fs| {
        let inodes_short = fs.inodes > 0 && fs.inodes_free < fs.inodes / 20;
        fs.bytes_free < fs.bytes / 10 || inodes_short
    });
    let pids_short = facts::pids_left().is_some_and(|left| left < PIDS_LEFT_MIN);
    let pressure = |kind, short, bad, good, bad_text, good_text| {
        if short { condition(kind, true, bad, bad_text) } else { condition(kind, false, good, good_text) }
    };
    let network = ctx.network.as_ref().map(|state| state.borrow().clone());
    let mut conditions = vec![
        pressure(
            "MemoryPressure",
            memory_short,
            "KubeletHasInsufficientMemory",
            "KubeletHasSufficientMemory",
            "kubelet has insufficient memory available",
            "kubelet has sufficient memory available",
        ),
        pressure(
            "DiskPressure",
            disk_short,
            "KubeletHasDiskPressure",
            "KubeletHasNoDiskPressure",
            "kubelet has disk pressure",
            "kubelet has no disk pressure",
        ),
        pressure(
            "PIDPressure",
            pids_short,
            "KubeletHasInsufficientPID",
            "KubeletHasSufficientPID",
            "kubelet has insufficient PID available",
            "kubelet has sufficient PID available",
        ),
        ready(ctx, network.as_ref()).await,
    ];
    conditions.extend(network.as_ref().map(network_unavailable));
    conditions
}

/// As the routes' controllers and network providers of other clusters write it.
fn network_unavailable(network: &NetworkState) -> NodeCondition {
    match network {
        NetworkState::Ready => {
            condition("NetworkUnavailable", false, "PodNetworkReady", "pods get addresses and routes")
        }
        NetworkState::NotReady { reason, message } => condition("NetworkUnavailable", true, reason, message),
    }
}

async fn ready(ctx: &Context, network: Option<&NetworkState>) -> NodeCondition {
    let problem = match ctx.runtime.conditions().await {
        Err(error) => Some(format!("container runtime is down: {error}")),
        Ok(found) => {
            let missing = |kind: &str| !found.iter().any(|c| c.r#type == kind && c.status);
            let text = |kind: &str| {
                let message = found.iter().find(|c| c.r#type == kind).map(|c| c.message.as_str());
                message.unwrap_or("no condition").to_owned()
            };
            if missing("RuntimeReady") {
                Some(format!("container runtime is not ready: {}", text("RuntimeReady")))
            } else if let Some(NetworkState::NotReady { message, .. }) = network {
                Some(format!("container runtime network not ready: {message}"))
            } else if missing("NetworkReady") {
                Some(format!("container runtime network not ready: {}", text("NetworkReady")))
            } else {
                None
            }
        }
    };
    match problem {
        None => condition("Ready", true, "KubeletReady", "kubelet is posting ready status"),
        Some(message) => condition("Ready", false, "KubeletNotReady", &message),
    }
}

pub(super) fn is_ready(conditions: &[NodeCondition]) -> bool {
    conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Keeps the transition times of what did not change; answers whether anything did.
pub(super) fn carry_over(fresh: &mut [NodeCondition], old: &[NodeCondition]) -> bool {
    let mut changed = false;
    for condition in fresh {
        match old.iter().find(|o| o.type_ == condition.type_) {
            Some(old) if old.status == condition.status => {
                condition.last_transition_time.clone_from(&old.last_transition_time);
                changed |= old.reason != condition.reason || old.message != condition.message;
            }
            _ => changed = true,
        }
    }
    changed
}

/// Whether the API says otherwise than the node itself; before the first look at the API, no.
pub(super) fn overruled(own: &[NodeCondition], seen: &[NodeCondition]) -> bool {
    let status =
        |kind: &str| seen.iter().find(|condition| condition.type_ == kind).map(|c| c.status.as_str());
    !seen.is_empty() && own.iter().any(|condition| status(&condition.type_) != Some(&condition.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_status_in_the_api_is_written_over() {
        let condition = |status: &str| NodeCondition {
            type_: "Ready".into(),
            status: status.into(),
            ..NodeCondition::default()
        };
        assert!(!overruled(&[condition("True")], &[]));
        assert!(!overruled(&[condition("True")], &[condition("True")]));
        assert!(overruled(&[condition("True")], &[condition("Unknown")]));
    }
}
