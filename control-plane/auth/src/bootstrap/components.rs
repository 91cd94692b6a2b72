//! Roles for the components: scheduler, controller manager, node daemon and what grows around them.

use super::table::{EVENTS, READ, READ_WRITE, Role, Rule};

const CERTIFICATES: &str = "certificates.k8s.io";

pub(super) const ROLES: &[Role] = &[
    Role::cluster("system:node", NODE),
    Role::cluster("system:kube-scheduler", SCHEDULER),
    Role::cluster(
        "system:volume-scheduler",
        &[
            Rule::On("get list patch update watch", "core", "persistentvolumes persistentvolumeclaims"),
            Rule::On(READ, "storage.k8s.io", "storageclasses"),
        ],
    ),
    Role::cluster("system:kube-controller-manager", CONTROLLER_MANAGER),
    Role::cluster("keelson:node-data-plane", NODE_DATA_PLANE),
    Role::cluster(
        "system:node-proxier",
        &[
            Rule::On("list watch", "core", "endpoints services"),
            Rule::On(READ, "core", "nodes"),
            EVENTS,
            Rule::On("list watch", "discovery.k8s.io", "endpointslices"),
            Rule::On(READ, "networking.k8s.io", "servicecidrs"),
        ],
    ),
    Role::cluster(
        "system:kube-dns",
        &[
            Rule::On("list watch", "core", "endpoints services"),
            Rule::On("list watch", "discovery.k8s.io", "endpointslices"),
        ],
    ),
    Role::cluster(
        "system:kubelet-api-admin",
        &[
            Rule::On(READ, "core", "nodes"),
            Rule::On("proxy", "core", "nodes"),
            Rule::On(
                "*",
                "core",
                "nodes/configz nodes/healthz nodes/log nodes/metrics nodes/pods nodes/proxy nodes/stats",
            ),
        ],
    ),
    Role::cluster(
        "system:auth-delegator",
        &[
            Rule::On("create", "authentication.k8s.io", "tokenreviews"),
            Rule::On("create", "authorization.k8s.io", "subjectaccessreviews"),
        ],
    ),
    Role::cluster("system:kube-aggregator", &[Rule::On(READ, "core", "endpoints services")]),
    Role::cluster(
        "system:node-bootstrapper",
        &[Rule::On("create get list watch", "certificates.k8s.io", "certificatesigningrequests")],
    ),
    Role::cluster(
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &[Rule::On("create", CERTIFICATES, "certificatesigningrequests/nodeclient")],
    ),
    Role::cluster(
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &[Rule::On("create", CERTIFICATES, "certificatesigningrequests/selfnodeclient")],
    ),
    Role::cluster(
        "system:certificates.k8s.io:kube-apiserver-client-approver",
        &[Rule::Named("approve", CERTIFICATES, "signers", "kubernetes.io/kube-apiserver-client")],
    ),
    Role::cluster(
        "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
        &[Rule::Named("approve", CERTIFICATES, "signers", "kubernetes.io/kube-apiserver-client-kubelet")],
    ),
    Role::cluster(
        "system:certificates.k8s.io:kubelet-serving-approver",
        &[Rule::Named("approve", CERTIFICATES, "signers", "kubernetes.io/kubelet-serving")],
    ),
    Role::cluster(
        "system:certificates.k8s.io:legacy-unknown-approver",
        &[Rule::Named("approve", CERTIFICATES, "signers", "kubernetes.io/legacy-unknown")],
    ),
    Role::cluster(
        "system:node-problem-detector",
        &[Rule::On("get", "core", "nodes"), Rule::On("patch", "core", "nodes/status"), EVENTS],
    ),
    Role::cluster(
        "system:persistent-volume-provisioner",
        &[
            Rule::On("create delete get list watch", "core", "persistentvolumes"),
            Rule::On("get list update watch", "core", "persistentvolumeclaims"),
            Rule::On(READ, "storage.k8s.io", "storageclasses"),
            Rule::On("watch", "core", "events"),
            EVENTS,
        ],
    ),
    Role::namespaced(
        "kube-system",
        "extension-apiserver-authentication-reader",
        &[Rule::Named(READ, "core", "configmaps", "extension-apiserver-authentication")],
    ),
];

