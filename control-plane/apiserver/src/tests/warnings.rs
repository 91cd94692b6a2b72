//! What is said of objects that are taken: it reaches the client, from every kind that makes pods.

use super::*;
use serde_json::json;

const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const OLD_LABEL: &str =
    r#"nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead"#;

fn warnings(got: &Got) -> Vec<&str> {
    got.headers.get_all("warning").iter().map(|value| value.to_str().unwrap()).collect()
}

/// A template whose pods are sought by an old label of nodes.
fn template(restart: &str) -> Value {
    json!({"metadata": {"labels": {"a": "b"}}, "spec": {
        "nodeSelector": {"beta.kubernetes.io/os": "linux"}, "restartPolicy": restart,
        "containers": [{"name": "c", "image": "i"}],
    }})
}

#[tokio::test]
async fn every_kind_that_makes_pods_warns_of_its_template() {
    let bed = Bed::new().await;
    let (always, never) = (template("Always"), template("Never"));
    let selector = json!({"matchLabels": {"a": "b"}});
    let workload = json!({"selector": selector, "template": always});
    let core = "/api/v1/namespaces/default/";
    let (apps, batch) = ("/apis/apps/v1/namespaces/default/", "/apis/batch/v1/namespaces/default/");
    let rows = [
        (core, "pods", json!({"spec": always["spec"]}), "spec"),
        (core, "podtemplates", json!({"template": always}), "template.spec"),
        (core, "replicationcontrollers", json!({"spec": {"template": always}}), "spec.template.spec"),
        (apps, "deployments", json!({"spec": workload}), "spec.template.spec"),
        (apps, "replicasets", json!({"spec": workload}), "spec.template.spec"),
        (apps, "daemonsets", json!({"spec": workload}), "spec.template.spec"),
        (apps, "statefulsets", json!({"spec": workload}), "spec.template.spec"),
        (batch, "jobs", json!({"spec": {"template": never}}), "spec.template.spec"),
        (
            batch,
            "cronjobs",
            json!({"spec": {"schedule": "0 * * * *", "jobTemplate": {"spec": {"template": never}}}}),
            "spec.jobTemplate.spec.template.spec",
        ),
    ];
    for (group, resource, mut body, place) in rows {
        body["metadata"]["name"] = json!("a");
        let made = bed.send("POST", &format!("{group}{resource}"), &[], &body.to_string()).await;
        assert_eq!(made.code, 201, "{resource}: {}", made.text());
        let expected = format!(r#"299 - "{place}.{OLD_LABEL}""#);
        assert!(warnings(&made).contains(&&*expected), "{resource}: {:?}", warnings(&made));
    }
}

#[tokio::test]
async fn an_update_warns_of_a_spec_that_changed() {
    let bed = Bed::new().await;
    let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template("Always")});
    let body = json!({"metadata": {"name": "a"}, "spec": spec}).to_string();
    assert_eq!(bed.send("POST", DEPLOYMENTS, &[], &body).await.code, 201);
    let patch = async |patch: Value| {
        let headers = [("content-type", "application/merge-patch+json")];
        bed.send("PATCH", &format!("{DEPLOYMENTS}/a"), &headers, &patch.to_string()).await
    };
    let labelled = patch(json!({"metadata": {"labels": {"k": "v"}}})).await;
    assert!(labelled.code == 200 && warnings(&labelled).is_empty(), "{:?}", warnings(&labelled));
    let scaled = patch(json!({"spec": {"replicas": 2}})).await;
    assert_eq!(warnings(&scaled), [format!(r#"299 - "spec.template.spec.{OLD_LABEL}""#)]);
}

#[tokio::test]
async fn a_pod_is_warned_of_once_and_taken_with_what_means_nothing() {
    let bed = Bed::new().await;
    let body = json!({"metadata": {"name": "a"}, "spec": {
        "containers": [{"name": "c", "image": "i"}],
        "imagePullSecrets": [{"name": ""}], "terminationGracePeriodSeconds": -1,
    }});
    let made = bed.send("POST", PODS, &[], &body.to_string()).await;
    assert_eq!(made.code, 201, "{}", made.text());
    assert_eq!(
        warnings(&made),
        [
            r#"299 - "spec.imagePullSecrets[0].name: invalid empty name \"\"""#,
            "299 - \"spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1\"",
        ]
    );
    let patch = json!({"metadata": {"labels": {"k": "v"}}}).to_string();
    let headers = [("content-type", "application/merge-patch+json")];
    let patched = bed.send("PATCH", &format!("{PODS}/a"), &headers, &patch).await;
    assert!(patched.code == 200 && warnings(&patched).is_empty(), "{}", patched.text());
}
