//! Bodies encoded by generated code that is not ours, compared with the same object in JSON. Fields that Go always
//! writes are spelled out as empty, as its encoder does.

use std::collections::BTreeMap;

use k8s_pb::api::{
    apps::v1 as apps, authorization::v1 as authorization, coordination::v1 as coordination, core::v1 as core,
};
use k8s_pb::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use k8s_pb::apimachinery::pkg::api::resource::Quantity;
use k8s_pb::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_pb::apimachinery::pkg::runtime::{RawExtension, TypeMeta as PbTypeMeta, Unknown};
use k8s_pb::apimachinery::pkg::util::intstr::IntOrString;
use prost::Message;
use serde_json::{Value, json};

use crate::decode::{ContentType, Decoded, FieldValidation, decode, peek_type_meta};
use crate::types::{Schemas, TypeRef};

fn body_of(api_version: &str, kind: &str, raw: Vec<u8>) -> Vec<u8> {
    let envelope = Unknown {
        type_meta: Some(PbTypeMeta { api_version: Some(api_version.into()), kind: Some(kind.into()) }),
        raw: Some(raw),
        content_encoding: Some(String::new()),
        content_type: Some(String::new()),
    };
    [b"k8s\0".to_vec(), envelope.encode_to_vec()].concat()
}

fn ty(api_version: &str, kind: &str) -> TypeRef<'static> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let schemas = Schemas::builtin();
    match kind {
        "DeleteOptions" => schemas.delete_options(),
        _ => schemas.kind(group, version, kind).expect("a built-in kind"),
    }
}

fn read(api_version: &str, kind: &str, message: &impl Message) -> Decoded {
    let body = body_of(api_version, kind, message.encode_to_vec());
    let found = peek_type_meta(&body, ContentType::Protobuf).expect("an envelope");
    assert_eq!((found.api_version.as_str(), found.kind.as_str()), (api_version, kind));
    decode(&body, ContentType::Protobuf, ty(api_version, kind), FieldValidation::Strict).expect("a good body")
}

/// Both encodings of one object are decoded to the same value.
#[track_caller]
fn same(message: &impl Message, json: Value) {
    let (api_version, kind) =
        (json["apiVersion"].as_str().expect("a version"), json["kind"].as_str().expect("a kind"));
    let from_json = decode(
        json.to_string().as_bytes(),
        ContentType::Json,
        ty(api_version, kind),
        FieldValidation::Strict,
    )
    .expect("good JSON");
    assert_eq!(read(api_version, kind, message).value, from_json.value);
}

#[expect(clippy::unnecessary_wraps, reason = "every field of the generated messages is an Option")]
fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// Metadata as Go writes it: most of it empty.
fn named(name: &str) -> Option<meta::ObjectMeta> {
    Some(meta::ObjectMeta {
        name: text(name),
        generate_name: text(""),
        namespace: text(""),
        self_link: text(""),
        uid: text(""),
        resource_version: text(""),
        generation: Some(0),
        creation_timestamp: Some(meta::Time::default()),
        ..Default::default()
    })
}

