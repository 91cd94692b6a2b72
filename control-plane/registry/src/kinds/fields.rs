//! Field selectors beyond metadata, by kind, as upstream accepts them.

use crate::kind::SelectableField;

const fn field(name: &'static str, paths: &'static [&'static str]) -> SelectableField {
    SelectableField { name, paths, absent: "" }
}

/// pods.
pub const PODS: &[SelectableField] = &[
    field("spec.nodeName", &["spec.nodeName"]),
    field("spec.restartPolicy", &["spec.restartPolicy"]),
    field("spec.schedulerName", &["spec.schedulerName"]),
    field("spec.serviceAccountName", &["spec.serviceAccountName"]),
    SelectableField { name: "spec.hostNetwork", paths: &["spec.hostNetwork"], absent: "false" },
    field("status.phase", &["status.phase"]),
    field("status.podIP", &["status.podIP"]),
    // Accepted upstream, but never filled: it compares as "".
    field("status.podIPs", &[]),
    field("status.nominatedNodeName", &["status.nominatedNodeName"]),
    field("spec.host", &["spec.nodeName"]),
];

/// nodes.
pub const NODES: &[SelectableField] =
    &[SelectableField { name: "spec.unschedulable", paths: &["spec.unschedulable"], absent: "false" }];

/// namespaces.
pub const NAMESPACES: &[SelectableField] = &[field("status.phase", &["status.phase"])];

/// secrets.
pub const SECRETS: &[SelectableField] = &[field("type", &["type"])];

/// services.
pub const SERVICES: &[SelectableField] =
    &[field("spec.clusterIP", &["spec.clusterIP"]), field("spec.type", &["spec.type"])];

/// events of the core group.
pub const EVENTS: &[SelectableField] = &[
    field("involvedObject.kind", &["involvedObject.kind"]),
    field("involvedObject.namespace", &["involvedObject.namespace"]),
    field("involvedObject.name", &["involvedObject.name"]),
    field("involvedObject.uid", &["involvedObject.uid"]),
    field("involvedObject.apiVersion", &["involvedObject.apiVersion"]),
    field("involvedObject.resourceVersion", &["involvedObject.resourceVersion"]),
    field("involvedObject.fieldPath", &["involvedObject.fieldPath"]),
    field("reason", &["reason"]),
    field("reportingComponent", &["reportingComponent"]),
    field("source", &["source.component", "reportingComponent"]),
    field("type", &["type"]),
];

/// events of events.k8s.io.
pub const EVENTS_VIEW: &[SelectableField] = &[
    field("regarding.kind", &["regarding.kind"]),
    field("regarding.namespace", &["regarding.namespace"]),
    field("regarding.name", &["regarding.name"]),
    field("regarding.uid", &["regarding.uid"]),
    field("regarding.apiVersion", &["regarding.apiVersion"]),
    field("regarding.resourceVersion", &["regarding.resourceVersion"]),
    field("regarding.fieldPath", &["regarding.fieldPath"]),
    field("reason", &["reason"]),
    field("reportingController", &["reportingController"]),
    field("type", &["type"]),
];

/// jobs: the selector's name is not the field's.
pub const JOBS: &[SelectableField] =
    &[SelectableField { name: "status.successful", paths: &["status.succeeded"], absent: "0" }];

/// replicationcontrollers.
pub const REPLICATION_CONTROLLERS: &[SelectableField] =
    &[SelectableField { name: "status.replicas", paths: &["status.replicas"], absent: "0" }];

/// certificatesigningrequests.
pub const CERTIFICATE_SIGNING_REQUESTS: &[SelectableField] =
    &[field("spec.signerName", &["spec.signerName"])];

/// resourceslices.
pub const RESOURCE_SLICES: &[SelectableField] =
    &[field("spec.driver", &["spec.driver"]), field("spec.nodeName", &["spec.nodeName"])];
