//! A custom kind from its definition to its end, by kubectl's own commands.

use crate::support::{Backend, Server, missing};

const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crontabs.stable.example.com}
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: crontabs, singular: crontab, kind: CronTab, shortNames: [ct], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}
    additionalPrinterColumns:
    - {name: Spec, type: string, jsonPath: .spec.cronSpec}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    schema:
      openAPIV3Schema:
        description: A table of what is done when.
        type: object
        properties:
          spec:
            type: object
            required: [cronSpec]
            properties:
              cronSpec: {type: string, description: When it is done.}
              replicas: {type: integer, minimum: 1, maximum: 10, default: 1}
          status:
            type: object
            properties:
              replicas: {type: integer}
"#;

const TAB: &str = "
apiVersion: stable.example.com/v1
kind: CronTab
metadata: {name: mine}
spec: {cronSpec: '* * * * */5'}
";

fn a_custom_kind_is_a_kind(backend: Backend) {
    if let Some(why) = missing(backend) {
        eprintln!("skipped: {why}");
        return;
    }
    let mut server = Server::start(backend, "apiserver");
    server.ok_with(&["apply", "-f", "-"], DEFINITION);
    server.ok(&["wait", "--for=condition=Established", "--timeout=10s", "crd/crontabs.stable.example.com"]);
    assert!(server.ok(&["get", "crd"]).contains("crontabs.stable.example.com"));
    let listed = server.ok(&["api-resources", "--api-group=stable.example.com", "--no-headers"]);
    assert_eq!(
        listed.split_whitespace().collect::<Vec<_>>(),
        ["crontabs", "ct", "stable.example.com/v1", "true", "CronTab"]
    );
    let explained = server.ok(&["explain", "crontabs.spec"]);
    assert!(explained.contains("cronSpec") && explained.contains("When it is done."), "{explained}");
    let refused =
        server.refused_with(&["create", "-f", "-"], &TAB.replace("{cronSpec", "{replicas: 0, cronSpec"));
    assert!(refused.contains("spec.replicas in body should be greater than or equal to 1"), "{refused}");
    let refused =
        server.refused_with(&["create", "-f", "-"], &TAB.replace("{cronSpec", "{spek: 0, cronSpec"));
    assert!(refused.contains("unknown field \"spec.spek\""), "{refused}");
    server.ok_with(&["apply", "-f", "-"], TAB);
    let table = server.ok(&["get", "ct"]);
    let words: Vec<&str> = table.split_whitespace().collect();
    assert_eq!(words[..4], ["NAME", "SPEC", "REPLICAS", "AGE"]);
    assert!(table.contains("mine") && table.contains("* * * * */5"), "{table}");
    assert!(server.ok(&["get", "all"]).contains("crontab.stable.example.com/mine"));
    server.ok(&["scale", "crontab/mine", "--replicas=3"]);
    assert_eq!(server.ok(&["get", "crontab", "mine", "-o", "jsonpath={.spec.replicas}"]), "3");
    // Client-side apply merges: what the manifest does not say is left.
    server.ok_with(&["apply", "-f", "-"], &TAB.replace("*/5", "*/6"));
    assert_eq!(
        server.ok(&["get", "crontab", "mine", "-o", "jsonpath={.spec.cronSpec} {.spec.replicas}"]),
        "* * * * */6 3"
    );
    server.ok_with(&["apply", "--server-side", "--force-conflicts", "-f", "-"], TAB);
    server.ok(&["label", "crontab", "mine", "by=kubectl"]);
    assert!(server.ok(&["describe", "crontab", "mine"]).contains("by=kubectl"));
    server.kill_and_restart();
    assert_eq!(
        server.ok(&["get", "ct", "-l", "by=kubectl", "-o", "name"]),
        "crontab.stable.example.com/mine\n"
    );
    server.ok(&["delete", "crontab", "mine"]);
    server.ok_with(&["create", "-f", "-"], TAB);
    server.ok(&["delete", "crd", "crontabs.stable.example.com", "--timeout=20s"]);
    let gone = server.refused(&["get", "crontabs"]);
    // By what kubectl remembers of discovery, or by what it asks anew.
    let texts = ["could not find the requested resource", "the server doesn't have a resource type"];
    assert!(texts.iter().any(|text| gone.contains(text)), "{gone}");
}

#[test]
fn a_custom_kind_is_a_kind_on_the_embedded_store() {
    a_custom_kind_is_a_kind(Backend::Embedded);
}

#[test]
fn a_custom_kind_is_a_kind_on_etcd() {
    a_custom_kind_is_a_kind(Backend::Etcd);
}
