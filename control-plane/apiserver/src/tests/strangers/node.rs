//! A node sees the secrets of its pods, by name, and no trick shows it another's.

use super::*;

/// Kinds of which a node without pods reads something: what the data plane needs to know of the whole cluster
/// (ClusterRole keelson:node-data-plane), and runtime classes.
pub(super) const READS: &[&str] = &[
    "certificatesigningrequests",
    "endpoints",
    "endpointslices",
    "namespaces",
    "networkpolicies",
    "nodes",
    "pods",
    "runtimeclasses",
    "servicecidrs",
    "services",
];

const SECRETS: &str = "/api/v1/namespaces/default/secrets";

async fn pod_with_secret(bed: &Bed, pod: &str, node: &str, secret: &str) {
    let object = json!({"metadata": {"name": secret}, "stringData": {"k": format!("the value of {secret}")}});
    assert_eq!(bed.send("POST", SECRETS, &[], &object.to_string()).await.code, 201);
    let object = json!({
        "metadata": {"name": pod},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "v", "secret": {"secretName": secret}}],
        },
    });
    let made = bed.send("POST", "/api/v1/namespaces/default/pods", &[], &object.to_string()).await;
    assert_eq!(made.code, 201, "{}", made.text());
    until(bed, super::node(node), &format!("{SECRETS}/{secret}"), 200).await;
}

#[tokio::test]
async fn a_node_reads_the_secrets_of_its_pods_alone() {
    let bed = cluster().await;
    pod_with_secret(&bed, "p1", "n1", "mine").await;
    pod_with_secret(&bed, "p2", "n2", "other").await;
    let selected = |selector: &str| format!("{SECRETS}?fieldSelector={selector}");
    // What may be asked, and what it shows.
    for uri in [
        format!("{SECRETS}/mine"),
        selected("metadata.name%3Dmine"),
        selected("metadata.name%3D%3Dmine"),
        // Nothing has two names; what comes of it is empty.
        selected("metadata.name%3Dmine%2Cmetadata.name%3Dother"),
        selected("metadata.name%3Dother%2Cmetadata.name%3Dmine"),
        selected("metadata.name%3Dmine%2Cmetadata.namespace%21%3Dx"),
    ] {
        let got = bed.send_as(super::node("n1"), "GET", &uri, &[], "").await;
        assert!(got.code == 200 && !got.text().contains("\"other\""), "{uri}: {}", got.text());
    }
    let refused = [
        format!("{SECRETS}/other"),
        SECRETS.to_owned(),
        "/api/v1/secrets".to_owned(),
        "/api/v1/secrets?fieldSelector=metadata.name%3Dmine".to_owned(),
        "/api/v1/namespaces/kube-system/secrets/mine".to_owned(),
        selected("metadata.name%3Dother"),
        selected("metadata.name%21%3Dmine"),
        selected("metadata.namespace%21%3Dx%5C%2Cmetadata.name%3Dmine"),
        selected("metadata.name%3Dmine%5C%2Cother"),
        format!("{SECRETS}?limit=1"),
        format!("{SECRETS}?watch=1"),
        format!("{SECRETS}?watch=1&fieldSelector=metadata.name%3Dother"),
        "/api/v1/watch/namespaces/default/secrets/other?fieldSelector=metadata.name%3Dmine".to_owned(),
    ];
    for uri in refused {
        for accept in ["application/json", "application/json;as=Table;v=v1;g=meta.k8s.io"] {
            let got = ask(&bed, super::node("n1"), "GET", &uri, &[("accept", accept)]).await;
            assert_eq!(got.code, 403, "{uri}: {}", got.text);
        }
    }
    for method in ["DELETE", "PATCH", "PUT"] {
        assert_eq!(ask(&bed, super::node("n1"), method, &format!("{SECRETS}/mine"), &[]).await.code, 403);
    }
}

