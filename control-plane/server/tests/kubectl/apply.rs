//! Server-side apply as kubectl does it: conflicts, force, removal, hand-over, subresources, dry runs, differences, and
//! the way from client-side apply.

use crate::DEPLOYMENT as WEB;
use crate::support::{Backend, Server, missing, text};
use serde_json::Value;

const SETTINGS: &str = r"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: blue, size: '10'}
";

const APPLY: [&str; 4] = ["apply", "--server-side", "-f", "-"];

fn start(backend: Backend) -> Option<Server> {
    if let Some(why) = missing(backend) {
        eprintln!("skipped: {why}");
        return None;
    }
    Some(Server::start(backend, "apiserver"))
}

fn by<'a>(manager: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&APPLY, &["--field-manager", manager][..], more].concat()
}

fn object(server: &Server, what: &str) -> Value {
    let shown = server.ok(&["get", what, "-o", "json", "--show-managed-fields"]);
    serde_json::from_str(&shown).expect("kubectl writes JSON")
}

/// `manager operation subresource` of each entry, sorted.
fn managers(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let word = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let mut found: Vec<String> = entries
        .map(|entry| {
            ["manager", "operation", "subresource"].map(|key| word(entry, key)).join(" ").trim().to_owned()
        })
        .collect();
    found.sort();
    found
}

fn a_conflict_is_told_and_forced_on(backend: Backend) {
    let Some(server) = start(backend) else { return };
    assert!(server.ok_with(&APPLY, SETTINGS).contains("configmap/settings serverside-applied"));
    let red = SETTINGS.replace("blue", "red");
    let said = server.refused_with(&by("other", &[]), &red);
    assert!(said.contains("Apply failed with 1 conflict: conflict with \"kubectl\": .data.color"), "{said}");
    assert!(said.contains("--force-conflicts"), "{said}");
    server.ok_with(&by("other", &["--force-conflicts"]), &red);
    let settings = object(&server, "configmap/settings");
    assert_eq!(settings["data"]["color"], "red");
    assert_eq!(managers(&settings), ["kubectl Apply", "other Apply"]);
    // It is another's now; what the first one alone wanted goes when he no longer wants it.
    let said = server.refused_with(&APPLY, SETTINGS);
    assert!(said.contains("conflict with \"other\": .data.color"), "{said}");
    server.ok_with(&APPLY, &SETTINGS.replace("{color: blue, size: '10'}", "{shape: round}"));
    let settings = object(&server, "configmap/settings");
    assert_eq!(settings["data"], serde_json::json!({"color": "red", "shape": "round", "size": "10"}));
    // The size was the other's, too.
    server.ok_with(&by("other", &[]), &red.replace(", size: '10'", ""));
    assert!(object(&server, "configmap/settings")["data"].get("size").is_none());
    // A table and a plain listing know nothing of all that.
    assert!(!server.ok(&["get", "cm", "settings", "-o", "yaml"]).contains("managedFields"));
    assert!(server.ok(&["get", "cm", "settings"]).contains("DATA"));
}

#[test]
fn a_conflict_is_told_and_forced_on_the_embedded_store() {
    a_conflict_is_told_and_forced_on(Backend::Embedded);
}

#[test]
fn a_conflict_is_told_and_forced_on_etcd() {
    a_conflict_is_told_and_forced_on(Backend::Etcd);
}

#[test]
fn the_number_of_replicas_is_handed_over() {
    let Some(server) = start(Backend::Embedded) else { return };
    server.ok_with(&APPLY, WEB);
    server.ok(&["scale", "deployment", "web", "--replicas", "5"]);
    let said = server.refused_with(&APPLY, WEB);
    let expected = "conflict with \"kubectl\" with subresource \"scale\" using apps/v1: .spec.replicas";
    assert!(said.contains(expected), "{said}");
    server.ok_with(&APPLY, &WEB.replace("  replicas: 3\n", ""));
    let web = object(&server, "deployment/web");
    assert_eq!(web["spec"]["replicas"], 5);
    assert_eq!(managers(&web), ["kubectl Apply", "kubectl Update scale"]);
}

#[test]
fn a_status_is_applied_to_its_subresource() {
    let Some(server) = start(Backend::Embedded) else { return };
    server.ok_with(&APPLY, WEB);
    let status = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nstatus: {replicas: 2}\n";
    server.ok_with(&by("me", &["--subresource=status"]), status);
    let web = object(&server, "deployment/web");
    assert_eq!(web["status"]["replicas"], 2);
    assert_eq!(managers(&web), ["kubectl Apply", "me Apply status"]);
}