/// What the node authorizer grants to every node. Where it knows better (secrets, pods, leases, ..) it says so itself and
/// these rules are not asked.
const NODE: &[Rule] = &[
    Rule::On("create", "authentication.k8s.io", "tokenreviews"),
    Rule::On("create", "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews"),
    Rule::On(READ, "core", "services"),
    Rule::On("create get list watch", "core", "nodes"),
    Rule::On("patch update", "core", "nodes nodes/status"),
    EVENTS,
    Rule::On("create delete get list watch", "core", "pods"),
    Rule::On("patch update", "core", "pods/status"),
    Rule::On("create", "core", "pods/eviction"),
    Rule::On(READ, "core", "configmaps secrets"),
    Rule::On("get", "core", "persistentvolumeclaims persistentvolumes"),
    Rule::On("get", "core", "endpoints"),
    Rule::On("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
    Rule::On("create delete get patch update", "coordination.k8s.io", "leases"),
    Rule::On("create", "core", "serviceaccounts/token"),
    Rule::On("get patch update", "core", "persistentvolumeclaims/status"),
    Rule::On(READ, "node.k8s.io", "runtimeclasses"),
];

/// The node daemon is kube-proxy and DNS too, so it sees all Services and slices, and for routes to their pods the other
/// nodes, which the node authorizer alone would hide. All of it is cluster-wide knowledge that holds no secret.
///
/// For network policies it also sees all pods, whose labels and addresses are peers of its own: what the agents of upstream's
/// network plugins are granted, too. It may list and watch them, and still changes and deletes none but its own.
const NODE_DATA_PLANE: &[Rule] = &[
    Rule::On("list watch", "core", "pods"),
    Rule::On(READ, "core", "nodes services endpoints namespaces"),
    Rule::On(READ, "discovery.k8s.io", "endpointslices"),
    Rule::On(READ, "networking.k8s.io", "networkpolicies servicecidrs"),
];

const SCHEDULER: &[Rule] = &[
    EVENTS,
    Rule::On("create", "coordination.k8s.io", "leases"),
    Rule::Named("get list patch update watch", "coordination.k8s.io", "leases", "kube-scheduler"),
    Rule::On(READ_WRITE, "coordination.k8s.io", "leasecandidates"),
    Rule::On(READ, "core", "namespaces nodes replicationcontrollers services"),
    Rule::On("delete get list watch", "core", "pods"),
    Rule::On("create", "core", "bindings pods/binding"),
    Rule::On("patch update", "core", "pods/status"),
    Rule::On(READ, "apps", "replicasets statefulsets"),
    Rule::On(READ, "policy", "poddisruptionbudgets"),
    Rule::On(READ, "core", "persistentvolumeclaims persistentvolumes"),
    Rule::On("create", "authentication.k8s.io", "tokenreviews"),
    Rule::On("create", "authorization.k8s.io", "subjectaccessreviews"),
    Rule::On(READ, "storage.k8s.io", "csidrivers csinodes csistoragecapacities volumeattachments"),
    Rule::On(READ, "scheduling.k8s.io", "priorityclasses"),
];

/// What all controllers share; each controller's own role is bound to the same user, as upstream has it for a controller
/// manager without an account a controller.
const CONTROLLER_MANAGER: &[Rule] = &[
    EVENTS,
    Rule::On("create", "coordination.k8s.io", "leases"),
    Rule::Named("get patch update", "coordination.k8s.io", "leases", "kube-controller-manager"),
    Rule::On("create get update", "core", "secrets serviceaccounts"),
    Rule::On("delete", "core", "secrets"),
    Rule::On("get", "core", "configmaps namespaces"),
    Rule::On("create", "authentication.k8s.io", "tokenreviews"),
    Rule::On("create", "authorization.k8s.io", "subjectaccessreviews"),
    Rule::On("list watch", "*", "*"),
    Rule::On("create", "core", "serviceaccounts/token"),
    Rule::Paths("get", "/metrics"),
];
