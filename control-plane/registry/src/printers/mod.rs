//! Rows of the server-side printed Table: what `kubectl get` shows. Ages are computed when the answer is made.
//!
//! Which columns there are is in the kind's row; what stands in them is `table-columns.tsv`, in code. Here printing by
//! kind; the words that several kinds share are in `text`.

mod admission;
mod cluster;
mod core;
mod devices;
mod flow_control;
mod network;
mod pod;
mod scaling;
mod storage;
mod text;
mod workloads;

pub(crate) use text::since;

use crate::{entry::Entry, kind::Kind};
use serde_json::Value;
use std::{borrow::Cow, sync::Arc};
use time::OffsetDateTime;

/// One row, without the object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// In the order of the kind's columns.
    pub cells: Vec<Value>,
    /// rows[].conditions; only pods that have ended have them.
    pub conditions: Vec<Value>,
}

/// The cells of a Scale: name, desired, available, age.
pub fn scale(object: &Value, now: OffsetDateTime) -> Vec<Value> {
    scaling::scale(object, text::age(object, now))
}

/// Prints an object in the kind's served version.
pub fn row(kind: &Kind, object: &Value, now: OffsetDateTime) -> Row {
    if let Some(custom) = &kind.custom {
        return crate::custom::row(custom, object, now);
    }
    let age = || text::age(object, now);
    let cells = match kind.resource() {
        ("", "pods") => return Row { cells: pod::cells(object, now), conditions: pod::conditions(object) },
        ("", "componentstatuses") => cluster::component(object),
        ("", "configmaps") => core::config_map(object, age()),
        ("", "endpoints") => network::endpoints(object, age()),
        ("", "events") | ("events.k8s.io", "events") => core::event(object, now),
        ("", "namespaces") => core::namespace(object, age()),
        ("", "nodes") => core::node(object, age()),
        ("", "persistentvolumeclaims") => core::claim(object, age()),
        ("", "persistentvolumes") => storage::volume(object, age()),
        ("", "podtemplates") => workloads::pod_template(object),
        ("", "replicationcontrollers") => workloads::replication_controller(object, age()),
        ("", "resourcequotas") => core::resource_quota(object, age()),
        ("", "secrets") => core::secret(object, age()),
        ("", "serviceaccounts") => vec![text::name(object), age()],
        ("", "services") => network::service(object, age()),
        (
            "admissionregistration.k8s.io",
            "mutatingwebhookconfigurations" | "validatingwebhookconfigurations",
        ) => cluster::webhook_configuration(object, age()),
        ("admissionregistration.k8s.io", "validatingadmissionpolicies") => {
            admission::policy(object, "validations", age())
        }
        ("admissionregistration.k8s.io", "mutatingadmissionpolicies") => {
            admission::policy(object, "mutations", age())
        }
        (
            "admissionregistration.k8s.io",
            "validatingadmissionpolicybindings" | "mutatingadmissionpolicybindings",
        ) => admission::binding(object, age()),
        ("apiregistration.k8s.io", "apiservices") => cluster::api_service(object, age()),
        ("apps", "controllerrevisions") => workloads::controller_revision(object, age()),
        ("apps", "deployments") => workloads::deployment(object, age()),
        ("apps", "daemonsets") => workloads::daemon_set(object, age()),
        ("apps", "statefulsets") => workloads::stateful_set(object, age()),
        ("autoscaling", "horizontalpodautoscalers") => scaling::autoscaler(kind, object, age()),
        ("batch", "cronjobs") => workloads::cron_job(object, age(), now),
        ("batch", "jobs") => workloads::job(object, age(), now),
        ("apps", "replicasets") => workloads::replica_set(object, age()),
        ("certificates.k8s.io", "certificatesigningrequests") => cluster::signing_request(object, age()),
        ("coordination.k8s.io", "leases") => cluster::lease(object, age()),
        ("discovery.k8s.io", "endpointslices") => network::endpoint_slice(object, age()),
        ("flowcontrol.apiserver.k8s.io", "flowschemas") => flow_control::schema(object, age()),
        ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations") => flow_control::level(object, age()),
        ("networking.k8s.io", "ingressclasses") => network::ingress_class(object, age()),
        ("networking.k8s.io", "ingresses") => network::ingress(object, age()),
        ("networking.k8s.io", "ipaddresses") => network::ip_address(object, age()),
        ("networking.k8s.io", "networkpolicies") => network::network_policy(object, age()),
        ("networking.k8s.io", "servicecidrs") => network::service_cidr(object, age()),
        ("node.k8s.io", "runtimeclasses") => cluster::runtime_class(object, age()),
        ("policy", "poddisruptionbudgets") => scaling::budget(object, age()),
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => {
            cluster::binding(object, age())
        }
        ("resource.k8s.io", plural) => devices::cells(plural, object, age()),
        ("scheduling.k8s.io", "priorityclasses") => cluster::priority_class(object, age()),
        ("storage.k8s.io", plural) => storage::cells(plural, object, age()),
        _ => vec![text::name(object), text::created(object)],
    };
    Row { cells, conditions: Vec::new() }
}

/// The rows' order: that of the list, but for FlowSchemas, which stand in the order they are tried in.
pub fn in_order<'a>(kind: &Kind, entries: &'a [Arc<Entry>]) -> Cow<'a, [Arc<Entry>]> {
    match kind.resource() {
        ("flowcontrol.apiserver.k8s.io", "flowschemas") => Cow::Owned(flow_control::in_order(entries)),
        _ => Cow::Borrowed(entries),
    }
}

#[cfg(test)]
mod tests;