#[tokio::test]
async fn the_watch_of_one_secret_shows_no_other_whatever_is_selected_besides() {
    let bed = cluster().await;
    pod_with_secret(&bed, "p1", "n1", "mine").await;
    pod_with_secret(&bed, "p2", "n2", "other").await;
    let rest =
        "resourceVersion=0&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&allowWatchBookmarks=true";
    for (selector, shown) in [
        ("", true),
        ("metadata.name%3Dmine", true),
        ("metadata.namespace%21%3Dx", true),
        ("metadata.name%3Dother", false),
    ] {
        let uri = format!("/api/v1/watch/namespaces/default/secrets/mine?{rest}&fieldSelector={selector}");
        let text = initial_events(&bed, super::node("n1"), &uri).await;
        assert_eq!(
            (text.contains("\"mine\""), text.contains("\"other\"")),
            (shown, false),
            "{selector}: {text}"
        );
    }
    // A backslash at the end would swallow what follows, were the two put together as text.
    let uri = "/api/v1/watch/namespaces/default/secrets/mine?fieldSelector=metadata.namespace%21%3Dx%5C";
    assert_eq!(ask(&bed, super::node("n1"), "GET", uri, &[]).await.code, 400);
}

#[tokio::test]
async fn a_node_without_the_data_plane_lists_the_pods_that_are_bound_to_it() {
    let bed = cluster().await;
    let binding = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/keelson:node-data-plane";
    assert_eq!(bed.send("DELETE", binding, &[], "").await.code, 200);
    until(&bed, super::node("n1"), "/api/v1/pods", 403).await;
    pod_with_secret(&bed, "p1", "n1", "mine").await;
    pod_with_secret(&bed, "p2", "n2", "other").await;
    let list = |selector: &str| format!("/api/v1/pods?fieldSelector={selector}");
    let rows = [
        ("spec.nodeName%3Dn1", 200),
        ("spec.nodeName%3Dn1%2Cstatus.phase%21%3DFailed", 200),
        ("spec.nodeName%3Dn2", 403),
        ("spec.nodeName%21%3Dn1", 403),
        ("metadata.name%21%3Dx%5C%2Cspec.nodeName%3Dn1", 403),
        ("", 403),
    ];
    for (selector, code) in rows {
        let got = bed.send_as(super::node("n1"), "GET", &list(selector), &[], "").await;
        assert_eq!(got.code, code, "{selector}: {}", got.text());
        assert!(!got.text().contains("\"p2\""), "{selector}");
    }
}

#[tokio::test]
async fn a_node_reads_the_secrets_of_ephemeral_containers_that_came_later() {
    let bed = cluster().await;
    pod_with_secret(&bed, "p1", "n1", "mine").await;
    let object = json!({"metadata": {"name": "later"}, "stringData": {"k": "v"}});
    assert_eq!(bed.send("POST", SECRETS, &[], &object.to_string()).await.code, 201);
    let later = format!("{SECRETS}/later");
    assert_eq!(ask(&bed, super::node("n1"), "GET", &later, &[]).await.code, 403);
    let source = json!({"secretRef": {"name": "later"}});
    let patch = json!({"spec": {"ephemeralContainers": [{"name": "d", "image": "i", "envFrom": [source]}]}});
    let patched = bed
        .send(
            "PATCH",
            "/api/v1/namespaces/default/pods/p1/ephemeralcontainers",
            &[("content-type", "application/strategic-merge-patch+json")],
            &patch.to_string(),
        )
        .await;
    assert_eq!(patched.code, 200, "{}", patched.text());
    until(&bed, super::node("n1"), &later, 200).await;
    // The node itself may not add any.
    let got = bed
        .send_as(
            super::node("n1"),
            "PATCH",
            "/api/v1/namespaces/default/pods/p1/ephemeralcontainers",
            &[("content-type", "application/strategic-merge-patch+json")],
            &patch.to_string(),
        )
        .await;
    assert_eq!(got.code, 403, "{}", got.text());
}

