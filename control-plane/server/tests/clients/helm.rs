//! Helm 3: install, upgrade, roll back and remove a chart that has a CustomResourceDefinition and a hook.

use super::{Server, here, installed, server, text};
use std::process::{Command, Output};

struct Helm<'a> {
    server: &'a Server,
}

impl Helm<'_> {
    fn run(&self, args: &[&str]) -> Output {
        Command::new(installed("python/bin/helm"))
            .env("KUBECONFIG", self.server.path("admin.conf"))
            .env("HOME", self.server.path("home"))
            .args(args)
            .output()
            .expect("helm starts")
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "helm {args:?}: {}\n{}", text(&output.stderr), self.server.log());
        text(&output.stdout)
    }
}

#[test]
fn a_chart_is_installed_upgraded_rolled_back_and_removed() {
    let Some(server) = server(&[&installed("python/bin/helm")]) else { return };
    let (helm, chart) = (Helm { server: &server }, here("chart").display().to_string());
    let field = |what: &str, path: &str| server.ok(&["get", what, "-o", &format!("jsonpath={path}")]);

    assert!(helm.ok(&["install", "shop", &chart]).contains("STATUS: deployed"));
    assert_eq!(field("configmap/shop", "{.data.color}"), "blue");
    assert_eq!(field("configmap/shop-before", "{.data.revision}"), "1");
    assert_eq!(field("crontab/shop", "{.spec.replicas}"), "2");
    assert!(server.ok(&["get", "ct"]).contains("* * * * */5"));
    let again = helm.run(&["install", "shop", &chart]);
    assert!(text(&again.stderr).contains("cannot re-use a name"), "{}", text(&again.stderr));

    helm.ok(&["upgrade", "shop", &chart, "--set", "color=red,replicas=5"]);
    assert_eq!(field("configmap/shop", "{.data.color}"), "red");
    assert_eq!(field("configmap/shop-before", "{.data.revision}"), "2");
    assert_eq!(field("deployment/shop", "{.spec.replicas} {.metadata.generation}"), "5 2");
    assert_eq!(field("crontab/shop", "{.spec.replicas}"), "5");

    // What the schema forbids is refused before anything is changed for good: the release failed, and can go on.
    let bad = helm.run(&["upgrade", "shop", &chart, "--set", "replicas=-1"]);
    assert!(!bad.status.success());
    assert!(text(&bad.stderr).contains("replicas"), "{}", text(&bad.stderr));

    helm.ok(&["rollback", "shop", "1"]);
    assert_eq!(field("configmap/shop", "{.data.color}"), "blue");
    assert_eq!(field("deployment/shop", "{.spec.replicas}"), "2");
    assert!(helm.ok(&["history", "shop"]).contains("Rollback to 1"));
    assert!(helm.ok(&["get", "manifest", "shop"]).contains("kind: CronTab"));
    assert!(helm.ok(&["list", "-o", "json"]).contains(r#""name":"shop""#));

    helm.ok(&["uninstall", "shop"]);
    let kinds = "deployments,configmaps,roles,rolebindings,crontabs,ingresses,serviceaccounts";
    let left = server.ok(&["get", kinds, "-o", "name"]);
    assert_eq!(left, "configmap/shop-before\n", "hooks stay, and so does the definition");
    assert!(server.ok(&["get", "crd", "-o", "name"]).contains("crontabs.helm.example.org"));
}