#[test]
fn a_dry_run_and_a_difference_store_nothing() {
    let Some(server) = start(Backend::Embedded) else { return };
    let said = server.ok_with(&[&APPLY[..], &["--dry-run=server"]].concat(), SETTINGS);
    assert!(said.contains("serverside-applied (server dry run)"), "{said}");
    assert!(server.refused(&["get", "cm", "settings"]).contains("not found"));
    server.ok_with(&APPLY, SETTINGS);
    let version = object(&server, "configmap/settings")["metadata"]["resourceVersion"].take();
    let diff = server.run_with(&["diff", "--server-side", "-f", "-"], &SETTINGS.replace("blue", "red"));
    assert_eq!(diff.status.code(), Some(1), "{}", text(&diff.stderr));
    assert!(text(&diff.stdout).contains("-  color: blue") && text(&diff.stdout).contains("+  color: red"));
    let same = server.run_with(&["diff", "--server-side", "-f", "-"], SETTINGS);
    assert_eq!((same.status.code(), text(&same.stdout).as_str()), (Some(0), ""), "{}", text(&same.stderr));
    server.ok_with(&APPLY, SETTINGS);
    assert_eq!(
        object(&server, "configmap/settings")["metadata"]["resourceVersion"],
        version,
        "nothing was new"
    );
}

#[test]
fn client_side_apply_is_left_for_server_side_apply_and_come_back_to() {
    let Some(server) = start(Backend::Embedded) else { return };
    server.ok_with(&["apply", "-f", "-"], WEB);
    assert_eq!(managers(&object(&server, "deployment/web")), ["kubectl-client-side-apply Update"]);
    let changed =
        WEB.replace("replicas: 3", "replicas: 4").replace("        ports: [{containerPort: 80}]\n", "");
    server.ok_with(&APPLY, &changed);
    let web = object(&server, "deployment/web");
    let container = &web["spec"]["template"]["spec"]["containers"][0];
    // What client-side apply had said and is said no more is gone: it was the same manager's.
    assert!(web["spec"]["replicas"] == 4 && container.get("ports").is_none(), "{web}");
    let who = managers(&web);
    assert!(who.contains(&"kubectl Apply".to_owned()), "{who:?}");
    assert!(!who.iter().any(|who| who.starts_with("kubectl-client-side-apply Update")), "{who:?}");
    let last = web["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"].as_str();
    assert!(last.is_some_and(|last| last.contains(r#""replicas":4"#)), "{last:?}");
    assert!(server.ok_with(&APPLY, &changed).contains("serverside-applied"));
    server.ok_with(&["apply", "-f", "-"], &changed.replace("replicas: 4", "replicas: 2"));
    assert_eq!(object(&server, "deployment/web")["spec"]["replicas"], 2);
}

#[test]
fn what_cannot_be_applied_says_why() {
    let Some(server) = start(Backend::Embedded) else { return };
    let twice = WEB.replace(
        "        ports: [{containerPort: 80}]\n",
        "        ports: [{containerPort: 80}, {containerPort: 80, protocol: TCP}]\n",
    );
    let said = server.refused_with(&[&APPLY[..], &["--validate=false"]].concat(), &twice);
    let expected = "failed to create typed patch object (default/web; apps/v1, Kind=Deployment): \
                    .spec.template.spec.containers[name=\"nginx\"].ports: duplicate entries for key \
                    [containerPort=80,protocol=\"TCP\"]";
    assert!(said.contains(expected), "{said}");
    let said = server.refused_with(&APPLY, &SETTINGS.replace("\ndata:", "\ndate:"));
    assert!(said.contains(".date: field not declared in schema"), "{said}");
    server.ok_with(&APPLY, SETTINGS);
    let jane = server.user("jane");
    server.ok(&["create", "role", "changer", "--verb=patch,get", "--resource=configmaps"]);
    server.ok(&["create", "rolebinding", "changer", "--role=changer", "--user=jane"]);
    let jane = |manifest: &str| {
        server.run_with(&[&by("jane", &[])[..], &["--kubeconfig", &jane]].concat(), manifest)
    };
    let changed = jane(&SETTINGS.replace("size: '10'", "owner: jane").replace("color: blue, ", ""));
    assert!(changed.status.success(), "{}", text(&changed.stderr));
    // Who may change may not make.
    let made = text(&jane(&SETTINGS.replace("settings", "other")).stderr);
    assert!(made.contains("configmaps \"other\" is forbidden") && made.contains("cannot create"), "{made}");
}