/// A sample of a kind, with what is different.
async fn sample(bed: &Bed, group: &str, plural: &str, name: &str, change: impl FnOnce(&mut Value)) {
    let kind = kinds(bed)
        .into_iter()
        .find(|kind| kind.group == group && kind.plural == plural && kind.version == "v1");
    let kind = kind.expect("it is served");
    let mut object = fixture(&kind).object;
    object["metadata"] = json!({ "name": name });
    change(&mut object);
    let made = bed.send("POST", &collection(&kind), &[], &object.to_string()).await;
    assert_eq!(made.code, 201, "{plural}: {}", made.text());
}

#[tokio::test]
async fn a_node_sees_the_volumes_and_devices_of_its_pods_alone() {
    let bed = cluster().await;
    sample(&bed, "", "persistentvolumes", "vol", |volume| {
        volume["spec"]["claimRef"] = json!({ "namespace": "default", "name": "claim" });
    })
    .await;
    sample(&bed, "storage.k8s.io", "volumeattachments", "att", |attachment| {
        attachment["spec"]["nodeName"] = json!("n1");
    })
    .await;
    sample(&bed, "resource.k8s.io", "resourceclaims", "device", |_| {}).await;
    sample(&bed, "resource.k8s.io", "resourceslices", "own", |slice| {
        slice["spec"]["nodeName"] = json!("n1");
    })
    .await;
    let pod = json!({
        "metadata": { "name": "p" },
        "spec": {
            "nodeName": "n1",
            "containers": [{ "name": "c", "image": "i" }],
            "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "claim" } }],
            "resourceClaims": [{ "name": "d", "resourceClaimName": "device" }],
        },
    });
    let made = bed.send("POST", "/api/v1/namespaces/default/pods", &[], &pod.to_string()).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let (claims, slices) = (
        "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims",
        "/apis/resource.k8s.io/v1/resourceslices",
    );
    let csi = "/apis/storage.k8s.io/v1/csinodes";
    let of = |node: &str| format!("{slices}?fieldSelector=spec.nodeName%3D{node}");
    let rows = [
        ("GET", format!("{claims}/device"), 200, 403),
        ("GET", claims.to_owned(), 403, 403),
        ("DELETE", format!("{claims}/device?dryRun=All"), 403, 403),
        ("GET", format!("{slices}/own"), 200, 403),
        ("GET", slices.to_owned(), 403, 403),
        ("GET", of("n1"), 200, 403),
        ("GET", of("n2"), 403, 200),
        ("DELETE", format!("{slices}/own?dryRun=All"), 200, 403),
        ("GET", "/api/v1/persistentvolumes/vol".to_owned(), 200, 403),
        ("GET", "/api/v1/persistentvolumes".to_owned(), 403, 403),
        ("GET", "/apis/storage.k8s.io/v1/volumeattachments/att".to_owned(), 200, 403),
        ("GET", format!("{csi}/n1"), 404, 403),
        ("GET", csi.to_owned(), 403, 403),
    ];
    for uri in ["/api/v1/persistentvolumes/vol", &format!("{claims}/device"), &format!("{slices}/own")] {
        until(&bed, super::node("n1"), uri, 200).await;
    }
    until(&bed, super::node("n1"), "/apis/storage.k8s.io/v1/volumeattachments/att", 200).await;
    for (method, uri, own, other) in rows {
        for (node, code) in [("n1", own), ("n2", other)] {
            let got = bed.send_as(super::node(node), method, &uri, &[], "").await;
            assert_eq!(got.code, code, "{node} {method} {uri}: {}", got.text());
        }
    }
    // What names no node any more is nobody's.
    assert_eq!(
        bed.send("DELETE", "/api/v1/namespaces/default/pods/p?gracePeriodSeconds=0", &[], "").await.code,
        200
    );
    for uri in ["/api/v1/persistentvolumes/vol", &format!("{claims}/device")] {
        until(&bed, super::node("n1"), uri, 403).await;
    }
}
