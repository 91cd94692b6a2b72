//! Which kinds are served: a row each, in the order of discovery, and a file of rules each.
//!
//! What nobody carries out yet is kept and says so (`idle`). Ingress is carried out by controllers that users install, which
//! find the class they serve in IngressClass.

pub mod admission_policy;
pub mod api_service;
pub mod apiextensions;
pub mod apps;
pub mod autoscaling;
pub mod batch;
pub mod certificate;
pub mod core;
pub mod devices;
pub mod discovery;
pub mod events;
pub mod fields;
pub mod flow_control;
pub(crate) mod idle;
pub mod lease;
pub mod networking;
pub mod policy;
pub mod priority_class;
pub mod rbac;
pub mod runtime_class;
pub mod storage;
pub mod webhooks;

use crate::{
    kind::{SelectableField, Storage},
    strategy::Strategy,
    table::Row,
};

/// Requests in the form of objects, and ComponentStatus; the API server's handlers answer them.
pub struct Request;

impl Strategy for Request {}

const ADMISSION: &str = "admissionregistration.k8s.io";
const DEVICES: &str = "resource.k8s.io";
const FLOW_CONTROL: &str = "flowcontrol.apiserver.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
const STORAGE: &str = "storage.k8s.io";

/// All rows.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = core_rows();
    rows.extend(policy_rows());
    rows.extend([
        row(
            ADMISSION,
            "v1",
            "mutatingwebhookconfigurations",
            &webhooks::WebhookConfiguration { mutating: true },
        ),
        row(
            ADMISSION,
            "v1",
            "validatingwebhookconfigurations",
            &webhooks::WebhookConfiguration { mutating: false },
        ),
        row(
            "apiextensions.k8s.io",
            "v1",
            "customresourcedefinitions",
            &apiextensions::CustomResourceDefinition,
        )
        .with(&["status"]),
        row("apiregistration.k8s.io", "v1", "apiservices", &api_service::ApiService).with(&["status"]),
        row("apps", "v1", "controllerrevisions", &apps::ControllerRevision),
        row("apps", "v1", "daemonsets", &apps::DaemonSet).with(&["status"]),
        row("apps", "v1", "deployments", &apps::DEPLOYMENT).with(&["scale", "status"]),
        row("apps", "v1", "replicasets", &apps::REPLICA_SET).with(&["scale", "status"]),
        row("apps", "v1", "statefulsets", &apps::StatefulSet).with(&["scale", "status"]),
        request("authentication.k8s.io", "selfsubjectreviews"),
        request("authentication.k8s.io", "tokenreviews"),
        request("authorization.k8s.io", "localsubjectaccessreviews"),
        request("authorization.k8s.io", "selfsubjectaccessreviews"),
        request("authorization.k8s.io", "selfsubjectrulesreviews"),
        request("authorization.k8s.io", "subjectaccessreviews"),
        row("autoscaling", "v2", "horizontalpodautoscalers", &autoscaling::HorizontalPodAutoscaler)
            .with(&["status"]),
        Row {
            storage: Storage::View(&autoscaling::AsV2),
            ..row("autoscaling", "v1", "horizontalpodautoscalers", &autoscaling::HorizontalPodAutoscalerV1)
                .with(&["status"])
        },
        row("batch", "v1", "cronjobs", &batch::CronJob).with(&["status"]),
        row("batch", "v1", "jobs", &batch::Job).with(&["status"]).selectable(fields::JOBS),
        row(
            "certificates.k8s.io",
            "v1",
            "certificatesigningrequests",
            &certificate::CertificateSigningRequest,
        )
        .with(&["approval", "status"])
        .selectable(fields::CERTIFICATE_SIGNING_REQUESTS),
        row("coordination.k8s.io", "v1", "leases", &lease::Lease),
        row("discovery.k8s.io", "v1", "endpointslices", &discovery::EndpointSlice),
        Row {
            storage: Storage::View(&events::AsCore),
            ..row("events.k8s.io", "v1", "events", &events::Event).selectable(fields::EVENTS_VIEW)
        },
        row(FLOW_CONTROL, "v1", "flowschemas", &flow_control::FlowSchema).with(&["status"]),
        row(FLOW_CONTROL, "v1", "prioritylevelconfigurations", &flow_control::PriorityLevel)
            .with(&["status"]),
        row("networking.k8s.io", "v1", "ingressclasses", &networking::IngressClass),
        row("networking.k8s.io", "v1", "ingresses", &networking::Ingress).with(&["status"]),
        row("networking.k8s.io", "v1", "ipaddresses", &networking::IpAddress),
        row("networking.k8s.io", "v1", "networkpolicies", &networking::NetworkPolicy),
        row("networking.k8s.io", "v1", "servicecidrs", &networking::ServiceCidr).with(&["status"]),
        row("node.k8s.io", "v1", "runtimeclasses", &runtime_class::RuntimeClass),
        row("policy", "v1", "poddisruptionbudgets", &policy::PodDisruptionBudget).with(&["status"]),
        row(RBAC, "v1", "clusterrolebindings", &rbac::Binding { namespaced: false }),
        row(RBAC, "v1", "clusterroles", &rbac::Role { namespaced: false }),
        row(RBAC, "v1", "rolebindings", &rbac::Binding { namespaced: true }),
        row(RBAC, "v1", "roles", &rbac::Role { namespaced: true }),
        row(DEVICES, "v1", "deviceclasses", &devices::DeviceClass),
        row(DEVICES, "v1", "resourceclaims", &devices::ResourceClaim).with(&["status"]),
        row(DEVICES, "v1", "resourceclaimtemplates", &devices::ResourceClaimTemplate),
        row(DEVICES, "v1", "resourceslices", &devices::ResourceSlice).selectable(fields::RESOURCE_SLICES),
        row("scheduling.k8s.io", "v1", "priorityclasses", &priority_class::PriorityClass),
        row(STORAGE, "v1", "csidrivers", &storage::CsiDriver),
        row(STORAGE, "v1", "csinodes", &storage::CsiNode),
        row(STORAGE, "v1", "csistoragecapacities", &storage::CsiStorageCapacity),
        row(STORAGE, "v1", "storageclasses", &storage::StorageClass),
        row(STORAGE, "v1", "volumeattachments", &storage::VolumeAttachment).with(&["status"]),
        row(STORAGE, "v1", "volumeattributesclasses", &storage::VolumeAttributesClass),
    ]);
    rows
}

