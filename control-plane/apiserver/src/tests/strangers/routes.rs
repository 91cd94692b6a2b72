//! Every route of the kind table, asked twice: about an object that is there, and about one that is not.

use super::*;
use std::collections::BTreeSet;

const ABSENT: &str = "nothing-of-this-name";

/// A request: method, path with query, headers.
type Route = (&'static str, String, Vec<(&'static str, &'static str)>);

/// All that can be asked about one object of a kind.
fn about(kind: &Kind, name: &str) -> Vec<Route> {
    let list = collection(kind);
    let (root, rest) = list.split_once("/v").expect("a version");
    let watch = match rest.split_once('/') {
        Some((version, rest)) => format!("{root}/v{version}/watch/{rest}"),
        None => unreachable!("a collection has a plural"),
    };
    let one = format!("{list}/{name}");
    let named = format!("fieldSelector=metadata.name%3D{name}");
    let mut routes: Vec<Route> = Vec::new();
    let mut plain = |method, uri: String| routes.push((method, uri, Vec::new()));
    for uri in [
        one.clone(),
        format!("{one}?resourceVersion=0"),
        format!("{one}?resourceVersion=1&watch=1"),
        list.clone(),
        format!("{list}?limit=1"),
        format!("{list}?{named}"),
        format!("{list}?{named}%2Cmetadata.name%21%3Dx"),
        format!("{list}?labelSelector=a%3Db&resourceVersion=1&resourceVersionMatch=Exact"),
        format!("{list}?watch=1"),
        format!("{list}?watch=1&{named}&resourceVersion=0"),
        format!(
            "{list}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=1"
        ),
        watch.clone(),
        format!("{watch}/{name}"),
        format!("{watch}/{name}?fieldSelector=metadata.namespace%21%3Dx%5C"),
    ] {
        plain("GET", uri);
    }
    plain("HEAD", one.clone());
    plain("OPTIONS", one.clone());
    for (method, uri) in [("POST", &list), ("PUT", &one), ("DELETE", &one), ("DELETE", &list), ("POST", &one)]
    {
        plain(method, format!("{uri}?dryRun=All"));
    }
    plain("DELETE", format!("{list}?dryRun=All&{named}"));
    for sub in kind.subresources.iter().map(|sub| sub.name).chain(["nonsense"]) {
        for method in ["GET", "POST", "PUT", "DELETE"] {
            plain(method, format!("{one}/{sub}?dryRun=All"));
        }
        plain("GET", format!("{one}/{sub}/further"));
    }
    if kind.namespaced {
        plain("GET", list.replace("/namespaces/default", ""));
        plain("GET", format!("{}?{named}", list.replace("/namespaces/default", "")));
        plain("GET", format!("{}/default%2F{name}", list.replace("/namespaces/default", "")));
    }
    for form in ["Table", "PartialObjectMetadata", "PartialObjectMetadataList"] {
        let accept = match form {
            "Table" => "application/json;as=Table;v=v1;g=meta.k8s.io",
            "PartialObjectMetadata" => "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
            _ => "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
        };
        routes.push(("GET", one.clone(), vec![("accept", accept)]));
        routes.push(("GET", list.clone(), vec![("accept", accept)]));
    }
    for media in [
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
        "application/apply-patch+yaml",
        "no/patch",
    ] {
        routes.push(("PATCH", format!("{one}?dryRun=All"), vec![("content-type", media)]));
    }
    routes
}

/// A sample of every kind, and its name.
async fn furnish(bed: &Bed) -> Vec<(Arc<Kind>, String)> {
    let mut made = Vec::new();
    for kind in kinds(bed) {
        let mut object = fixture(&kind).object;
        // Of two kinds that share what they stand for, the second finds the first one's object.
        let name = object["metadata"]["name"].as_str().expect("a fixture has a name").to_owned();
        object["metadata"]["labels"]["a"] = json!("b");
        let got = bed.send("POST", &collection(&kind), &[], &object.to_string()).await;
        assert!(got.code == 201 || got.code == 409, "{}: {}", kind.plural, got.text());
        made.push((kind, name));
    }
    made
}

/// What is asked as the caller is answered alike for both, refused with one of `codes` and unread; but for what `granted`
/// collects: METHOD and resource of all that is not refused.
async fn learn(bed: &Bed, caller: impl Fn() -> Caller, codes: &[u16]) -> BTreeSet<String> {
    let mut granted = BTreeSet::new();
    for (kind, name) in furnish(bed).await {
        for ((method, uri, headers), (_, absent, _)) in
            about(&kind, &name).into_iter().zip(about(&kind, ABSENT))
        {
            let there = ask(bed, caller(), method, &uri, &headers).await;
            if !codes.contains(&there.code) {
                granted.insert(format!("{method} {}", uri.replace(&name, "NAME")));
                continue;
            }
            assert!(!there.read, "{method} {uri}: the body was read");
            let gone = ask(bed, caller(), method, &absent, &headers).await;
            assert_eq!(there.code, gone.code, "{method} {uri}: {} {}", there.text, gone.text);
            let alike = gone.text.replace(ABSENT, &name);
            assert_eq!(there.text, alike, "{method} {uri}");
        }
    }
    granted
}

#[tokio::test]
async fn anonymous_hears_the_same_whatever_is_asked() {
    let bed = cluster().await;
    let granted = learn(&bed, Bed::nobody, &[401]).await;
    assert!(granted.is_empty(), "{granted:?}");
}

#[tokio::test]
async fn a_bare_account_is_refused_by_its_own_question_alone() {
    let bed = cluster().await;
    let granted = learn(&bed, bare_account, &[403]).await;
    assert!(granted.is_empty(), "{granted:?}");
}

#[tokio::test]
async fn rights_in_one_namespace_say_nothing_about_another() {
    let bed = cluster().await;
    let granted = learn(&bed, tenant, &[403]).await;
    assert!(granted.is_empty(), "{granted:?}");
}

#[tokio::test]
async fn a_node_is_refused_what_is_not_its_own() {
    let bed = cluster().await;
    let granted = learn(&bed, || node("stranger"), &[403]).await;
    let kinds: BTreeSet<&str> = granted
        .iter()
        .filter(|route| route.starts_with("GET"))
        .filter_map(|route| kinds_plural(route))
        .collect();
    // What ClusterRole system:node and the data plane's let every node read; secrets, config maps, claims, accounts,
    // roles and leases are not among them.
    assert_eq!(kinds, node::READS.iter().copied().collect(), "{granted:#?}");
    for secret in ["secrets", "configmaps", "serviceaccounts", "persistentvolumeclaims", "roles", "leases"] {
        assert!(!granted.iter().any(|route| route.contains(&format!("/{secret}"))), "{secret}: {granted:#?}");
    }
}

/// The plural in a path.
fn kinds_plural(route: &str) -> Option<&str> {
    let path = route.split(['?', ' ']).nth(1)?;
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').filter(|part| *part != "watch").collect();
    let after = if parts[0] == "api" { 2 } else { 3 };
    match parts.get(after) {
        Some(&"namespaces") if parts.len() > after + 2 => parts.get(after + 2).copied(),
        other => other.copied(),
    }
}

#[tokio::test]
async fn what_nobody_serves_is_refused_like_what_somebody_does() {
    let bed = cluster().await;
    let rows = [
        "/api/v1/namespaces/default/nonsense",
        "/api/v1/namespaces/default/nonsense/x",
        "/apis/no.such.group/v1/things",
        "/apis/apps/v9/namespaces/default/deployments",
        "/api/v1/namespaces/no-such-namespace/secrets",
    ];
    for uri in rows {
        for caller in [bare_account(), tenant(), node("n")] {
            let got = ask(&bed, caller, "GET", uri, &[]).await;
            assert_eq!(got.code, 403, "{uri}: {}", got.text);
        }
        assert_eq!(ask(&bed, Bed::nobody(), "POST", uri, &[]).await.code, 401);
    }
}

#[tokio::test]
async fn paths_that_are_no_resources_are_for_whom_the_default_roles_say() {
    let bed = cluster().await;
    let ask = async |caller: Caller, uri: &str| bed.send_as(caller, "GET", uri, &[], "").await.code.as_u16();
    for open in ["/healthz", "/livez", "/readyz", "/version", "/version/"] {
        for caller in [Bed::nobody(), bare_account(), node("n"), tenant()] {
            assert!(matches!(ask(caller, open).await, 200 | 500), "{open}: readiness may fail, not access");
        }
    }
    for within in ["/healthz/ping", "/livez/ping", "/readyz/shutdown"] {
        assert_eq!(
            (ask(Bed::nobody(), within).await, ask(bare_account(), within).await),
            (403, 403),
            "{within}"
        );
    }
    for known in ["/api", "/apis", "/api/v1", "/apis/apps/v1", "/openapi/v3", "/openapi/v2"] {
        assert_eq!(
            (ask(Bed::nobody(), known).await, ask(bare_account(), known).await),
            (401, 200),
            "{known}"
        );
    }
    for closed in [
        "/",
        "/metrics",
        "/debug/pprof/",
        "/logs",
        "/configz",
        "/debug/api_priority_and_fairness/dump_requests",
        "/nonsense",
    ] {
        assert_eq!(
            (ask(Bed::nobody(), closed).await, ask(bare_account(), closed).await),
            (401, 403),
            "{closed}"
        );
    }
    // The path is wrong, which is nobody's business who may not ask.
    assert_eq!(
        (ask(Bed::nobody(), "/api/v1/watch").await, ask(bare_account(), "/api/v1/watch").await),
        (401, 400)
    );
    let jwks = "/openid/v1/jwks";
    assert_eq!((ask(bare_account(), jwks).await, ask(tenant(), jwks).await), (200, 403));
}
