//! Acting as somebody else: what has to be granted for it, by each mode, and who one is then.

use super::*;
use serde_json::json;

const WHOAMI: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

fn caller(user: UserInfo) -> Caller {
    let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let certificate = PeerCertificate::Verified { user: Arc::new(user), not_after_s: i64::MAX };
    Caller::Peer(Arc::new(Peer { address, certificate }))
}

fn bob() -> Caller {
    caller(UserInfo::authenticated("bob", ["dev"]))
}

fn master() -> Caller {
    caller(UserInfo::authenticated("root", ["system:masters"]))
}

/// A ServiceAccount whose token is bound to a pod of this node.
fn agent(node: &str) -> Caller {
    let mut user = UserInfo::authenticated("system:serviceaccount:default:agent", ["system:serviceaccounts"]);
    user.extra.insert("authentication.kubernetes.io/node-name".to_owned(), vec![node.to_owned()]);
    caller(user)
}

/// Grants to everybody with a certificate or token, and waits until the authorizer knows it.
async fn grant(bed: &Bed, name: &str, rules: Value) {
    let marker = json!({"nonResourceURLs": [format!("/granted/{name}")], "verbs": ["get"]});
    let mut rules = rules.as_array().unwrap().clone();
    rules.push(marker);
    let role = json!({"metadata": {"name": name}, "rules": rules});
    let binding = json!({"metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:authenticated"}]});
    for (plural, object) in [("clusterroles", role), ("clusterrolebindings", binding)] {
        let got = bed.send("POST", &format!("{RBAC}/{plural}"), &[], &object.to_string()).await;
        assert_eq!(got.code, 201, "{}", got.text());
    }
    let known = async {
        while bed.send_as(bob(), "GET", &format!("/granted/{name}"), &[], "").await.code == 403 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), known).await.expect("the authorizer follows");
}

async fn whoami(bed: &Bed, who: Caller, headers: &[(&str, &str)]) -> Value {
    let got = bed.send_as(who, "POST", WHOAMI, headers, "{}").await;
    assert_eq!(got.code, 201, "{}", got.text());
    got.json()["status"]["userInfo"].clone()
}

