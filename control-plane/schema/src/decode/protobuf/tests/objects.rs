//! Stored kinds: what Go always writes, what it leaves out, and every sort of value.

use k8s_pb::api::{apps::v1 as apps, coordination::v1 as coordination};

use super::*;

#[test]
fn a_pod_is_what_its_json_is() {
    let volumes = vec![
        core::Volume {
            name: text("scratch"),
            volume_source: Some(core::VolumeSource {
                empty_dir: Some(core::EmptyDirVolumeSource { medium: text(""), size_limit: None }),
                ..Default::default()
            }),
        },
        core::Volume {
            name: text("settings"),
            volume_source: Some(core::VolumeSource {
                config_map: Some(core::ConfigMapVolumeSource {
                    local_object_reference: Some(core::LocalObjectReference { name: text("settings") }),
                    optional: Some(false),
                    ..Default::default()
                }),
                ..Default::default()
            }),
        },
    ];
    let pod = core::Pod {
        metadata: named("web"),
        spec: Some(core::PodSpec {
            volumes,
            containers: vec![container()],
            restart_policy: text(""),
            node_name: text(""),
            host_network: Some(false),
            automount_service_account_token: Some(false),
            priority: Some(0),
            security_context: Some(core::PodSecurityContext {
                run_as_user: Some(0),
                supplemental_groups: vec![0, -1],
                ..Default::default()
            }),
            ..Default::default()
        }),
        status: Some(core::PodStatus {
            phase: text(""),
            message: text(""),
            observed_generation: Some(0),
            ..Default::default()
        }),
    };
    same(
        &pod,
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {
            "volumes": [
                {"name": "scratch", "emptyDir": {}},
                {"name": "settings", "configMap": {"name": "settings", "optional": false}},
            ],
            "containers": [{
                "name": "web", "image": "web:1",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "resources": {"limits": {"cpu": "1"}},
                "readinessProbe": {"httpGet": {"path": "/", "port": 80}},
                "env": [{"name": "CPU", "valueFrom":
                    {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "0"}}}],
            }],
            "automountServiceAccountToken": false,
            "priority": 0,
            "securityContext": {"runAsUser": 0, "supplementalGroups": [0, -1]},
        }}),
    );
}

#[test]
fn a_zero_behind_a_pointer_is_kept_and_any_other_is_unset() {
    let labels = BTreeMap::from([("app".to_owned(), "web".to_owned()), ("empty".to_owned(), String::new())]);
    let deployment = apps::Deployment {
        metadata: named("web"),
        spec: Some(apps::DeploymentSpec {
            replicas: Some(0),
            selector: Some(meta::LabelSelector { match_labels: labels.clone(), ..Default::default() }),
            template: Some(core::PodTemplateSpec {
                metadata: Some(meta::ObjectMeta {
                    labels,
                    ..named("").expect("every field of the generated messages is an Option")
                }),
                spec: Some(core::PodSpec { containers: vec![container()], ..Default::default() }),
            }),
            strategy: Some(apps::DeploymentStrategy { r#type: text(""), ..Default::default() }),
            min_ready_seconds: Some(0),
            paused: Some(false),
            ..Default::default()
        }),
        status: Some(apps::DeploymentStatus { replicas: Some(0), ..Default::default() }),
    };
    let got = read("apps/v1", "Deployment", &deployment).value;
    let labels = json!({"app": "web", "empty": ""});
    assert_eq!(got["spec"]["replicas"], 0);
    assert_eq!(got["spec"]["selector"], json!({ "matchLabels": labels }));
    assert_eq!(got["spec"]["template"]["metadata"], json!({ "labels": labels }));
    assert_eq!(got["spec"].as_object().expect("an object").len(), 3, "{got}");
    assert_eq!((&got["metadata"], got.get("status")), (&json!({"name": "web"}), None));
}

#[test]
fn services_secrets_leases_and_events_are_what_their_json_is() {
    let service = core::Service {
        metadata: named("web"),
        spec: Some(core::ServiceSpec {
            ports: vec![core::ServicePort {
                name: text(""),
                protocol: text("TCP"),
                port: Some(80),
                target_port: port(0),
                node_port: Some(0),
                ..Default::default()
            }],
            cluster_ip: text("None"),
            ip_families: vec!["IPv4".to_owned()],
            ip_family_policy: text("SingleStack"),
            publish_not_ready_addresses: Some(false),
            ..Default::default()
        }),
        status: Some(core::ServiceStatus {
            load_balancer: Some(core::LoadBalancerStatus::default()),
            ..Default::default()
        }),
    };
    same(
        &service,
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {
            "ports": [{"protocol": "TCP", "port": 80}],
            "clusterIP": "None", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
        }}),
    );
    let secret = core::Secret {
        metadata: named("s"),
        data: BTreeMap::from([("a".to_owned(), vec![0, 255, 1]), ("b".to_owned(), Vec::new())]),
        r#type: text("Opaque"),
        immutable: Some(false),
        ..Default::default()
    };
    same(
        &secret,
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
            "data": {"a": "AP8B", "b": ""}, "type": "Opaque", "immutable": false}),
    );
    let instant = |nanos| Some(meta::MicroTime { seconds: Some(1_767_323_045), nanos: Some(nanos) });
    let lease = coordination::Lease {
        metadata: named("l"),
        spec: Some(coordination::LeaseSpec {
            holder_identity: text(""),
            lease_transitions: Some(0),
            renew_time: instant(123_456_789),
            ..Default::default()
        }),
    };
    same(
        &lease,
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}, "spec":
            {"holderIdentity": "", "leaseTransitions": 0, "renewTime": "2026-01-02T03:04:05.123456Z"}}),
    );
    let event = core::Event {
        metadata: named("e"),
        involved_object: Some(core::ObjectReference { kind: text("Pod"), ..Default::default() }),
        reason: text("Started"),
        first_timestamp: Some(meta::Time { seconds: Some(1_767_323_045), nanos: Some(5) }),
        last_timestamp: Some(meta::Time::default()),
        event_time: Some(meta::MicroTime::default()),
        count: Some(0),
        reporting_component: text(""),
        reporting_instance: text(""),
        ..Default::default()
    };
    same(
        &event,
        json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"},
            "involvedObject": {"kind": "Pod"}, "reason": "Started", "firstTimestamp": "2026-01-02T03:04:05Z",
            "reportingComponent": "", "reportingInstance": ""}),
    );
}
