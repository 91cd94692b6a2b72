//! Which zero values are dropped. On the wire, a Go field that is no pointer is always there, and one that is a pointer is
//! there when it was set; the definitions do not tell which is which, so the pointers are listed.

use serde_json::Value;

/// Numbers for which zero says something: pointers in Go, or always present in JSON.
const NUMBERS: [&str; 33] = [
    "activeDeadlineSeconds",
    "backoffLimit",
    "backoffLimitPerIndex",
    "completions",
    "currentReplicas",
    "defaultMode",
    "deletionGracePeriodSeconds",
    "expirationSeconds",
    "failedJobsHistoryLimit",
    "fsGroup",
    "gracePeriodSeconds",
    "leaseTransitions",
    "maxFailedIndexes",
    "minReplicas",
    "mode",
    "observedGeneration",
    "parallelism",
    "partition",
    "priority",
    "replicas",
    "restartCount",
    "revisionHistoryLimit",
    "runAsGroup",
    "runAsUser",
    "seconds",
    "stabilizationWindowSeconds",
    "startingDeadlineSeconds",
    "successfulJobsHistoryLimit",
    "terminationGracePeriodSeconds",
    "tolerationSeconds",
    "ttlSecondsAfterFinished",
    "value",
    "weight",
];

/// Booleans that are pointers in Go, or always present in JSON.
const BOOLEANS: [&str; 26] = [
    "allocateLoadBalancerNodePorts",
    "allowPrivilegeEscalation",
    "allowVolumeExpansion",
    "attachRequired",
    "automountServiceAccountToken",
    "blockOwnerDeletion",
    "controller",
    "enableServiceLinks",
    "hostProcess",
    "hostUsers",
    "immutable",
    "optional",
    "orphanDependents",
    "podInfoOnMount",
    "privileged",
    "readOnlyRootFilesystem",
    "ready",
    "requiresRepublish",
    "runAsNonRoot",
    "seLinuxMount",
    "serving",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "started",
    "suspend",
    "terminating",
];

/// Texts whose emptiness says something: no class, as opposed to the default one.
const TEXTS: [&str; 2] = ["storageClassName", "ingressClassName"];

/// Objects that Go always writes and whose emptiness says nothing. Others do (`emptyDir: {}`, `podSelector: {}`).
const OBJECTS: [&str; 7] =
    ["loadBalancer", "metadata", "resources", "source", "status", "strategy", "updateStrategy"];

/// Whether a value of this field is as good as absent.
pub(super) fn is_dropped(field: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty() && !TEXTS.contains(&field),
        Value::Bool(flag) => !flag && !BOOLEANS.contains(&field),
        Value::Number(number) => number.as_i64() == Some(0) && !NUMBERS.contains(&field),
        Value::Object(object) => object.is_empty() && OBJECTS.contains(&field),
        Value::Array(_) => false,
    }
}