#[tokio::test]
async fn whoever_may_everything_is_whom_he_names() {
    let bed = Bed::new().await;
    let rules = json!([{"apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["create"]}]);
    grant(&bed, "whoami", rules).await;
    let rows = [
        ("jane", json!({"username": "jane", "groups": ["system:authenticated"]})),
        (
            "system:node:n1",
            json!({"username": "system:node:n1", "groups": ["system:nodes", "system:authenticated"]}),
        ),
        (
            "system:serviceaccount:ns:sa",
            json!({"username": "system:serviceaccount:ns:sa",
                "groups": ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"]}),
        ),
    ];
    for (name, wanted) in rows {
        assert_eq!(whoami(&bed, master(), &[("impersonate-user", name)]).await, wanted);
    }
    // A node with a group is a matter of the legacy mode, where all groups are the asker's to say.
    let grouped = [("impersonate-user", "system:node:n1"), ("impersonate-group", "system:masters")];
    assert_eq!(
        whoami(&bed, master(), &grouped).await["groups"],
        json!(["system:masters", "system:authenticated"])
    );
}

#[tokio::test]
async fn a_user_is_impersonated_for_what_is_granted_alone() {
    let bed = Bed::new().await;
    let as_jane = [("impersonate-user", "jane")];
    let list = || bed.send_as(bob(), "GET", MAPS, &as_jane, "");
    let refused = r#"configmaps is forbidden: User "bob" cannot impersonate-on:user-info:list resource "configmaps" in API group "" in the namespace "default""#;
    assert_eq!((list().await.code.as_u16(), &*list().await.message()), (403, refused));
    grant(
        &bed,
        "on",
        json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["impersonate-on:user-info:list", "list"]}]),
    )
    .await;
    let refused = r#"users.authentication.k8s.io "jane" is forbidden: User "bob" cannot impersonate:user-info resource "users" in API group "authentication.k8s.io" at the cluster scope"#;
    assert_eq!(list().await.message(), refused);
    grant(
        &bed,
        "whom",
        json!([{"apiGroups": ["authentication.k8s.io"], "resources": ["users"], "resourceNames": ["jane"], "verbs": ["impersonate:user-info"]}]),
    )
    .await;
    assert_eq!(list().await.code, 200, "{}", list().await.text());
    let got = bed.send_as(bob(), "GET", &format!("{MAPS}/a"), &as_jane, "").await;
    assert!(got.message().contains("cannot impersonate-on:user-info:get"), "{}", got.text());
    let other = bed.send_as(bob(), "GET", MAPS, &[("impersonate-user", "joe")], "").await;
    assert!(
        other.message().starts_with(r#"users.authentication.k8s.io "joe" is forbidden"#),
        "{}",
        other.text()
    );
    for (name, value, said) in [
        ("impersonate-group", "system:masters", "impersonating the system:masters group is not allowed"),
        ("impersonate-group", "", "impersonating the empty string group is not allowed"),
        ("impersonate-extra-scopes", "v", "must be a domain-prefixed path"),
    ] {
        let got = bed.send_as(bob(), "GET", MAPS, &[as_jane[0], (name, value)], "").await;
        assert!(got.code == 403 && got.message().contains(said), "{name}: {}", got.text());
    }
}

#[tokio::test]
async fn an_agent_acts_as_the_node_that_it_runs_on_and_no_other() {
    let bed = Bed::new().await;
    grant(
        &bed,
        "agent",
        json!([
            {"apiGroups": ["authentication.k8s.io"], "resources": ["nodes"], "verbs": ["impersonate:associated-node"]},
            {"apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"],
             "verbs": ["impersonate-on:associated-node:create", "create"]},
        ]),
    )
    .await;
    let as_node = [("impersonate-user", "system:node:n1")];
    let own = whoami(&bed, agent("n1"), &as_node).await;
    assert_eq!(
        own,
        json!({"username": "system:node:n1", "groups": ["system:nodes", "system:authenticated"]})
    );
    let other = bed.send_as(agent("n2"), "POST", WHOAMI, &as_node, "{}").await;
    assert!(
        other.code == 403 && other.message().contains("cannot impersonate-on:arbitrary-node:create"),
        "{}",
        other.text()
    );
}

#[tokio::test]
async fn many_groups_are_asked_about_at_once_and_the_old_right_still_counts() {
    let bed = Bed::new().await;
    grant(
        &bed,
        "legacy",
        json!([{"apiGroups": [""], "resources": ["users", "groups", "serviceaccounts"], "verbs": ["impersonate"]},
            {"apiGroups": ["authentication.k8s.io"], "resources": ["userextras/scopes", "uids"], "verbs": ["impersonate"]},
            {"apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["create"]}]),
    )
    .await;
    let headers = [
        ("impersonate-user", "jane"),
        ("impersonate-uid", "7"),
        ("impersonate-group", "a"),
        ("impersonate-extra-scopes", "v"),
    ];
    let jane = json!({"username": "jane", "uid": "7", "groups": ["a", "system:authenticated"], "extra": {"scopes": ["v"]}});
    for _ in 0..2 {
        assert_eq!(whoami(&bed, bob(), &headers).await, jane);
    }
    let text = bed.get("/metrics").await.text();
    for line in [
        r#"apiserver_impersonation_attempts_total{decision="allowed",mode="legacy"} 2"#,
        // The second time the legacy mode was the first to be tried.
        r#"apiserver_impersonation_authorization_attempts_total{decision="denied",mode="user-info"} 1"#,
        r#"apiserver_impersonation_authorization_attempts_total{decision="allowed",mode="legacy"} 8"#,
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
}
