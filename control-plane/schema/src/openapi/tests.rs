//! What kubectl looks for in the documents.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

const ALL: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const STATUS: SubresourceFacts<'_> =
    SubresourceFacts { name: "status", verbs: &["get", "patch", "update"], kind: None };
const SCALE: SubresourceFacts<'_> = SubresourceFacts {
    name: "scale",
    verbs: &["get", "patch", "update"],
    kind: Some(("autoscaling", "v1", "Scale")),
};

fn apps() -> Value {
    let deployment = KindFacts {
        group: "apps",
        version: "v1",
        kind: "Deployment",
        plural: "deployments",
        namespaced: true,
        verbs: ALL,
        subresources: &[SCALE, STATUS],
        definition: None,
    };
    serde_json::from_slice(&v3_document("apps", "v1", &[deployment])).expect("a JSON document")
}

#[test]
fn kubectl_finds_field_validation_on_the_patch_operation() {
    let document = apps();
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    let names: Vec<&str> =
        patch["parameters"].as_array().into_iter().flatten().filter_map(|p| p["name"].as_str()).collect();
    assert!(names.contains(&"fieldValidation") && names.contains(&"dryRun"), "{names:?}");
    assert!(patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_some());
    assert!(patch["requestBody"]["content"].get("application/apply-patch+yaml").is_some());
}

#[test]
fn every_reference_is_answered_and_only_the_reachable_is_there() {
    let document = apps();
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    let mut referred = BTreeSet::new();
    definitions::references(&document.to_string(), |name| {
        referred.insert(name.to_owned());
    });
    for name in &referred {
        assert!(schemas.contains_key(name), "{name} is not in the document");
    }
    assert!(schemas.contains_key("io.k8s.api.core.v1.PodSpec"));
    assert!(schemas.contains_key("io.k8s.api.autoscaling.v1.Scale"));
    assert!(!schemas.contains_key("io.k8s.api.core.v1.Service"));
}

#[test]
fn definitions_have_kinds_merge_rules_and_descriptions() {
    let document = apps();
    let schemas = &document["components"]["schemas"];
    assert_eq!(
        schemas["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"],
        json!([{"group": "apps", "version": "v1", "kind": "Deployment"}])
    );
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-list-type"], "map");
    assert!(containers["description"].as_str().is_some_and(|d| d.contains("containers")));
    let spec = &schemas["io.k8s.api.apps.v1.Deployment"]["properties"]["spec"];
    assert_eq!(spec["allOf"], json!([{"$ref": "#/components/schemas/io.k8s.api.apps.v1.DeploymentSpec"}]));
    assert_eq!(
        schemas["io.k8s.apimachinery.pkg.api.resource.Quantity"]["oneOf"],
        json!([{"type": "string"}, {"type": "number"}])
    );
    assert_eq!(
        schemas["io.k8s.api.apps.v1.DeploymentList"]["properties"]["items"]["items"],
        json!({"$ref": "#/components/schemas/io.k8s.api.apps.v1.Deployment"})
    );
}

#[test]
fn verbs_become_operations_and_nothing_else_does() {
    let kind = KindFacts {
        group: "",
        version: "v1",
        kind: "Namespace",
        plural: "namespaces",
        namespaced: false,
        verbs: &["create", "get", "list"],
        subresources: &[],
        definition: None,
    };
    let document: Value = serde_json::from_slice(&v3_document("", "v1", &[kind])).expect("a JSON document");
    let methods = |path: &str| -> Vec<String> {
        document["paths"][path].as_object().map(|o| o.keys().cloned().collect()).unwrap_or_default()
    };
    assert_eq!(methods("/api/v1/namespaces"), ["get", "parameters", "post"]);
    assert_eq!(methods("/api/v1/namespaces/{name}"), ["get", "parameters"]);
    assert_eq!(document["paths"].as_object().map(serde_json::Map::len), Some(2));
    let list = &document["paths"]["/api/v1/namespaces"]["get"];
    assert_eq!(list["operationId"], "listCoreV1Namespace");
}

#[test]
fn the_index_says_where_the_documents_are() {
    assert_eq!((v3_key("", "v1"), v3_key("apps", "v1")), ("api/v1".into(), "apis/apps/v1".into()));
    assert_eq!(
        v3_index([("api/v1", "ABC")]),
        br#"{"paths":{"api/v1":{"serverRelativeURL":"/openapi/v3/api/v1?hash=ABC"}}}"#
    );
}

#[test]
fn streams_and_proxies_refer_to_no_definition() {
    let exec = SubresourceFacts {
        name: "exec",
        verbs: &["create", "get"],
        kind: Some(("", "v1", "PodExecOptions")),
    };
    let proxy = SubresourceFacts {
        name: "proxy",
        verbs: &["create", "delete", "get", "patch", "update"],
        kind: Some(("", "v1", "PodProxyOptions")),
    };
    let pod = KindFacts {
        group: "",
        version: "v1",
        kind: "Pod",
        plural: "pods",
        namespaced: true,
        verbs: ALL,
        subresources: &[exec, proxy, STATUS],
        definition: None,
    };
    let document: Value = serde_json::from_slice(&v3_document("", "v1", &[pod])).expect("a JSON document");
    let path = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}/exec"];
    for (method, id) in
        [("get", "connectCoreV1GetNamespacedPodExec"), ("post", "connectCoreV1PostNamespacedPodExec")]
    {
        let operation = &path[method];
        assert_eq!(operation["operationId"], id);
        assert_eq!(operation["x-kubernetes-action"], "connect");
        assert_eq!(operation["responses"]["200"]["content"], json!({"*/*": {"schema": {"type": "string"}}}));
        assert!(operation.get("requestBody").is_none());
    }
    // kubectl asks any patch of the kind, whichever it comes upon, whether the server looks at unknown fields.
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let patch = &methods["patch"];
        if patch["x-kubernetes-group-version-kind"]["kind"] == "Pod" {
            let parameters = patch["parameters"].to_string();
            assert!(parameters.contains("fieldValidation"), "{path}: {parameters}");
        }
    }
}
