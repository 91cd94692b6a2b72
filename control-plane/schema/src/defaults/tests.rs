//! Whole objects before and after, one per documented row that has a condition, and the laws of defaulting.

use serde_json::{Value, json};

use super::apply;
use crate::types::Schemas;

fn defaulted(group: &str, kind: &str, mut value: Value) -> Value {
    let ty = Schemas::builtin().kind(group, "v1", kind).expect("a built-in kind");
    apply(ty, &mut value);
    let once = value.clone();
    apply(ty, &mut value);
    assert_eq!(value, once, "defaulting twice is defaulting once");
    value
}

#[test]
fn a_pod_gets_all_of_its_defaults() {
    let pod = json!({
        "metadata": {"name": "nginx"},
        "spec": {
            "serviceAccountName": "sa",
            "volumes": [{"name": "v"}, {"name": "s", "secret": {"secretName": "x"}}, {"name": "h", "hostPath": {"path": "/"}}],
            "initContainers": [{"name": "i", "image": "busybox:1", "lifecycle": {"preStop": {"httpGet": {"port": 1}}}}],
            "containers": [{
                "name": "c",
                "image": "nginx",
                "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "100u", "memory": "1Gi"}, "requests": {"memory": "1Mi"}},
                "env": [{"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                        {"name": "R", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}],
                "readinessProbe": {"httpGet": {"port": 80}, "periodSeconds": 0, "timeoutSeconds": 7},
                "livenessProbe": {"grpc": {"port": 80}},
            }],
        },
    });
    let probe = |extra: Value, timeout: i32| {
        let mut probe = json!({"timeoutSeconds": timeout, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3});
        probe.as_object_mut().expect("an object").extend(extra.as_object().cloned().expect("an object"));
        probe
    };
    assert_eq!(
        defaulted("", "Pod", pod),
        json!({
            "metadata": {"name": "nginx"},
            "spec": {
                "serviceAccountName": "sa",
                "serviceAccount": "sa",
                "restartPolicy": "Always",
                "dnsPolicy": "ClusterFirst",
                "schedulerName": "default-scheduler",
                "terminationGracePeriodSeconds": 30,
                "securityContext": {},
                "enableServiceLinks": true,
                "volumes": [
                    {"name": "v", "emptyDir": {}},
                    {"name": "s", "secret": {"secretName": "x", "defaultMode": 420}},
                    {"name": "h", "hostPath": {"path": "/", "type": ""}},
                ],
                "initContainers": [{
                    "name": "i",
                    "image": "busybox:1",
                    "imagePullPolicy": "IfNotPresent",
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File",
                    "lifecycle": {"preStop": {"httpGet": {"port": 1, "path": "/", "scheme": "HTTP"}}},
                }],
                "containers": [{
                    "name": "c",
                    "image": "nginx",
                    "imagePullPolicy": "Always",
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File",
                    "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "resources": {"limits": {"cpu": "1m", "memory": "1Gi"}, "requests": {"cpu": "1m", "memory": "1Mi"}},
                    "env": [{"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name", "apiVersion": "v1"}}},
                            {"name": "R", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "0"}}}],
                    "readinessProbe": probe(json!({"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}}), 7),
                    "livenessProbe": probe(json!({"grpc": {"port": 80, "service": ""}}), 1),
                }],
            },
        })
    );
}

#[test]
fn a_template_lacks_what_only_pods_get() {
    let deployment = json!({"spec": {"template": {"spec": {
        "hostNetwork": true,
        "containers": [{"name": "c", "image": "a:1", "ports": [{"containerPort": 80}],
            "resources": {"limits": {"cpu": "1"}}}]}}}});
    let spec = &defaulted("apps", "Deployment", deployment)["spec"];
    assert_eq!(spec["replicas"], 1);
    assert_eq!(spec["revisionHistoryLimit"], 10);
    assert_eq!(spec["progressDeadlineSeconds"], 600);
    assert_eq!(
        spec["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
    );
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["restartPolicy"], "Always");
    assert_eq!(pod.get("enableServiceLinks"), None);
    assert_eq!(pod["containers"][0]["ports"], json!([{"containerPort": 80, "protocol": "TCP"}]));
    assert_eq!(pod["containers"][0]["resources"], json!({"limits": {"cpu": "1"}}));
}

#[test]
fn explicit_values_stay() {
    let deployment =
        json!({"spec": {"replicas": 0, "strategy": {"type": "Recreate"}, "revisionHistoryLimit": 0}});
    let spec = &defaulted("apps", "Deployment", deployment)["spec"];
    assert_eq!((&spec["replicas"], &spec["revisionHistoryLimit"]), (&json!(0), &json!(0)));
    assert_eq!(spec["strategy"], json!({"type": "Recreate"}));
}

#[test]
fn a_service_follows_its_type() {
    let port = json!([{"port": 80}]);
    let ports = json!([{"port": 80, "targetPort": 80, "protocol": "TCP"}]);
    for (spec, expected) in [
        (
            json!({"ports": port, "sessionAffinityConfig": {"clientIP": {}}}),
            json!({"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster", "ports": ports}),
        ),
        (
            json!({"type": "NodePort", "sessionAffinity": "ClientIP"}),
            json!({"type": "NodePort", "sessionAffinity": "ClientIP",
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
                "internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "Cluster"}),
        ),
        (
            json!({"type": "LoadBalancer"}),
            json!({"type": "LoadBalancer", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
                "externalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": true}),
        ),
        (json!({"type": "ExternalName"}), json!({"type": "ExternalName", "sessionAffinity": "None"})),
    ] {
        assert_eq!(defaulted("", "Service", json!({"spec": spec}))["spec"], expected);
    }
}

#[test]
fn smaller_kinds_get_theirs() {
    for (group, kind, value, expected) in [
        (
            "",
            "Namespace",
            json!({"metadata": {"name": "a"}}),
            json!({"metadata": {"name": "a", "labels": {"kubernetes.io/metadata.name": "a"}}, "status": {"phase": "Active"}}),
        ),
        (
            "",
            "Secret",
            json!({"data": {"a": "QQ=="}, "stringData": {"b": "B"}}),
            json!({"type": "Opaque", "data": {"a": "QQ==", "b": "Qg=="}}),
        ),
        (
            "",
            "Node",
            json!({"status": {"capacity": {"cpu": "1"}}}),
            json!({"status": {"capacity": {"cpu": "1"}, "allocatable": {"cpu": "1"}}}),
        ),
        (
            "rbac.authorization.k8s.io",
            "RoleBinding",
            json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User"}, {"kind": "ServiceAccount"}]}),
            json!({"roleRef": {"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"},
                "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io"}, {"kind": "ServiceAccount"}]}),
        ),
        (
            "discovery.k8s.io",
            "EndpointSlice",
            json!({"ports": [{"port": 1}]}),
            json!({"ports": [{"port": 1, "name": "", "protocol": "TCP"}]}),
        ),
        (
            "networking.k8s.io",
            "NetworkPolicy",
            json!({"spec": {"podSelector": {}}}),
            json!({"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}),
        ),
        (
            "scheduling.k8s.io",
            "PriorityClass",
            json!({"value": 1}),
            json!({"value": 1, "preemptionPolicy": "PreemptLowerPriority"}),
        ),
        ("", "ConfigMap", json!({}), json!({})),
        ("coordination.k8s.io", "Lease", json!({"spec": {}}), json!({"spec": {}})),
    ] {
        assert_eq!(defaulted(group, kind, value), expected, "{kind}");
    }
}

#[test]
fn a_job_is_defaulted_and_a_cron_jobs_template_is_not() {
    let job = defaulted("batch", "Job", json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}}));
    assert_eq!(job["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!((&job["spec"]["completions"], &job["spec"]["backoffLimit"]), (&json!(1), &json!(6)));
    let cron =
        defaulted("batch", "CronJob", json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": {}}}}}}));
    assert_eq!(cron["spec"]["concurrencyPolicy"], "Allow");
    assert_eq!(cron["spec"]["jobTemplate"]["spec"].as_object().map(|s| s.len()), Some(1));
    assert_eq!(cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["dnsPolicy"], "ClusterFirst");
}

#[test]
fn pod_level_requests_follow_containers_or_limits() {
    let spec = json!({
        "resources": {"limits": {"cpu": "4", "memory": "1Gi"}},
        "containers": [{"name": "c", "image": "a:1", "resources": {"requests": {"cpu": "1"}, "limits": {"hugepages-2Mi": "4Mi"}}}],
    });
    let resources = &defaulted("", "Pod", json!({"spec": spec}))["spec"]["resources"];
    assert_eq!(
        *resources,
        json!({"limits": {"cpu": "4", "memory": "1Gi", "hugepages-2Mi": "4Mi"},
            "requests": {"cpu": "1", "memory": "1Gi", "hugepages-2Mi": "4Mi"}})
    );
}
