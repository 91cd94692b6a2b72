//! Kinds that are not stored, and values that JSON writes in its own way.

use k8s_pb::api::{apps::v1 as apps, authorization::v1 as authorization};
use k8s_pb::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use k8s_pb::apimachinery::pkg::runtime::RawExtension;

use super::*;

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
