//! ServiceAccount: every pod runs as one, with its token mounted where every client library looks for it.

mod mount;
mod mountable;

use std::time::Duration;

use async_trait::async_trait;
use keelson_registry::status::GroupResource;
use keelson_registry::{Attributes, Operation, Status};
use serde_json::Value;

use crate::plugin::{Plugin, forbidden, is, is_mirror_pod, list, text};
use crate::{Lookup, Wanted};

/// The account of a pod that names none; a controller makes it in every namespace.
const DEFAULT_ACCOUNT: &str = "default";
/// How long a pod waits for that account: whoever makes a namespace and at once a pod in it is quicker than the controller.
const DEFAULT_ACCOUNT_WAIT: Duration = Duration::from_secs(2);

pub(crate) struct ServiceAccount;

#[async_trait]
impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        is(attributes, "", "pods")
            && match attributes.operation {
                Operation::Create => attributes.subresource.is_empty(),
                Operation::Update => attributes.subresource == "ephemeralcontainers",
                _ => false,
            }
    }

    async fn mutate(
        &self,
        attributes: &Attributes<'_>,
        pod: &mut Value,
        lookup: &dyn Lookup,
    ) -> Result<(), Status> {
        // A mirror pod must stay what its node sent, or the node deletes it. Nothing is mounted into a pod that runs.
        if attributes.operation != Operation::Create
            || is_mirror_pod(pod)
            || pod.get("spec").is_none_or(|spec| !spec.is_object())
        {
            return Ok(());
        }
        set_name(pod);
        let account = account(attributes, pod, lookup).await?;
        if mount::is_wanted(&account, pod) {
            mount::mount_token(pod);
        }
        if list(pod, "/spec/imagePullSecrets").next().is_none()
            && let Some(secrets) =
                account["imagePullSecrets"].as_array().filter(|secrets| !secrets.is_empty())
        {
            pod["spec"]["imagePullSecrets"] = secrets.clone().into();
        }
        Ok(())
    }

    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        pod: Option<&Value>,
        lookup: &dyn Lookup,
    ) -> Result<(), Status> {
        let Some(pod) = pod else { return Ok(()) };
        if is_mirror_pod(pod) {
            return check_mirror_pod(pod).map_err(|why| forbidden(attributes, Some(pod), why));
        }
        let account = account(attributes, pod, lookup).await?;
        let checked = match attributes.operation {
            Operation::Create => mountable::check(&account, pod),
            _ => mountable::check_ephemeral(&account, pod),
        };
        checked.map_err(|why| forbidden(attributes, Some(pod), why))
    }
}

/// The field has an older name, which always says the same.
fn set_name(pod: &mut Value) {
    let name = match (text(pod, "/spec/serviceAccountName"), text(pod, "/spec/serviceAccount")) {
        ("", "") => DEFAULT_ACCOUNT,
        ("", old) => old,
        (name, _) => name,
    };
    let name = Value::from(name);
    pod["spec"]["serviceAccount"] = name.clone();
    pod["spec"]["serviceAccountName"] = name;
}

async fn account(attributes: &Attributes<'_>, pod: &Value, lookup: &dyn Lookup) -> Result<Value, Status> {
    let (namespace, name) = (attributes.namespace, text(pod, "/spec/serviceAccountName"));
    let found = match name {
        DEFAULT_ACCOUNT => {
            lookup.await_object(Wanted::ServiceAccount, namespace, name, DEFAULT_ACCOUNT_WAIT).await
        }
        _ => lookup.find(Wanted::ServiceAccount, namespace, name).await,
    };
    let why = match found {
        Ok(Some(account)) => return Ok(account),
        Ok(None) => Status::not_found(&GroupResource::new("", "serviceaccount"), name).message,
        // Nobody can tell: the client may try again, which it would not after a 403.
        Err(status) => return Err(status),
    };
    Err(forbidden(
        attributes,
        Some(pod),
        format!("error looking up service account {namespace}/{name}: {why}"),
    ))
}

