//! The arithmetic of a rolling update. Pure.
//!
//! Rules: "Rolling Update Deployment" and "Proportional scaling" in the Kubernetes documentation. Percentages of
//! maxSurge round up, of maxUnavailable down; if both come out as zero, one may be unavailable.

use keelson_harness::views::{Deployment, DeploymentSpec};
use keelson_semantics::int_or_string::{IntOrString, Rounding};
use serde_json::Value;

/// Pods above and below the wanted number during an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) surge: i32,
    pub(super) unavailable: i32,
}

/// Is the strategy RollingUpdate? (It is when nothing is said.)
pub(super) fn is_rolling(spec: &DeploymentSpec) -> bool {
    spec.strategy.r#type != "Recreate"
}

/// Bounds of this Deployment; none of both for Recreate.
pub(super) fn bounds(deployment: &Deployment) -> Bounds {
    let spec = &deployment.spec;
    if !is_rolling(spec) {
        return Bounds { surge: 0, unavailable: 0 };
    }
    let rolling = spec.strategy.rolling_update.clone().unwrap_or_default();
    let surge = scaled(&rolling.max_surge, spec.replicas, Rounding::Up);
    let unavailable = scaled(&rolling.max_unavailable, spec.replicas, Rounding::Down);
    let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
    Bounds { surge, unavailable: unavailable.min(spec.replicas) }
}

/// Absent means 25 %; the API server has refused what is neither number nor percentage.
fn scaled(value: &Value, total: i32, rounding: Rounding) -> i32 {
    let default = || IntOrString::String("25%".to_owned());
    let value = match value {
        Value::Null => default(),
        value => serde_json::from_value(value.clone()).unwrap_or_else(|_| default()),
    };
    value.scaled(total, rounding).unwrap_or(0).max(0)
}

/// Replicas of the new ReplicaSet when `total` of all sets together exist.
pub(super) fn new_set_replicas(deployment: &Deployment, current: i32, total: i32) -> i32 {
    let wanted = deployment.spec.replicas;
    if !is_rolling(&deployment.spec) {
        return wanted;
    }
    let room = wanted + bounds(deployment).surge - total;
    if room <= 0 {
        return current;
    }
    current + room.min(wanted - current)
}

/// What share of `to_add` one set gets when a Deployment is scaled in the middle of an update: in proportion to its
/// size, as much as is left. `before` is the largest number of pods that was allowed before the scaling.
pub(super) fn proportion(
    deployment: &Deployment,
    replicas: i32,
    before: i32,
    to_add: i32,
    added: i32,
) -> i32 {
    if replicas == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let left = to_add - added;
    let share = share(deployment, replicas, before);
    if to_add > 0 { share.min(left) } else { share.max(left) }
}

fn share(deployment: &Deployment, replicas: i32, before: i32) -> i32 {
    let wanted = deployment.spec.replicas;
    if wanted == 0 {
        return -replicas;
    }
    let allowed = wanted + bounds(deployment).surge;
    let before = if before == 0 { deployment.status.replicas } else { before };
    if before == 0 {
        return 0;
    }
    let size = f64::from(replicas) * f64::from(allowed) / f64::from(before);
    (size.round() as i32) - replicas
}
