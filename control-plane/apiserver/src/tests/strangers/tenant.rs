//! Everything in one namespace is nothing elsewhere: tricks with paths, selectors, tokens and revisions.

use super::*;

const OWN: &str = "/api/v1/namespaces/tenant/configmaps";

async fn maps(bed: &Bed) {
    for (namespace, name) in [("default", "a-theirs"), ("default", "b-theirs"), ("tenant", "mine")] {
        let uri = format!("/api/v1/namespaces/{namespace}/configmaps");
        let object = json!({"metadata": {"name": name, "labels": {"l": "v"}}, "data": {"k": "v"}});
        assert_eq!(bed.send("POST", &uri, &[], &object.to_string()).await.code, 201);
    }
    let namespace = json!({"metadata": {"name": "theirs"}});
    assert_eq!(bed.send("POST", "/api/v1/namespaces", &[], &namespace.to_string()).await.code, 201);
}

#[tokio::test]
async fn a_namespace_in_the_path_gives_nothing_that_is_not_in_it() {
    let bed = cluster().await;
    maps(&bed).await;
    let rows = [
        // Upstream has no such routes; what is of the cluster is not to be had through a namespace.
        ("GET", "/api/v1/namespaces/tenant/namespaces", 404),
        ("GET", "/api/v1/namespaces/tenant/namespaces/theirs", 404),
        ("GET", "/api/v1/namespaces/tenant/namespaces/theirs/status", 404),
        ("DELETE", "/api/v1/namespaces/tenant/namespaces/theirs", 404),
        ("DELETE", "/api/v1/namespaces/tenant/namespaces", 404),
        ("GET", "/api/v1/watch/namespaces/tenant/namespaces", 404),
        ("GET", "/api/v1/namespaces/tenant/nodes", 404),
        ("GET", "/apis/rbac.authorization.k8s.io/v1/namespaces/tenant/clusterroles/cluster-admin", 404),
        ("GET", "/api/v1/namespaces/tenant/configmaps/mine/status/further", 404),
        ("GET", "/api/v1/namespaces/tenant/../default/configmaps", 404),
        ("GET", "/api/v1/namespaces/tenant/configmaps/..%2F..%2Fdefault%2Fconfigmaps%2Fa-theirs", 404),
        ("GET", "/api/v1/namespaces/tenant%2F..%2Fdefault/configmaps/a-theirs", 404),
        ("GET", "/api/v1/namespaces/tenant/configmaps/a-theirs", 404),
        ("GET", "/api/v1/configmaps/default%2Fa-theirs", 403),
        ("GET", "/api/v1/configmaps", 403),
        ("GET", "/api/v1/configmaps?fieldSelector=metadata.namespace%3Dtenant", 403),
        ("GET", "/api/v1/namespaces/default/configmaps?fieldSelector=metadata.namespace%3Dtenant", 403),
        ("GET", "/api/v1/namespaces//default/configmaps", 403),
        ("PATCH", "/api/v1/pods/tenant%2Fp/status", 403),
    ];
    for (method, uri, code) in rows {
        let got = ask(&bed, tenant(), method, uri, &[("content-type", "application/merge-patch+json")]).await;
        assert_eq!(got.code, code, "{method} {uri}: {}", got.text);
        assert!(!got.text.contains("\"theirs\""), "{method} {uri}: {}", got.text);
    }
    let still = bed.get("/api/v1/namespaces/theirs").await.json();
    assert!(still["metadata"]["deletionTimestamp"].is_null(), "{still}");
}

#[tokio::test]
async fn lists_of_a_namespace_show_that_namespace_whatever_is_selected_or_continued() {
    let bed = cluster().await;
    maps(&bed).await;
    let everywhere = bed.get("/api/v1/configmaps?limit=1").await.json();
    let theirs = bed.get("/api/v1/namespaces/default/configmaps?limit=1").await.json();
    let mut queries: Vec<String> = [
        "fieldSelector=metadata.namespace%3Ddefault",
        "fieldSelector=metadata.namespace%3Ddefault,metadata.name%3Da-theirs",
        "fieldSelector=metadata.name%3D..%2Fdefault%2Fa-theirs",
        "labelSelector=l%3Dv",
        "resourceVersion=0",
        "resourceVersion=1&resourceVersionMatch=NotOlderThan",
        "limit=5",
    ]
    .map(str::to_owned)
    .into();
    for list in [&everywhere, &theirs] {
        let token = list["metadata"]["continue"].as_str().expect("there is more");
        queries.extend([format!("continue={token}"), format!("limit=1&continue={token}")]);
    }
    for forms in ["application/json", "application/json;as=Table;v=v1;g=meta.k8s.io"] {
        for query in &queries {
            let uri = format!("{OWN}?{query}");
            let got = ask(&bed, tenant(), "GET", &uri, &[("accept", forms)]).await;
            assert!(matches!(got.code, 200 | 410), "{uri}: {}", got.text);
            assert!(!got.text.contains("theirs"), "{uri}: {}", got.text);
        }
    }
    let rest =
        "resourceVersion=0&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&allowWatchBookmarks=true";
    for selector in ["", "metadata.namespace%3Ddefault", "metadata.namespace%21%3Dtenant"] {
        let uri = format!("{OWN}?watch=1&{rest}&fieldSelector={selector}");
        let text = initial_events(&bed, tenant(), &uri).await;
        assert!(!text.contains("theirs"), "{selector}: {text}");
    }
}

#[tokio::test]
async fn a_body_does_not_lead_out_of_its_namespace() {
    let bed = cluster().await;
    let object = json!({"metadata": {"name": "x", "namespace": "default"}});
    let got = bed.send_as(tenant(), "POST", OWN, &[], &object.to_string()).await;
    assert!(got.code == 400 && got.message().contains("does not match the namespace"), "{}", got.text());
    assert_eq!(bed.get("/api/v1/namespaces/default/configmaps/x").await.code, 404);
    let as_root = [("impersonate-user", "root"), ("impersonate-group", "system:masters")];
    let got = bed.send_as(tenant(), "GET", "/api/v1/configmaps", &as_root, "").await;
    assert!(got.code == 403 && got.message().contains("cannot impersonate"), "{}", got.text());
}

#[tokio::test]
async fn whoever_may_only_get_a_stream_is_not_told_whether_there_is_a_pod() {
    let bed = cluster().await;
    let group = "rbac.authorization.k8s.io";
    let role = json!({"metadata": {"name": "looker"},
        "rules": [{"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get"]}]});
    let binding = json!({"metadata": {"name": "looker"},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "looker"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "looker"}]});
    for (plural, object) in [("roles", role), ("rolebindings", binding)] {
        let uri = format!("/apis/{group}/v1/namespaces/default/{plural}");
        assert_eq!(bed.send("POST", &uri, &[], &object.to_string()).await.code, 201);
    }
    let exec = |name: &str| format!("/api/v1/namespaces/default/pods/{name}/exec?command=sh&container=none");
    let may_get = async {
        let said = "cannot create resource";
        while !ask(&bed, proven("looker", &[]), "GET", &exec("x"), &[]).await.text.contains(said) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), may_get).await.expect("the authorizer follows");
    let pod = json!({"metadata": {"name": "there"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(bed.send("POST", "/api/v1/namespaces/default/pods", &[], &pod.to_string()).await.code, 201);
    let there = ask(&bed, proven("looker", &[]), "GET", &exec("there"), &[]).await;
    let gone = ask(&bed, proven("looker", &[]), "GET", &exec("gone"), &[]).await;
    assert_eq!((there.code, there.text.replace("there", "gone")), (403, gone.text));
}