/// A mirror pod's node must not gain by it what its pods may read.
fn check_mirror_pod(pod: &Value) -> Result<(), &'static str> {
    if !text(pod, "/spec/serviceAccountName").is_empty() {
        return Err("a mirror pod may not reference service accounts");
    }
    let mut secrets = false;
    keelson_auth::authz::node::for_each_secret(pod, |_| secrets = true);
    if secrets {
        return Err("a mirror pod may not reference secrets");
    }
    let mut sources = list(pod, "/spec/volumes").flat_map(|volume| list(volume, "/projected/sources"));
    match sources.any(|source| source.get("serviceAccountToken").is_some_and(|token| !token.is_null())) {
        true => Err("a mirror pod may not use ServiceAccountToken volume projections"),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{Cluster, Request};

    fn cluster(more: Value) -> Cluster {
        let mut account = json!({ "metadata": { "namespace": "ns", "name": "default" } });
        account.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Cluster::default().with(Wanted::ServiceAccount, account)
    }

    fn pod(spec: Value) -> Request {
        Request::create("", "pods", "ns", json!({ "metadata": { "name": "p" }, "spec": spec }))
    }

    #[tokio::test]
    async fn a_pod_runs_as_default_with_its_token_in_every_container() {
        let spec = json!({ "containers": [{ "name": "c" }], "initContainers": [{ "name": "i" }] });
        let admitted = pod(spec).mutate(&ServiceAccount, &cluster(json!({}))).await.unwrap();
        let spec = &admitted["spec"];
        assert_eq!(
            (&spec["serviceAccountName"], &spec["serviceAccount"]),
            (&"default".into(), &"default".into())
        );
        let name = spec["volumes"][0]["name"].as_str().unwrap();
        assert!(name.starts_with("kube-api-access-") && name.len() == "kube-api-access-".len() + 5, "{name}");
        assert_eq!(
            spec["volumes"][0]["projected"],
            json!({ "defaultMode": 420, "sources": [
                { "serviceAccountToken": { "expirationSeconds": 3607, "path": "token" } },
                { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
                { "downwardAPI": { "items": [{ "path": "namespace", "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" } }] } },
            ] })
        );
        let mount = json!([{ "name": name, "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount" }]);
        assert_eq!(spec["containers"][0]["volumeMounts"], mount);
        assert_eq!(spec["initContainers"][0]["volumeMounts"], mount);
    }

    #[tokio::test]
    async fn the_pod_says_whether_the_token_is_mounted_and_the_account_otherwise() {
        let rows = [
            (json!(null), json!(null), true),
            (json!(false), json!(null), false),
            (json!(false), json!(true), true),
            (json!(null), json!(false), false),
            (json!(true), json!(false), false),
        ];
        for (account, own, mounted) in rows {
            let cluster = cluster(json!({ "automountServiceAccountToken": account }));
            let spec = json!({ "containers": [{ "name": "c" }], "automountServiceAccountToken": own });
            let admitted = pod(spec).mutate(&ServiceAccount, &cluster).await.unwrap();
            assert_eq!(admitted["spec"]["volumes"].is_array(), mounted);
            assert_eq!(admitted["spec"]["containers"][0]["volumeMounts"].is_array(), mounted);
        }
    }

    #[tokio::test]
    async fn what_the_pod_mounts_there_itself_stays() {
        let own = json!([{ "name": "v", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount" }]);
        let spec = json!({ "containers": [{ "name": "c", "volumeMounts": own }] });
        let admitted = pod(spec).mutate(&ServiceAccount, &cluster(json!({}))).await.unwrap();
        assert_eq!(admitted["spec"]["containers"][0]["volumeMounts"], own);
        assert!(admitted["spec"].get("volumes").is_none());
    }

    #[tokio::test]
    async fn pull_secrets_come_from_the_account_unless_the_pod_has_some() {
        let cluster = cluster(json!({ "imagePullSecrets": [{ "name": "theirs" }] }));
        let admitted = pod(json!({ "containers": [] })).mutate(&ServiceAccount, &cluster).await.unwrap();
        assert_eq!(admitted["spec"]["imagePullSecrets"], json!([{ "name": "theirs" }]));
        let own = json!([{ "name": "own" }]);
        let spec = json!({ "containers": [], "imagePullSecrets": own });
        let admitted = pod(spec).mutate(&ServiceAccount, &cluster).await.unwrap();
        assert_eq!(admitted["spec"]["imagePullSecrets"], own);
    }

    #[tokio::test]
    async fn only_the_default_account_is_waited_for() {
        for (name, admitted) in [("default", true), ("robot", false)] {
            let account =
                json!({ "metadata": { "namespace": "ns", "name": format!("{name}, once awaited") } });
            let cluster = Cluster::default().with(Wanted::ServiceAccount, account);
            let spec = json!({ "serviceAccountName": name, "containers": [] });
            assert_eq!(pod(spec).mutate(&ServiceAccount, &cluster).await.is_ok(), admitted, "{name}");
        }
    }

    #[tokio::test]
    async fn a_missing_account_is_named() {
        let spec = json!({ "serviceAccountName": "robot", "containers": [] });
        let error = pod(spec).mutate(&ServiceAccount, &cluster(json!({}))).await.unwrap_err();
        assert_eq!(
            (error.code, error.message.as_str()),
            (
                403,
                r#"pods "p" is forbidden: error looking up service account ns/robot: serviceaccount "robot" not found"#
            )
        );
    }

    #[tokio::test]
    async fn a_mirror_pod_is_left_alone_and_may_not_reach_for_secrets() {
        let mirror = |spec| {
            let pod = json!({ "metadata": { "name": "m", "annotations": { "kubernetes.io/config.mirror": "x" } }, "spec": spec });
            Request::create("", "pods", "ns", pod)
        };
        let plain = json!({ "containers": [{ "name": "c" }] });
        let admitted = mirror(plain.clone()).mutate(&ServiceAccount, &Cluster::default()).await.unwrap();
        assert_eq!(admitted["spec"], plain);
        let rows = [
            (json!({ "serviceAccountName": "x" }), "a mirror pod may not reference service accounts"),
            (
                json!({ "volumes": [{ "secret": { "secretName": "s" } }] }),
                "a mirror pod may not reference secrets",
            ),
            (
                json!({ "volumes": [{ "projected": { "sources": [{ "serviceAccountToken": { "path": "t" } }] } }] }),
                "a mirror pod may not use ServiceAccountToken volume projections",
            ),
        ];
        for (spec, why) in rows {
            let error = mirror(spec).validate(&ServiceAccount, &Cluster::default()).await.unwrap_err();
            assert_eq!(error.message, format!("pods \"m\" is forbidden: {why}"));
        }
    }

    #[tokio::test]
    async fn an_account_that_enforces_mountable_secrets_is_obeyed() {
        let cluster = cluster(json!({
            "metadata": { "namespace": "ns", "name": "default", "annotations": { "kubernetes.io/enforce-mountable-secrets": "true" } },
            "secrets": [{ "name": "good" }],
        }));
        let volume = |name| json!({ "serviceAccountName": "default", "volumes": [{ "secret": { "secretName": name } }] });
        assert!(pod(volume("good")).validate(&ServiceAccount, &cluster).await.is_ok());
        let error = pod(volume("bad")).validate(&ServiceAccount, &cluster).await.unwrap_err();
        assert_eq!(
            error.message,
            r#"pods "p" is forbidden: volume with secret.secretName="bad" is not allowed because service account default does not reference that secret"#
        );
        let debugging = |name: &str| {
            let source = json!({ "secretKeyRef": { "name": name, "key": "k" } });
            let container = json!({ "name": "d", "env": [{ "name": "E", "valueFrom": source }] });
            let spec = json!({ "serviceAccountName": "default", "ephemeralContainers": [container] });
            pod(spec).update(json!({})).at("ephemeralcontainers", "p")
        };
        assert!(debugging("good").validate(&ServiceAccount, &cluster).await.is_ok());
        let error = debugging("bad").validate(&ServiceAccount, &cluster).await.unwrap_err();
        assert!(
            error.message.contains(
                r#"ephemeral container d with envVar E referencing secret.secretName="bad" is not allowed"#
            ),
            "{error}"
        );
    }
}
