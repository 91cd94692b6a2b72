//! Fields that we do not know, and bytes that are not what they claim to be.

use super::*;

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
