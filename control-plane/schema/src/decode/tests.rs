//! What clients send, and what they are told: the wording is upstream's.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::types::Schemas;

fn ty(group: &str, kind: &str) -> TypeRef<'static> {
    Schemas::builtin().kind(group, "v1", kind).expect("a built-in kind")
}

fn pod(spec: Value) -> Vec<u8> {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec})
        .to_string()
        .into_bytes()
}

fn refused(body: &[u8], ty: TypeRef<'_>) -> String {
    decode(body, ContentType::Json, ty, FieldValidation::Strict).expect_err("to be refused").to_string()
}

#[test]
fn values_come_out_canonical() {
    let body = pod(json!({
        "nodeSelector": {},
        "volumes": null,
        "activeDeadlineSeconds": 5,
        "containers": [{
            "name": "c",
            "args": [],
            "command": ["a", null],
            "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}, "requests": {"cpu": "1000m"}},
            "livenessProbe": {"httpGet": {"port": "http"}},
            "readinessProbe": {"tcpSocket": {"port": 80}},
        }],
    }));
    let decoded =
        decode(&body, ContentType::Json, ty("", "Pod"), FieldValidation::Strict).expect("a good pod");
    assert_eq!(
        decoded.value["spec"],
        json!({
            "activeDeadlineSeconds": 5,
            "containers": [{
                "name": "c",
                "command": ["a", ""],
                "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}, "requests": {"cpu": "1"}},
                "livenessProbe": {"httpGet": {"port": "http"}},
                "readinessProbe": {"tcpSocket": {"port": 80}},
            }],
        })
    );
}

#[test]
fn times_are_canonical_and_a_null_one_is_dropped() {
    let body = br#"{"metadata": {"name": "l", "creationTimestamp": null},
        "spec": {"renewTime": "2026-01-02T03:04:05+02:00", "acquireTime": "2026-01-02T03:04:05.1234567Z"}}"#;
    let decoded =
        decode(body, ContentType::Json, ty("coordination.k8s.io", "Lease"), FieldValidation::Strict)
            .expect("a good lease");
    assert_eq!(
        decoded.value,
        json!({"metadata": {"name": "l"},
            "spec": {"renewTime": "2026-01-02T01:04:05.000000Z", "acquireTime": "2026-01-02T03:04:05.123456Z"}})
    );
}

#[test]
fn unknown_and_duplicate_fields_are_named() {
    let body = br#"{"spek": 1, "metadata": {"labels": {"a": "b", "a": "c"}, "name": "x", "name": "y"},
        "spec": {"containers": [{"name": "c", "imag": "x"}]}}"#;
    let texts = [
        r#"unknown field "spek""#,
        r#"duplicate field "metadata.labels.a""#,
        r#"duplicate field "metadata.name""#,
        r#"unknown field "spec.containers[0].imag""#,
    ];
    assert_eq!(
        refused(body, ty("", "Pod")),
        format!(
            "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: {}",
            texts.join(", ")
        )
    );
    let warned = decode(body, ContentType::Json, ty("", "Pod"), FieldValidation::Warn).expect("only warned");
    assert_eq!(warned.warnings, texts);
    assert_eq!(
        warned.value,
        json!({"metadata": {"labels": {"a": "c"}, "name": "y"}, "spec": {"containers": [{"name": "c"}]}})
    );
    let ignored = decode(body, ContentType::Json, ty("", "Pod"), FieldValidation::Ignore).expect("ignored");
    assert_eq!((ignored.warnings, ignored.value), (Vec::new(), warned.value));
}

