//! Admission policies, as who writes them with kubectl sees them.

use crate::support::{Backend, Server, missing};

const POLICY: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: few-replicas}
spec:
  paramKind: {apiVersion: v1, kind: ConfigMap}
  matchConstraints:
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}
  validations:
  - expression: object.spec.replicas <= int(params.data.max)
    messageExpression: "'at most ' + params.data.max + ' replicas'"
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: everywhere}
spec:
  policyName: few-replicas
  validationActions: [Deny]
  paramRef: {name: limits, namespace: default, parameterNotFoundAction: Deny}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: limits}
data: {max: '2'}
"#;

const WARNING: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: owned}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}
  validations:
  - {expression: "has(object.metadata.labels) && 'owner' in object.metadata.labels", message: nobody owns it}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: owned}
spec: {policyName: owned, validationActions: [Warn]}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: history}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}
  reinvocationPolicy: Never
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration: {expression: "Object{spec: Object.spec{revisionHistoryLimit: 3}}"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: history}
spec: {policyName: history}
"#;

const WRONG: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: wrong}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [pods]}
  validations:
  - expression: object.spec.replicas + nothing
"#;

#[test]
fn a_policy_refuses_warns_and_changes_what_kubectl_creates() {
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return;
    }
    let server = Server::start(Backend::Embedded, "apiserver");
    server.ok_with(&["apply", "-f", "-"], POLICY);
    let shown = server.ok(&["get", "validatingadmissionpolicies,validatingadmissionpolicybindings"]);
    for text in ["few-replicas", "v1/ConfigMap", "default/limits"] {
        assert!(shown.contains(text), "{shown}");
    }
    let policy = server.ok(&[
        "get",
        "validatingadmissionpolicy",
        "few-replicas",
        "-o",
        "jsonpath={.spec.failurePolicy} {.spec.matchConstraints}",
    ]);
    assert!(
        policy.contains("Fail") && policy.contains("Equivalent") && policy.contains(r#""scope":"*""#),
        "{policy}"
    );

    let refused = server.refused(&["create", "deployment", "web", "--image=nginx", "--replicas=3"]);
    let told = "deployments.apps \"web\" is forbidden: ValidatingAdmissionPolicy 'few-replicas' with binding 'everywhere' denied \
                request: at most 2 replicas";
    assert!(refused.contains(told), "{refused}");
    server.ok(&["patch", "configmap", "limits", "--patch", r#"{"data":{"max":"5"}}"#]);
    server.ok(&["create", "deployment", "web", "--image=nginx", "--replicas=3"]);

    server.ok_with(&["apply", "-f", "-"], WARNING);
    let made = server.kubectl(&["create", "deployment", "other", "--image=nginx"]);
    let warned = String::from_utf8_lossy(&made.stderr).into_owned();
    let warning = "Warning: Validation failed for ValidatingAdmissionPolicy 'owned' with binding 'owned': nobody owns it";
    assert!(made.status.success() && warned.contains(warning), "{warned}");
    let limit = server.ok(&["get", "deployment", "other", "-o", "jsonpath={.spec.revisionHistoryLimit}"]);
    assert_eq!(limit.trim(), "3");
    let metrics = server.ok(&["get", "--raw", "/metrics"]);
    for line in [
        r#"apiserver_validating_admission_policy_check_total{enforcement_action="deny",error_type="no_error",policy="few-replicas",policy_binding="everywhere"} 1"#,
        r#"apiserver_validating_admission_policy_check_total{enforcement_action="warn",error_type="no_error",policy="owned",policy_binding="owned"} 1"#,
        r#"apiserver_mutating_admission_policy_check_total{error_type="no_error",policy="history",policy_binding="history"} 1"#,
    ] {
        assert!(metrics.lines().any(|own| own == line), "{line}: {metrics}");
    }
    for family in ["compilation", "evaluation"] {
        let family = format!("# TYPE apiserver_cel_{family}_duration_seconds histogram\n");
        assert!(metrics.contains(&family), "{family}: {metrics}");
    }

    let refused = server.refused_with(&["apply", "-f", "-"], WRONG);
    for text in [
        "spec.validations[0].expression",
        "compilation failed",
        "undeclared reference to 'nothing' (in container '')",
    ] {
        assert!(refused.contains(text), "{refused}");
    }
}
