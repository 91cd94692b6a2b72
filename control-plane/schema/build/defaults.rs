//! Compiles the unconditional rows of `facts/defaults.tsv` to defaults of properties, and insists that every other row
//! of the same layers is known to be done in code.
//!
//! A default is attached to the property of the *type* that the path ends in (`Probe.timeoutSeconds`), since all places
//! where a type is used agree; the rows where they do not are in [`IN_CODE`].

use std::collections::HashMap;

use crate::kinds::Kind;
use crate::shapes::Type;

/// Rows that `src/defaults/` does, by kind and path: they depend on other fields, or only hold in one kind.
const IN_CODE: &[(&str, &str)] = &[
    ("any PodSpec", "spec.(containers|initContainers|ephemeralContainers)[].imagePullPolicy"),
    ("any PodSpec", "spec.(containers|initContainers|ephemeralContainers)[].resources.limits.*, .requests.*"),
    ("any PodSpec", "spec.volumes[].emptyDir"),
    ("any PodSpec", "spec.volumes[].image.pullPolicy"),
    ("any PodSpec", "spec.serviceAccount"),
    ("Pod", "spec.enableServiceLinks"),
    ("Pod", "spec.(containers|initContainers)[].resources.requests.<name>"),
    ("Pod", "spec.(containers|initContainers)[].ports[].hostPort"),
    ("Pod", "spec.resources.requests.<name>"),
    ("Pod", "spec.resources.limits.hugepages-<size>"),
    ("ReplicationController", "spec.selector"),
    ("ReplicationController", "metadata.labels"),
    ("Service", "spec.sessionAffinityConfig"),
    ("Service", "spec.sessionAffinityConfig.clientIP.timeoutSeconds"),
    ("Service", "spec.ports[].targetPort"),
    ("Service", "spec.externalTrafficPolicy"),
    ("Service", "spec.internalTrafficPolicy"),
    ("Service", "spec.allocateLoadBalancerNodePorts"),
    ("Service", "status.loadBalancer.ingress[].ipMode"),
    ("ConfigMap", "data"),
    ("Namespace", "metadata.labels[\"kubernetes.io/metadata.name\"]"),
    ("Node", "status.allocatable"),
    ("LimitRange", "spec.limits[].default.<name>"),
    ("LimitRange", "spec.limits[].defaultRequest.<name>"),
    ("Deployment", "spec.strategy.rollingUpdate.maxUnavailable"),
    ("Deployment", "spec.strategy.rollingUpdate.maxSurge"),
    ("StatefulSet", "spec.updateStrategy.type"),
    ("StatefulSet", "spec.updateStrategy.rollingUpdate"),
    ("StatefulSet", "spec.updateStrategy.rollingUpdate.partition"),
    ("StatefulSet", "spec.updateStrategy.rollingUpdate.maxUnavailable"),
    ("StatefulSet", "spec.volumeClaimTemplates[].apiVersion, .kind"),
    ("DaemonSet", "spec.updateStrategy.rollingUpdate.maxUnavailable"),
    ("DaemonSet", "spec.updateStrategy.rollingUpdate.maxSurge"),
    // Needs the stored object: done by the DaemonSet's strategy, not here.
    ("DaemonSet", "metadata.annotations[\"deprecated.daemonset.template.generation\"]"),
    ("Job", "spec.completions"),
    ("Job", "spec.parallelism"),
    ("Job", "spec.backoffLimit"),
    ("Job", "spec.completionMode"),
    ("Job", "spec.suspend"),
    ("Job", "spec.manualSelector"),
    ("Job", "spec.podReplacementPolicy"),
    ("Job", "metadata.labels"),
    ("HorizontalPodAutoscaler", "spec.metrics"),
    ("HorizontalPodAutoscaler", "spec.targetCPUUtilizationPercentage"),
    ("HorizontalPodAutoscaler", "spec.behavior.scaleUp.stabilizationWindowSeconds"),
    ("HorizontalPodAutoscaler", "spec.behavior.scaleUp.selectPolicy"),
    ("HorizontalPodAutoscaler", "spec.behavior.scaleUp.policies"),
    ("HorizontalPodAutoscaler", "spec.behavior.scaleDown.selectPolicy"),
    ("HorizontalPodAutoscaler", "spec.behavior.scaleDown.policies"),
    ("NetworkPolicy", "spec.policyTypes"),
    ("RoleBinding, ClusterRoleBinding", "subjects[].apiGroup"),
    ("CustomResourceDefinition", "spec.names.singular"),
    ("CustomResourceDefinition", "spec.names.listKind"),
    ("CustomResourceDefinition", "spec.conversion"),
    ("CustomResourceDefinition", "status.storedVersions"),
    // Of custom objects: `custom::default`.
    ("CustomResourceDefinition", "custom objects: every property with a default in the structural schema"),
    ("PriorityLevelConfiguration", "spec.limited.limitResponse.queuing.(queues|handSize|queueLengthLimit)"),
    ("PriorityLevelConfiguration", "spec.exempt.(nominalConcurrencyShares|lendablePercent)"),
    ("PersistentVolume", "spec.rbd.(pool|user|keyring)"),
    ("PersistentVolume", "spec.azureDisk.(cachingMode|kind|fsType|readOnly)"),
    ("PersistentVolume", "spec.scaleIO.(storageMode|fsType)"),
    ("CSIDriver", "spec.volumeLifecycleModes"),
    (
        "ResourceClaim, ResourceClaimTemplate",
        "spec.devices.requests[].exactly.count, .firstAvailable[].count",
    ),
    ("ResourceSlice", "spec.devices[].taints[].timeAdded"),
];

