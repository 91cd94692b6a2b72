//! The kubelet's own port, asked without the API server in between: by the token of a ServiceAccount, as who scrapes metrics does.

use anyhow::{Context, Result, ensure};
use keelson_tests::{
    Cluster, Namespace, PATIENCE, api, eventually,
    kubectl::{kubectl, refused},
};
use serde_json::json;

/// A cluster role and its binding, of the same name; gone with the value.
struct Right(String);

impl Right {
    /// To get the metrics of nodes, for a ServiceAccount. Answers when the API server knows of it.
    fn grant(namespace: &Namespace, account: &str) -> Result<Right> {
        let name = &namespace.name;
        kubectl(&format!("create clusterrole {name} --verb=get --resource=nodes/metrics"))?;
        let right = Right(name.clone());
        kubectl(&format!(
            "create clusterrolebinding {name} --clusterrole={name} --serviceaccount={name}:{account}"
        ))?;
        let question = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {
                "user": user(namespace, account),
                "resourceAttributes": {"verb": "get", "resource": "nodes", "subresource": "metrics"},
            },
        });
        eventually(PATIENCE, "the right is known", || {
            let answer = api::create("/apis/authorization.k8s.io/v1/subjectaccessreviews", &question)?;
            ensure!(answer["status"]["allowed"] == true, "{}", answer["status"]);
            Ok(())
        })?;
        Ok(right)
    }
}

impl Drop for Right {
    fn drop(&mut self) {
        for kind in ["clusterrolebinding", "clusterrole"] {
            let _ = kubectl(&format!("delete {kind} {} --ignore-not-found", self.0));
        }
    }
}

fn user(namespace: &Namespace, account: &str) -> String {
    format!("system:serviceaccount:{}:{account}", namespace.name)
}

/// Asks a node's kubelet from the node itself: the code, and the text.
fn ask(
    cluster: &Cluster,
    node: &str,
    token: Option<&str>,
    method: &str,
    path: &str,
) -> Result<(u16, String)> {
    let address = cluster.node_address(node)?;
    let host = if address.contains(':') { format!("[{address}]") } else { address };
    let (url, bearer) =
        (format!("https://{host}:10250{path}"), token.map(|t| format!("Authorization: Bearer {t}")));
    let mut words = vec!["curl", "-sk", "-m", "10", "-X", method, "-w", "\n%{http_code}", &url];
    words.extend(bearer.iter().flat_map(|header| ["-H", header]));
    let said = cluster.enter(node, &words)?;
    let (text, code) = said.rsplit_once('\n').with_context(|| format!("no code: {said}"))?;
    Ok((code.parse().with_context(|| format!("no code: {said}"))?, text.to_owned()))
}

#[test]
fn a_service_account_reads_the_metrics_of_nodes_by_its_token_if_it_may() -> Result<()> {
    let (cluster, namespace) = (Cluster::require_any()?, Namespace::create("kubelet")?);
    let node = cluster.nodes().pop().context("a node")?;
    let token_of = |account: &str| -> Result<String> {
        namespace.kubectl(&format!("create serviceaccount {account}"))?;
        Ok(namespace.kubectl(&format!("create token {account}"))?.trim().to_owned())
    };
    let (scraper, stranger) = (token_of("scraper")?, token_of("stranger")?);
    let _right = Right::grant(&namespace, "scraper")?;

    let (code, text) = ask(&cluster, &node, Some(&scraper), "GET", "/metrics")?;
    ensure!(code == 200 && text.contains("\nkubelet_running_pods "), "{code} {text}");

    let forbidden = |account: &str, verb: &str, subresources: &str| {
        let user = user(&namespace, account);
        format!("Forbidden (user={user}, verb={verb}, resource=nodes, subresource(s)=[{subresources}])")
    };
    for (token, method, path, expected) in [
        (&stranger, "GET", "/metrics", forbidden("stranger", "get", "metrics")),
        (&scraper, "GET", "/pods", forbidden("scraper", "get", "pods proxy")),
        (&scraper, "GET", "/keelson/status", forbidden("scraper", "get", "proxy")),
        (&scraper, "POST", "/exec/a/b/c?command=id&output=1", forbidden("scraper", "create", "proxy")),
    ] {
        let answer = ask(&cluster, &node, Some(token), method, path)?;
        ensure!(answer == (403, expected.clone()), "{method} {path}: {answer:?} instead of {expected}");
    }
    for (token, path) in [(None, "/metrics"), (None, "/healthz"), (Some("no.such.token"), "/metrics")] {
        let answer = ask(&cluster, &node, token, "GET", path)?;
        ensure!(answer == (401, "Unauthorized".to_owned()), "{path}: {answer:?}");
    }
    Ok(())
}

#[test]
fn the_log_files_of_a_nodes_machine_are_read_through_the_api_server() -> Result<()> {
    let cluster = Cluster::require_any()?;
    let node = cluster.nodes().pop().context("a node")?;
    for name in [node.clone(), format!("{node}:10250")] {
        let page = kubectl(&format!("get --raw /api/v1/nodes/{name}/proxy/logs/"))?;
        ensure!(page.contains("<pre>") && page.contains("</pre>"), "{page}");
    }
    let refusal = refused(&format!("get --raw /api/v1/nodes/{node}/proxy/logs/absent"), None)?;
    ensure!(refusal.contains("NotFound"), "{refusal}");
    Ok(())
}