fn policy_rows() -> [Row; 4] {
    use admission_policy::{AdmissionPolicy as Policy, AdmissionPolicyBinding as Binding};
    let row = |plural, strategy: &'static dyn Strategy| row(ADMISSION, "v1", plural, strategy);
    [
        row("mutatingadmissionpolicies", &Policy { mutating: true }),
        row("mutatingadmissionpolicybindings", &Binding { mutating: true }),
        row("validatingadmissionpolicies", &Policy { mutating: false }).with(&["status"]),
        row("validatingadmissionpolicybindings", &Binding { mutating: false }),
    ]
}

fn core_rows() -> Vec<Row> {
    const POD_SUBS: &[&str] = &[
        "attach",
        "binding",
        "ephemeralcontainers",
        "eviction",
        "exec",
        "log",
        "portforward",
        "proxy",
        "resize",
        "status",
    ];
    vec![
        request("", "bindings"),
        request("", "componentstatuses"),
        row("", "v1", "configmaps", &core::ConfigMap),
        row("", "v1", "endpoints", &core::Endpoints),
        row("", "v1", "events", &core::Event).selectable(fields::EVENTS),
        row("", "v1", "limitranges", &core::LimitRange),
        row("", "v1", "namespaces", &core::Namespace)
            .with(&["finalize", "status"])
            .selectable(fields::NAMESPACES),
        row("", "v1", "nodes", &core::Node).with(&["proxy", "status"]).selectable(fields::NODES),
        row("", "v1", "persistentvolumeclaims", &core::PersistentVolumeClaim).with(&["status"]),
        row("", "v1", "persistentvolumes", &core::PersistentVolume).with(&["status"]),
        row("", "v1", "pods", &core::Pod).with(POD_SUBS).selectable(fields::PODS),
        row("", "v1", "podtemplates", &core::PodTemplate),
        row("", "v1", "replicationcontrollers", &apps::REPLICATION_CONTROLLER)
            .with(&["scale", "status"])
            .selectable(fields::REPLICATION_CONTROLLERS),
        row("", "v1", "resourcequotas", &core::ResourceQuota).with(&["status"]),
        row("", "v1", "secrets", &core::Secret).selectable(fields::SECRETS),
        row("", "v1", "serviceaccounts", &core::ServiceAccount).with(&["token"]),
        row("", "v1", "services", &core::Service).with(&["proxy", "status"]).selectable(fields::SERVICES),
    ]
}

fn row(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    strategy: &'static dyn Strategy,
) -> Row {
    Row { group, version, plural, strategy, storage: Storage::Own, subresources: &[], fields: &[] }
}

fn request(group: &'static str, plural: &'static str) -> Row {
    Row { storage: Storage::Virtual, ..row(group, "v1", plural, &Request) }
}

impl Row {
    fn with(self, subresources: &'static [&'static str]) -> Self {
        Self { subresources, ..self }
    }

    fn selectable(self, fields: &'static [SelectableField]) -> Self {
        Self { fields, ..self }
    }
}