/// Conditions that mean no more than "where the property is unset and its parent is there".
fn is_unconditional(condition: &str) -> bool {
    ["unset", "empty", "parent present, unset"].contains(&condition)
        || condition.ends_with(" present, unset")
        || condition.starts_with("unset, ") && condition.ends_with(" present")
        || [
            "unset or 0",
            "unset; stated by the API documentation",
            "unset (also in autoscaling/v1)",
            "limited present, unset (in v1 an explicit 0 is kept)",
            "unset: always written as the quantity \"0\", which acts as 1",
        ]
        .contains(&condition)
}

/// Writes the defaults into the types.
pub(crate) fn compile(table: &str, kinds: &[Kind], types: &mut [Type]) {
    let numbers: HashMap<String, usize> =
        types.iter().enumerate().map(|(number, ty)| (ty.name.clone(), number)).collect();
    for row in table.lines().skip(1) {
        let columns: Vec<&str> = row.split('\t').collect();
        let &[api_version, kind_names, path, default, condition, layer] = columns.as_slice() else {
            panic!("facts/defaults.tsv: six columns expected: {row:?}");
        };
        if !matches!(layer, "default" | "conversion") || IN_CODE.contains(&(kind_names, path)) {
            continue;
        }
        assert!(
            is_unconditional(condition),
            "facts/defaults.tsv: not compiled and not named in build/defaults.rs: {kind_names} {path}: {condition:?}"
        );
        for name in
            kind_names.replace(" and their bindings", ", ValidatingAdmissionPolicyBinding").split(", ")
        {
            let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
            let known = |k: &&Kind| k.group == group && k.version == version && k.kind == name;
            let root = match (name, kinds.iter().find(known)) {
                ("any PodSpec", _) => "io.k8s.api.core.v1.PodTemplateSpec",
                (_, Some(kind)) => kind.definition.as_str(),
                // A version that is not embedded.
                (_, None) => continue,
            };
            for path in expand(path) {
                attach(types, numbers[root], &path, default, condition.contains("or 0"));
            }
        }
    }
}

/// All single paths that a path with alternatives and continuations stands for.
fn expand(path: &str) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    for part in path.split(", ") {
        let full = match (part.strip_prefix('.'), paths.first()) {
            // `.b` after `x.a`: in place of the last list's item path.
            (Some(rest), Some(first)) => {
                let base = first.find(".exactly").unwrap_or_else(|| panic!("facts/defaults.tsv: {path}"));
                format!("{}.{rest}", &first[..base])
            }
            _ => part.to_owned(),
        };
        paths.push(full);
    }
    while let Some(index) = paths.iter().position(|p| p.contains('(')) {
        let path = paths.swap_remove(index);
        let (start, end) = (path.find('(').expect("just found"), path.find(')').expect("parentheses match"));
        for alternative in path[start + 1..end].split('|') {
            paths.push(format!("{}{alternative}{}", &path[..start], &path[end + 1..]));
        }
    }
    paths
}

fn attach(types: &mut [Type], root: usize, path: &str, default: &str, zero_is_unset: bool) {
    let mut number = root;
    let mut segments = path.split('.').peekable();
    while let Some(segment) = segments.next() {
        let name = segment.trim_end_matches("[]");
        let type_name = types[number].name.clone();
        // Alternatives do not all have the property: only PodSpec lists containers three times.
        let Some(property) = types[number].properties.get_mut(name) else {
            assert!(is_partial(&type_name), "facts/defaults.tsv: {path}: {type_name} has no property {name}");
            return;
        };
        if segments.peek().is_none() {
            property.default = literal(default, &property.shape);
            property.zero_is_unset = zero_is_unset;
            return;
        }
        let inner = property.shape.trim_start_matches(['[', '{']);
        // `.*` is the value of a map, which the shape already names.
        segments.next_if_eq(&"*");
        number = inner
            .strip_prefix('R')
            .and_then(|digits| digits.parse().ok())
            .unwrap_or_else(|| panic!("facts/defaults.tsv: {path}: {name} is no object"));
    }
}

/// Types that a row with alternatives names although they lack one of the properties.
fn is_partial(type_name: &str) -> bool {
    ["ValidatingAdmissionPolicy", "MutatingAdmissionPolicy", "ResourceClaimTemplateSpec"]
        .iter()
        .any(|name| type_name.contains(name))
}

/// The JSON of a default as the table writes it: bare texts, numbers with a remark in parentheses, `{}`.
fn literal(text: &str, shape: &str) -> String {
    let bare = text.split(" (").next().expect("splitting gives at least one part");
    match shape {
        "b" | "i" | "l" => bare.to_owned(),
        "o" if bare.parse::<i64>().is_ok() => bare.to_owned(),
        "s" | "q" | "o" | "B" => match bare {
            "\"\"" => bare.to_owned(),
            bare => format!("\"{bare}\""),
        },
        _ if bare == "{}" => bare.to_owned(),
        _ => panic!("facts/defaults.tsv: {text:?} is no literal for the shape {shape:?}"),
    }
}
