//! One role for each controller. Upstream's controllers update where ours patch, which is no more power; both are granted.

use super::table::{EVENTS, READ, READ_WRITE, Role, Rule};

const CERTIFICATES: &str = "certificates.k8s.io";

/// What is granted in single namespaces.
pub(super) const NAMESPACED: &[Role] = &[
    Role::namespaced(
        "kube-system",
        "system:controller:bootstrap-signer",
        &[Rule::On(READ, "core", "secrets")],
    ),
    Role::namespaced(
        "kube-public",
        "system:controller:bootstrap-signer",
        &[
            Rule::On(READ, "core", "configmaps"),
            Rule::Named("patch update", "core", "configmaps", "cluster-info"),
            EVENTS,
        ],
    ),
    Role::namespaced(
        "kube-system",
        "system:controller:token-cleaner",
        &[Rule::On("delete get list watch", "core", "secrets"), EVENTS],
    ),
];

pub(super) const ROLES: &[Role] = &[
    Role::cluster(
        "system:controller:clusterrole-aggregation-controller",
        &[Rule::On("escalate get list patch update watch", "rbac.authorization.k8s.io", "clusterroles")],
    ),
    Role::cluster(
        "system:controller:certificate-controller",
        &[
            Rule::On("delete get list watch", CERTIFICATES, "certificatesigningrequests"),
            Rule::On(
                "patch update",
                CERTIFICATES,
                "certificatesigningrequests/approval certificatesigningrequests/status",
            ),
            Rule::Named("approve", CERTIFICATES, "signers", "kubernetes.io/kube-apiserver-client-kubelet"),
            // Beyond upstream's: renewals are approved, for which the node is asked what it serves.
            Rule::Named("approve", CERTIFICATES, "signers", "kubernetes.io/kubelet-serving"),
            Rule::On("get", "core", "nodes"),
            Rule::Named("sign", CERTIFICATES, "signers", "kubernetes.io/kube-apiserver-client"),
            Rule::Named("sign", CERTIFICATES, "signers", "kubernetes.io/kube-apiserver-client-kubelet"),
            Rule::Named("sign", CERTIFICATES, "signers", "kubernetes.io/kubelet-serving"),
            Rule::Named("sign", CERTIFICATES, "signers", "kubernetes.io/legacy-unknown"),
            Rule::On("create", "authorization.k8s.io", "subjectaccessreviews"),
            EVENTS,
        ],
    ),
    Role::cluster(
        "system:controller:pvc-protection-controller",
        &[
            Rule::On("get list patch update watch", "core", "persistentvolumeclaims"),
            Rule::On(READ, "core", "pods"),
            EVENTS,
        ],
    ),
    Role::cluster(
        "system:controller:pv-protection-controller",
        &[Rule::On("get list patch update watch", "core", "persistentvolumes"), EVENTS],
    ),
    Role::cluster(
        "system:controller:volumeattributesclass-protection-controller",
        &[
            Rule::On(READ, "core", "persistentvolumeclaims persistentvolumes"),
            Rule::On("get list patch update watch", "storage.k8s.io", "volumeattributesclasses"),
            EVENTS,
        ],
    ),
    Role::cluster(
        "system:controller:deployment-controller",
        &[
            Rule::On("get list patch update watch", "apps", "deployments"),
            Rule::On("patch update", "apps", "deployments/finalizers deployments/status"),
            Rule::On(READ_WRITE, "apps", "replicasets"),
            Rule::On("get list patch update watch", "core", "pods"),
            EVENTS,
        ],
    ),
    Role::cluster(
        "system:controller:replicaset-controller",
        &[
            Rule::On("get list patch update watch", "apps", "replicasets"),
            Rule::On("patch update", "apps", "replicasets/finalizers replicasets/status"),
            Rule::On("create delete get list patch watch", "core", "pods"),
            EVENTS,
        ],
    ),
    Role::cluster(
        "system:controller:replication-controller",
        &[
            Rule::On("get list patch update watch", "core", "replicationcontrollers"),
            Rule::On(
                "patch update",
                "core",
                "replicationcontrollers/finalizers replicationcontrollers/status",
            ),
            Rule::On("create delete get list patch watch", "core", "pods"),
            EVENTS,
        ],
    ),
    Role::cluster(
        "system:controller:endpoint-controller",
        &[
            Rule::On(READ, "core", "pods services"),
            Rule::On("create delete get list patch update watch", "core", "endpoints"),
            Rule::On("create", "core", "endpoints/restricted"),
            EVENTS,
        ],
    ),
    Role::cluster(
        "system:controller:endpointslice-controller",
        &[
            Rule::On(READ, "core", "nodes pods services"),
            Rule::On("update", "core", "services/finalizers"),
            Rule::On("create delete get list patch update watch", "discovery.k8s.io", "endpointslices"),
            EVENTS,
        ],
    ),
    Role::cluster(
        "system:controller:endpointslicemirroring-controller",
        &[
            Rule::On(READ, "core", "endpoints services"),
            Rule::On("update", "core", "endpoints/finalizers services/finalizers"),
            Rule::On("create delete get list patch update watch", "discovery.k8s.io", "endpointslices"),
            EVENTS,
        ],
    ),
    Role::cluster(
        "system:controller:generic-garbage-collector",
        &[Rule::On("delete get list patch update watch", "*", "*"), EVENTS],
    ),
    Role::cluster(
        "system:controller:namespace-controller",
        &[
            Rule::On("delete get list watch", "core", "namespaces"),
            Rule::On("patch update", "core", "namespaces/finalize namespaces/status"),
            Rule::On("delete deletecollection get list", "*", "*"),
        ],
    ),
    Role::cluster(
        "system:controller:node-controller",
        &[
            Rule::On("delete get list patch update watch", "core", "nodes"),
            Rule::On("patch update", "core", "nodes/status pods/status"),
            Rule::On("delete get list watch", "core", "pods"),
            Rule::On(READ, "coordination.k8s.io", "leases"),
            EVENTS,
        ],
    ),
    Role::cluster(
        "system:controller:pod-garbage-collector",
        &[
            Rule::On("delete list watch", "core", "pods"),
            Rule::On("get list watch", "core", "nodes"),
            Rule::On("patch", "core", "pods/status"),
        ],
    ),
    Role::cluster(
        "system:controller:resourcequota-controller",
        &[
            Rule::On("list watch", "*", "*"),
            Rule::On("patch update", "core", "resourcequotas/status"),
            EVENTS,
        ],
    ),
    Role::cluster(
        "system:controller:root-ca-cert-publisher",
        &[Rule::On("create get list patch update watch", "core", "configmaps"), EVENTS],
    ),
    Role::cluster(
        "system:controller:service-controller",
        &[
            Rule::On(READ, "core", "services"),
            Rule::On("patch update", "core", "services services/status"),
            EVENTS,
        ],
    ),
    Role::cluster(
        "system:controller:service-account-controller",
        &[Rule::On("create get list watch", "core", "serviceaccounts"), EVENTS],
    ),
    Role::cluster(
        "system:controller:service-cidrs-controller",
        &[
            Rule::On("get list patch update watch", "networking.k8s.io", "servicecidrs"),
            Rule::On("patch update", "networking.k8s.io", "servicecidrs/finalizers servicecidrs/status"),
            Rule::On(READ, "networking.k8s.io", "ipaddresses"),
            EVENTS,
        ],
    ),
    Role::cluster(
        "system:controller:validatingadmissionpolicy-status-controller",
        &[
            Rule::On(READ, "admissionregistration.k8s.io", "validatingadmissionpolicies"),
            Rule::On(
                "get patch update",
                "admissionregistration.k8s.io",
                "validatingadmissionpolicies/status",
            ),
            EVENTS,
        ],
    ),
];
