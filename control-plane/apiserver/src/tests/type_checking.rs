//! What the status of an admission policy says of its expressions, over HTTP and with the rights that the role gives.

use super::{
    strangers::{cluster, with_roles},
    *,
};
use async_trait::async_trait;
use keelson_registry::{Attributes, status::Status};
use serde_json::json;

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");

fn policy(name: &str, group: &str, resource: &str, expressions: &[&str]) -> Value {
    let validations: Vec<Value> = expressions.iter().map(|text| json!({"expression": text})).collect();
    json!({
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [resource]}]},
            "validations": validations,
        },
    })
}

/// Waits until a generation of a policy was looked at.
async fn observed(bed: &Bed, name: &str, generation: i64) -> Value {
    let seen = async {
        loop {
            let object = bed.get(&format!("{POLICIES}/{name}")).await.json();
            if object["status"]["observedGeneration"] == generation {
                return object;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), seen).await.expect("the policy is looked at")
}

async fn create(bed: &Bed, uri: &str, object: &Value) {
    let made = bed.send("POST", uri, &[], &object.to_string()).await;
    assert_eq!(made.code, 201, "{}", made.text());
}

fn warnings(policy: &Value) -> Vec<(&str, &str)> {
    let all = policy["status"]["typeChecking"]["expressionWarnings"].as_array().into_iter().flatten();
    all.map(|one| (one["fieldRef"].as_str().unwrap(), one["warning"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn expressions_that_do_not_fit_are_told_and_forgotten_once_they_do() {
    let bed = cluster().await;
    bed.server.mark_started();
    create(&bed, POLICIES, &policy("good", "apps", "deployments", &["object.spec.replicas > 1"])).await;
    create(&bed, POLICIES, &policy("bad", "apps", "deployments", &["object.spec.replicas > '1'"])).await;
    let good = observed(&bed, "good", 1).await;
    assert_eq!(good["status"], json!({"observedGeneration": 1, "typeChecking": {}}));
    let bad = observed(&bed, "bad", 1).await;
    let [("spec.validations[0].expression", warning)] = warnings(&bad)[..] else { panic!("{bad}") };
    assert!(warning.contains("found no matching overload for '_>_' applied to '(int, string)'"), "{warning}");
    let managers = bad["metadata"]["managedFields"].as_array().unwrap();
    let ours =
        managers.iter().find(|one| one["manager"] == "validatingadmissionpolicy-status-controller").unwrap();
    assert_eq!((&ours["operation"], &ours["subresource"]), (&json!("Apply"), &json!("status")));

    let mended = json!({"spec": {"validations": [{"expression": "object.spec.replicas > 1"}]}});
    let patched = bed.send("PATCH", &format!("{POLICIES}/bad"), &[MERGE], &mended.to_string()).await;
    assert_eq!(patched.code, 200, "{}", patched.text());
    assert_eq!(warnings(&observed(&bed, "bad", 2).await), []);
}

#[tokio::test]
async fn expressions_about_a_custom_kind_are_checked_against_its_definition() {
    let bed = cluster().await;
    bed.server.mark_started();
    let definition = json!({
        "metadata": {"name": "crontabs.stable.example.com"},
        "spec": {
            "group": "stable.example.com", "scope": "Namespaced",
            "names": {"plural": "crontabs", "singular": "crontab", "kind": "CronTab"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": {"cronSpec": {"type": "string"}, "replicas": {"type": "integer"}}}}}}}],
        },
    });
    create(&bed, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await;
    let served = async {
        while bed.get("/apis/stable.example.com/v1/crontabs").await.code != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), served).await.expect("the kind is served");
    let of_tabs = |name, expressions| policy(name, "stable.example.com", "crontabs", expressions);
    create(&bed, POLICIES, &of_tabs("good", &["object.spec.replicas > 1"])).await;
    create(&bed, POLICIES, &of_tabs("bad", &["object.spec.replicas > '1'", "object.spec.maxRetries < 10"]))
        .await;
    assert_eq!(warnings(&observed(&bed, "good", 1).await), []);
    let bad = observed(&bed, "bad", 1).await;
    let found = warnings(&bad);
    let fields: Vec<&str> = found.iter().map(|(field, _)| *field).collect();
    assert_eq!(fields, ["spec.validations[0].expression", "spec.validations[1].expression"]);
    assert!(
        found[0].1.contains("found no matching overload for '_>_' applied to '(int, string)'"),
        "{}",
        found[0].1
    );
    assert!(found[1].1.contains("undefined field 'maxRetries'"), "{}", found[1].1);
}

/// Refuses the status of what is called `stuck` until it is told otherwise.
struct Stuck(std::sync::atomic::AtomicBool);

#[async_trait]
impl Admission for Stuck {
    async fn mutate(&self, _: &Attributes<'_>, _: Option<&mut Value>) -> Result<(), Status> {
        Ok(())
    }

    async fn validate(&self, attributes: &Attributes<'_>, _: Option<&Value>) -> Result<(), Status> {
        let refused = attributes.subresource == "status" && attributes.name == "stuck";
        match refused && self.0.load(std::sync::atomic::Ordering::Acquire) {
            true => Err(Status::forbidden(&attributes.kind.group_resource(), attributes.name, "stuck")),
            false => Ok(()),
        }
    }
}

#[tokio::test]
async fn a_status_that_cannot_be_written_is_tried_again_and_holds_up_no_other() {
    let stuck = Arc::new(Stuck(true.into()));
    let bed = with_roles(Bed::made(stuck.clone(), |_| ()).await).await;
    bed.server.mark_started();
    create(&bed, POLICIES, &policy("stuck", "apps", "deployments", &["object.spec.replicas > 1"])).await;
    create(&bed, POLICIES, &policy("other", "apps", "deployments", &["object.spec.replicas > 1"])).await;
    observed(&bed, "other", 1).await;
    let waiting = bed.get(&format!("{POLICIES}/stuck")).await.json();
    assert!(waiting["status"].get("observedGeneration").is_none(), "{waiting}");
    stuck.0.store(false, std::sync::atomic::Ordering::Release);
    observed(&bed, "stuck", 1).await;
}
