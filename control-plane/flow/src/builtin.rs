//! The configuration that a cluster starts with: upstream's mandatory and suggested objects, under its names and figures
//! (<https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#defaults>).

use serde_json::{Value, json};

/// What says of an object whether it follows the release (`true`), or its administrator.
pub const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
/// Objects of both kinds that every cluster has, whatever its administrator says.
pub const MANDATORY: [&str; 2] = ["exempt", "catch-all"];

/// Queues, hand size, length of a queue.
type Queuing = (u32, u32, u32);

/// A level: name, shares, lendable percent, and how its requests wait, without which it refuses them.
const LEVELS: [(&str, u32, u32, Option<Queuing>); 7] = [
    ("catch-all", 5, 0, None),
    ("system", 30, 33, Some((64, 6, 50))),
    ("node-high", 40, 25, Some((64, 6, 50))),
    ("leader-election", 10, 0, Some((16, 4, 50))),
    ("workload-high", 40, 50, Some((128, 6, 50))),
    ("workload-low", 100, 90, Some((128, 6, 50))),
    ("global-default", 20, 50, Some((128, 6, 50))),
];

/// Every PriorityLevelConfiguration.
pub fn priority_levels() -> Vec<Value> {
    let exempt = json!({
        "type": "Exempt",
        "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0},
    });
    let mut out = vec![object("PriorityLevelConfiguration", "exempt", exempt)];
    out.extend(LEVELS.iter().map(|(name, shares, lendable, queuing)| {
        let response = match queuing {
            None => json!({"type": "Reject"}),
            Some((queues, hand, length)) => json!({
                "type": "Queue",
                "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": length},
            }),
        };
        let limited = json!({
            "nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response,
        });
        object("PriorityLevelConfiguration", name, json!({"type": "Limited", "limited": limited}))
    }));
    out
}

/// The mandatory object of that kind and name.
pub fn mandatory(kind: &str, name: &str) -> Option<Value> {
    let all = match kind {
        "FlowSchema" => flow_schemas(),
        "PriorityLevelConfiguration" => priority_levels(),
        _ => return None,
    };
    all.into_iter().find(|object| MANDATORY.contains(&name) && object["metadata"]["name"] == name)
}

/// Whether a stored object says what a built-in one does. What the exempt level counts for in the shares of others is an
/// administrator's to say.
pub fn same_spec(wanted: &Value, stored: &Value) -> bool {
    let mut wanted = wanted["spec"].clone();
    if let (Some(wanted), Some(exempt)) = (wanted.get_mut("exempt"), stored["spec"].get("exempt")) {
        *wanted = exempt.clone();
    }
    wanted == stored["spec"]
}

/// Every FlowSchema.
pub fn flow_schemas() -> Vec<Value> {
    let all_users = || vec![group("system:unauthenticated"), group("system:authenticated")];
    let leading = "get create update";
    let leases = || resources(leading, "coordination.k8s.io", "leases", false);
    let manager = || user("system:kube-controller-manager");
    let probes = json!([{
        "subjects": all_users(),
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}],
    }]);
    let endpoints = some(
        vec![manager(), account("endpoint-controller"), account("endpointslicemirroring-controller")],
        vec![resources(leading, "", "endpoints", false)],
    );
    let node_high = some(
        vec![group("system:nodes")],
        vec![
            resources("*", "", "nodes nodes/status", true),
            resources("*", "coordination.k8s.io", "leases", false),
        ],
    );
    vec![
        schema("exempt", "exempt", 1, "", all(vec![group("system:masters")])),
        schema("probes", "exempt", 2, "", probes),
        schema(
            "system-leader-election",
            "leader-election",
            100,
            "ByUser",
            some(vec![manager(), user("system:kube-scheduler"), account("*")], vec![leases()]),
        ),
        schema("endpoint-controller", "workload-high", 150, "ByUser", endpoints),
        schema(
            "workload-leader-election",
            "leader-election",
            200,
            "ByUser",
            some(vec![account("*")], vec![leases()]),
        ),
        schema("system-node-high", "node-high", 400, "ByUser", node_high),
        schema("system-nodes", "system", 500, "ByUser", all(vec![group("system:nodes")])),
        schema("kube-controller-manager", "workload-high", 800, "ByNamespace", all(vec![manager()])),
        schema(
            "kube-scheduler",
            "workload-high",
            800,
            "ByNamespace",
            all(vec![user("system:kube-scheduler")]),
        ),
        schema("kube-system-service-accounts", "workload-high", 900, "ByNamespace", all(vec![account("*")])),
        schema(
            "service-accounts",
            "workload-low",
            9000,
            "ByUser",
            all(vec![group("system:serviceaccounts")]),
        ),
        schema("global-default", "global-default", 9900, "ByUser", all(all_users())),
        schema("catch-all", "catch-all", 10000, "ByUser", all(all_users())),
    ]
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name, "annotations": {AUTO_UPDATE: "true"}},
        "spec": spec,
    })
}

fn schema(name: &str, level: &str, precedence: i32, by: &str, rules: Value) -> Value {
    let mut spec = json!({
        "priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": rules,
    });
    if !by.is_empty() {
        spec["distinguisherMethod"] = json!({"type": by});
    }
    object("FlowSchema", name, spec)
}

/// Whatever the subjects ask.
fn all(subjects: Vec<Value>) -> Value {
    json!([{
        "subjects": subjects,
        "resourceRules": [resources("*", "*", "*", true)],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    }])
}

fn some(subjects: Vec<Value>, rules: Vec<Value>) -> Value {
    json!([{"subjects": subjects, "resourceRules": rules}])
}

fn resources(verbs: &str, group: &str, resources: &str, cluster_scope: bool) -> Value {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let mut rule = json!({
        "verbs": words(verbs), "apiGroups": [group], "resources": words(resources), "namespaces": ["*"],
    });
    if cluster_scope {
        rule["clusterScope"] = true.into();
    }
    rule
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "user": {"name": name}})
}

fn group(name: &str) -> Value {
    json!({"kind": "Group", "group": {"name": name}})
}

fn account(name: &str) -> Value {
    json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": name}})
}