#[test]
fn wrong_types_are_named_as_upstream_does() {
    let prefix = "cannot be handled as a";
    for (group, kind, body, expected) in [
        (
            "apps",
            "Deployment",
            json!({"spec": {"replicas": "3"}}),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "apps",
            "Deployment",
            json!({"spec": {"replicas": 1.5}}),
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "apps",
            "Deployment",
            json!({"spec": {"replicas": 3_000_000_000_i64}}),
            "json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "",
            "Pod",
            json!({"spec": {"containers": [{"ports": [{"containerPort": "80"}]}]}}),
            "json: cannot unmarshal string into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
        ),
        (
            "",
            "Pod",
            json!({"spec": {"containers": "x"}}),
            "json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            "",
            "Pod",
            json!({"metadata": {"labels": {"a": 1}}}),
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            "",
            "Pod",
            json!({"spec": []}),
            "json: cannot unmarshal array into Go struct field Pod.spec of type v1.PodSpec",
        ),
        ("", "Pod", json!([]), "json: cannot unmarshal array into Go value of type v1.Pod"),
        (
            "",
            "Pod",
            json!({"spec": {"containers": [{"resources": {"limits": {"cpu": "much"}}}]}}),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        ("", "Secret", json!({"data": {"a": "!"}}), "illegal base64 data at input byte 0"),
        (
            "",
            "Service",
            json!({"spec": {"ports": [{"targetPort": true}]}}),
            "json: cannot unmarshal bool into Go value of type int32",
        ),
    ] {
        assert_eq!(
            refused(body.to_string().as_bytes(), ty(group, kind)),
            format!("{kind} in version \"v1\" {prefix} {kind}: {expected}")
        );
    }
}

#[test]
fn what_is_no_json_is_shown() {
    let text = refused(b"not json", ty("", "Pod"));
    assert!(
        text.starts_with("the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error:"),
        "{text}"
    );
    assert!(text.ends_with("(6e6f74206a736f6e)"), "{text}");
    assert!(refused(b"", ty("", "Pod")).ends_with("(<empty>)"));
    assert!(refused(b"{} {}", ty("", "Pod")).contains("trailing characters"));
    let deep = "[".repeat(10_000);
    let body = format!("{{\"metadata\":{{\"managedFields\":[{{\"fieldsV1\":{{\"x\":{deep}");
    assert!(refused(body.as_bytes(), ty("", "Pod")).contains("recursion limit"));
}

#[test]
fn yaml_is_read_too() {
    let body = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: v\n  k: w\n";
    assert_eq!(
        peek_type_meta(body, ContentType::Yaml, "ConfigMap").map(|m| m.kind).as_deref(),
        Ok("ConfigMap")
    );
    let map = ty("", "ConfigMap");
    let decoded = decode(body, ContentType::Yaml, map, FieldValidation::Ignore).expect("good YAML");
    assert_eq!(decoded.value["data"], json!({"k": "w"}));
    assert!(decode(body, ContentType::Yaml, map, FieldValidation::Strict).is_err());
    let wrong =
        decode(b"data:\n  k: 1\n", ContentType::Yaml, map, FieldValidation::Warn).expect_err("a number");
    assert!(
        wrong
            .to_string()
            .ends_with("json: cannot unmarshal number into Go struct field ConfigMap.data of type string")
    );
    assert!(decode(b"a: [", ContentType::Yaml, map, FieldValidation::Warn).is_err());
    let deep = format!("x: {}1{}", "[".repeat(500), "]".repeat(500));
    assert!(decode(deep.as_bytes(), ContentType::Yaml, map, FieldValidation::Ignore).is_err());
}

#[test]
fn decoding_again_changes_nothing() {
    let body = pod(
        json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": "0.1"}}}], "tolerations": [{}]}),
    );
    let once = decode(&body, ContentType::Json, ty("", "Pod"), FieldValidation::Strict).expect("a good pod");
    let twice = coerce(once.value.clone(), ty("", "Pod"), FieldValidation::Strict).expect("still good");
    assert_eq!(once, twice);
}

#[test]
fn every_type_fits_the_set_of_seen_properties() {
    let widest = Schemas::builtin().types.iter().map(|ty| ty.properties.len()).max();
    assert!(widest.is_some_and(|n| n <= seed::Seen::BITS as usize));
}

#[test]
fn patches_cannot_nest_an_object_until_nobody_can_read_it() {
    let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!({"x": inner}));
    let revision = |levels: usize| json!({"data": nested(levels)});
    let ty = ty("apps", "ControllerRevision");
    assert!(coerce(revision(DEPTH_MAX - 1), ty, FieldValidation::Strict).is_ok());
    let error = coerce(revision(DEPTH_MAX), ty, FieldValidation::Strict).expect_err("too deep");
    assert_eq!(error.detail(), "exceeded max depth");
}

/// Documents that are often nearly pods: keys and values that the schema knows, in any arrangement.
fn nearly_a_pod() -> impl Strategy<Value = Value> {
    let keys = "(metadata|spec|status|containers|name|resources|limits|cpu|volumes|ports|containerPort|labels|env|\
        securityContext|startTime|image|livenessProbe|httpGet|port|other)";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<f64>().prop_filter_map("finite", |f| serde_json::Number::from_f64(f).map(Value::from)),
        "(1|0.5|100m|1Gi|http|x|2026-01-02T03:04:05Z)".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 5, move |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            3 => prop::collection::btree_map(keys, inner, 0..5).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_is_decoded_is_canonical_and_defaulting_keeps_it_so(document in nearly_a_pod()) {
        let pod = ty("", "Pod");
        let body = document.to_string();
        if let Ok(decoded) = decode(body.as_bytes(), ContentType::Json, pod, FieldValidation::Warn) {
            let again = coerce(decoded.value.clone(), pod, FieldValidation::Strict);
            prop_assert_eq!(again.map(|d| d.value), Ok(decoded.value.clone()));
            let mut defaulted = decoded.value;
            crate::defaults::apply(pod, &mut defaulted);
            let again = coerce(defaulted.clone(), pod, FieldValidation::Strict);
            prop_assert_eq!(again.map(|d| d.value), Ok(defaulted.clone()));
            let once = defaulted.clone();
            crate::defaults::apply(pod, &mut defaulted);
            prop_assert_eq!(defaulted, once);
        }
    }

    #[test]
    fn a_parsed_value_and_its_text_decode_alike(document in nearly_a_pod()) {
        let pod = ty("", "Pod");
        let from_text = decode(document.to_string().as_bytes(), ContentType::Json, pod, FieldValidation::Warn);
        prop_assert_eq!(from_text.ok(), coerce(document, pod, FieldValidation::Warn).ok());
    }
}