fn port(number: i32) -> Option<IntOrString> {
    Some(IntOrString { r#type: Some(0), int_val: Some(number), str_val: text("") })
}

fn container() -> core::Container {
    core::Container {
        name: text("web"),
        image: text("web:1"),
        working_dir: text(""),
        ports: vec![core::ContainerPort {
            name: text(""),
            host_port: Some(0),
            container_port: Some(80),
            protocol: text("TCP"),
            host_ip: text(""),
        }],
        resources: Some(core::ResourceRequirements {
            limits: BTreeMap::from([("cpu".to_owned(), Quantity { string: text("1000m") })]),
            ..Default::default()
        }),
        readiness_probe: Some(core::Probe {
            handler: Some(core::ProbeHandler {
                http_get: Some(core::HttpGetAction {
                    path: text("/"),
                    port: port(80),
                    host: text(""),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            initial_delay_seconds: Some(0),
            ..Default::default()
        }),
        env: vec![core::EnvVar {
            name: text("CPU"),
            value: text(""),
            value_from: Some(core::EnvVarSource {
                resource_field_ref: Some(core::ResourceFieldSelector {
                    container_name: text(""),
                    resource: text("limits.cpu"),
                    divisor: Some(Quantity { string: text("0") }),
                }),
                ..Default::default()
            }),
        }],
        stdin: Some(false),
        ..Default::default()
    }
}

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

#[test]
fn questions_and_options_are_what_their_json_is() {
    let review = authorization::SubjectAccessReview {
        metadata: named(""),
        spec: Some(authorization::SubjectAccessReviewSpec {
            resource_attributes: Some(authorization::ResourceAttributes {
                verb: text("create"),
                resource: text("pods"),
                namespace: text(""),
                ..Default::default()
            }),
            user: text("jane"),
            groups: vec!["dev".to_owned()],
            extra: BTreeMap::from([(
                "scopes".to_owned(),
                authorization::ExtraValue { items: vec!["a".to_owned(), String::new()] },
            )]),
            ..Default::default()
        }),
        status: Some(authorization::SubjectAccessReviewStatus { allowed: Some(false), ..Default::default() }),
    };
    same(
        &review,
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
            "resourceAttributes": {"verb": "create", "resource": "pods"},
            "user": "jane", "groups": ["dev"], "extra": {"scopes": ["a", ""]},
        }, "status": {"allowed": false}}),
    );
    let options = meta::DeleteOptions {
        grace_period_seconds: Some(0),
        preconditions: Some(meta::Preconditions { uid: text("u"), resource_version: None }),
        propagation_policy: text("Background"),
        ..Default::default()
    };
    same(
        &options,
        json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
            "preconditions": {"uid": "u"}, "propagationPolicy": "Background"}),
    );
}

#[test]
fn free_json_and_either_or_schemas_are_what_their_json_is() {
    let raw = br#"{"spec":{"a":[1,null]}}"#;
    let revision = apps::ControllerRevision {
        metadata: named("r"),
        data: Some(RawExtension { raw: Some(raw.to_vec()) }),
        revision: Some(0),
    };
    same(
        &revision,
        json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "r"},
            "data": {"spec": {"a": [1, null]}}, "revision": 0}),
    );
    let of_type = |name| apiextensions::JsonSchemaProps { r#type: text(name), ..Default::default() };
    let property = apiextensions::JsonSchemaProps {
        default: Some(apiextensions::Json { raw: Some(b"0".to_vec()) }),
        items: Some(Box::new(apiextensions::JsonSchemaPropsOrArray {
            schema: Some(Box::new(of_type("string"))),
            j_son_schemas: Vec::new(),
        })),
        additional_properties: Some(Box::new(apiextensions::JsonSchemaPropsOrBool {
            allows: Some(false),
            schema: None,
        })),
        dependencies: BTreeMap::from([(
            "a".to_owned(),
            apiextensions::JsonSchemaPropsOrStringArray { schema: None, property: vec!["b".to_owned()] },
        )]),
        maximum: Some(0.5),
        ..Default::default()
    };
    let definition = apiextensions::CustomResourceDefinition {
        spec: Some(apiextensions::CustomResourceDefinitionSpec {
            group: text("example.com"),
            versions: vec![apiextensions::CustomResourceDefinitionVersion {
                name: text("v1"),
                served: Some(false),
                schema: Some(apiextensions::CustomResourceValidation {
                    open_apiv3_schema: Some(apiextensions::JsonSchemaProps {
                        properties: BTreeMap::from([("p".to_owned(), property)]),
                        ..Default::default()
                    }),
                }),
                subresources: Some(apiextensions::CustomResourceSubresources {
                    status: Some(apiextensions::CustomResourceSubresourceStatus::default()),
                    scale: None,
                }),
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    };
    same(
        &definition,
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": {
            "group": "example.com",
            "versions": [{"name": "v1", "served": false, "subresources": {"status": {}}, "schema": {
                "openAPIV3Schema": {"properties": {"p": {
                    "default": 0, "items": {"type": "string"}, "additionalProperties": false,
                    "dependencies": {"a": ["b"]}, "maximum": 0.5,
                }}},
            }}],
        }}),
    );
}

/// A ConfigMap with a field of the given number and wire bytes in its metadata.
fn with_unknown(tail: &[u8]) -> Vec<u8> {
    let metadata =
        [meta::ObjectMeta { name: text("a"), ..Default::default() }.encode_to_vec(), tail.to_vec()];
    let metadata = metadata.concat();
    let length = u8::try_from(metadata.len()).expect("a short message");
    body_of("v1", "ConfigMap", [vec![0x0a, length], metadata].concat())
}

#[test]
fn a_field_without_a_name_is_told_by_its_number_unless_it_says_nothing() {
    let newer = with_unknown(&[0xf8, 0x3f, 1]);
    let at = |validation| decode(&newer, ContentType::Protobuf, ty("v1", "ConfigMap"), validation);
    let warned = at(FieldValidation::Warn).expect("pruned");
    assert_eq!(warned.warnings, [r#"unknown field "metadata.#1023""#]);
    assert_eq!(warned.value["metadata"], json!({"name": "a"}));
    assert_eq!(
        at(FieldValidation::Strict).expect_err("refused").to_string(),
        r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "metadata.#1023""#
    );
    let unset = with_unknown(&[0xf8, 0x3f, 0, 0xf2, 0x3f, 0]);
    let decoded = decode(&unset, ContentType::Protobuf, ty("v1", "ConfigMap"), FieldValidation::Strict);
    assert!(decoded.is_ok_and(|d| d.warnings.is_empty()));
}

#[test]
fn what_is_no_kubernetes_protobuf_is_refused_with_the_reason() {
    let in_map = |raw: &[u8]| body_of("v1", "ConfigMap", raw.to_vec());
    let object = r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: "#;
    let unrecognized = "the object provided is unrecognized (must be of type ConfigMap): ";
    for (body, message) in [
        (Vec::new(), format!("{unrecognized}empty data (<empty>)")),
        (b"k8s\0".to_vec(), format!("{unrecognized}empty body (6b387300)")),
        (
            b"{}".to_vec(),
            format!(
                "{unrecognized}provided data does not appear to be a protobuf message, expected prefix [107 56 115 0] ({{}})"
            ),
        ),
        (in_map(&[0x0a, 9]), format!("{object}unexpected EOF")),
        (in_map(&[0x0b]), format!("{object}proto: illegal wireType 3")),
        (in_map(&[0x02, 0]), format!("{object}proto: illegal tag 0")),
        (in_map(&[0xff; 11]), format!("{object}proto: integer overflow")),
        (in_map(&[0x08, 1]), format!("{object}proto: wrong wireType = 0 for field metadata")),
        (
            in_map(&[0x0a, 3, 0x0a, 1, 0xff]),
            format!("{object}proto: field metadata.name contains invalid UTF-8"),
        ),
    ] {
        let read = decode(&body, ContentType::Protobuf, ty("v1", "ConfigMap"), FieldValidation::Warn);
        assert_eq!(read.expect_err("refused").to_string(), message);
    }
}

#[test]
fn every_cut_of_a_body_is_refused_or_read_and_nesting_is_bounded() {
    let pod = core::Pod {
        metadata: named("p"),
        spec: Some(core::PodSpec { containers: vec![container()], ..Default::default() }),
        ..Default::default()
    };
    let body = body_of("v1", "Pod", pod.encode_to_vec());
    for end in 0..body.len() {
        let _ = decode(&body[..end], ContentType::Protobuf, ty("v1", "Pod"), FieldValidation::Strict);
    }
    let mut schema = Vec::new();
    for _ in 0..1000 {
        // JSONSchemaProps.not
        let mut outer = vec![0xe2, 0x01];
        prost::encoding::encode_varint(schema.len() as u64, &mut outer);
        outer.extend(schema);
        schema = outer;
    }
    let props = Schemas::builtin()
        .definition("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")
        .expect("an embedded definition");
    let body = body_of("apiextensions.k8s.io/v1", "JSONSchemaProps", schema);
    let error = decode(&body, ContentType::Protobuf, props, FieldValidation::Warn).expect_err("too deep");
    assert_eq!(error.detail(), "exceeded max depth");
}
