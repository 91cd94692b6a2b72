//! Roles for people and their tools: cluster-admin, admin, edit, view, and what everybody may see.

use super::table::Aggregation::{From, FromInto, Into};
use super::table::{READ, READ_WRITE, Role, Rule, WRITE};

pub(super) const ROLES: &[Role] = &[
    Role::cluster("cluster-admin", &[Rule::On("*", "*", "*"), Rule::Paths("*", "*")]),
    Role::aggregated("admin", From("admin"), &[]),
    Role::aggregated("edit", FromInto("edit", "admin"), &[]),
    Role::aggregated("view", FromInto("view", "edit"), &[]),
    Role::aggregated(
        "system:aggregate-to-admin",
        Into("admin"),
        &[
            Rule::On("create", "authorization.k8s.io", "localsubjectaccessreviews"),
            Rule::On(READ_WRITE, "rbac.authorization.k8s.io", "rolebindings roles"),
        ],
    ),
    Role::aggregated("system:aggregate-to-edit", Into("edit"), EDIT),
    Role::aggregated("system:aggregate-to-view", Into("view"), VIEW),
    Role::cluster(
        "system:discovery",
        &[Rule::Paths(
            "get",
            "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/",
        )],
    ),
    Role::cluster(
        "system:basic-user",
        &[
            Rule::On("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
            Rule::On("create", "authentication.k8s.io", "selfsubjectreviews"),
        ],
    ),
    Role::cluster(
        "system:public-info-viewer",
        &[Rule::Paths("get", "/healthz /livez /readyz /version /version/")],
    ),
    Role::cluster(
        "system:service-account-issuer-discovery",
        &[Rule::Paths(
            "get",
            "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/",
        )],
    ),
    Role::cluster(
        "system:monitoring",
        &[Rule::Paths("get", "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*")],
    ),
];

/// Endpoints and slices are not among them: whoever writes those sends others' traffic elsewhere (CVE-2021-25740).
const EDIT: &[Rule] = &[
    Rule::On(READ, "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
    Rule::On("impersonate", "core", "serviceaccounts"),
    Rule::On(WRITE, "core", "pods pods/attach pods/exec pods/portforward pods/proxy"),
    Rule::On("create", "core", "pods/eviction"),
    Rule::On(
        WRITE,
        "core",
        "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets \
         serviceaccounts services services/proxy",
    ),
    Rule::On("create", "core", "serviceaccounts/token"),
    Rule::On(
        WRITE,
        "apps",
        "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets \
         statefulsets/scale",
    ),
    Rule::On(WRITE, "autoscaling", "horizontalpodautoscalers"),
    Rule::On(WRITE, "batch", "cronjobs jobs"),
    Rule::On(WRITE, "policy", "poddisruptionbudgets"),
    Rule::On(WRITE, "networking.k8s.io", "ingresses networkpolicies"),
    Rule::On(READ_WRITE, "coordination.k8s.io", "leases"),
    Rule::On(WRITE, "resource.k8s.io", "resourceclaims resourceclaimtemplates"),
];

/// Secrets are not among them: reading a ServiceAccount's would be becoming it.
const VIEW: &[Rule] = &[
    Rule::On(
        READ,
        "core",
        "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers \
         replicationcontrollers/scale serviceaccounts services services/status",
    ),
    Rule::On(
        READ,
        "core",
        "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status \
         resourcequotas resourcequotas/status",
    ),
    Rule::On(READ, "core", "namespaces"),
    Rule::On(READ, "discovery.k8s.io", "endpointslices"),
    Rule::On(
        READ,
        "apps",
        "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status \
         replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
    ),
    Rule::On(READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
    Rule::On(READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
    Rule::On(READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
    Rule::On(READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
    Rule::On(READ, "resource.k8s.io", "resourceclaims resourceclaims/status resourceclaimtemplates"),
];
