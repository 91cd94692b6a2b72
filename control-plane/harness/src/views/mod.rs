//! Views: of each kind the fields that some component reads, decoded straight from the API's bytes.
//!
//! A view is never written back; components write by patch. Adding a field here costs memory in every process that
//! watches the kind: add what is read, nothing else.

mod certificate;
mod cluster_role;
mod namespace;
mod node;
mod pod;
mod pod_spec;
mod quota;
mod service;
mod workload;

pub use certificate::{CertificateSigningRequest, SigningSpec, SigningStatus};
pub use cluster_role::{AggregationRule, ClusterRole};
pub use namespace::{
    ClaimSpec, ClaimStatus, ConfigMap, Namespace, NamespaceSpec, NamespaceStatus, PersistentVolumeClaim,
    ServiceAccount,
};
pub use node::{Lease, LeaseSpec, Node, NodeCondition, NodeSpec, NodeStatus};
pub use pod::{Availability, ConditionState, Phase, Pod, PodStatus};
pub use pod_spec::*;
pub use quota::{QuotaSpec, ResourceQuota};
pub use service::{
    Conditions, Endpoint, EndpointAddress, EndpointPort, EndpointSlice, EndpointSubset, Endpoints, Hints,
    LoadBalancerIngress, LoadBalancerStatus, Named, SERVICE_NAME, Service, ServicePort, ServiceSpec,
    ServiceStatus, SubsetPort, TargetRef,
};
pub use workload::*;

use crate::{IndexKey, Meta, Resource};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

/// A view of a kind that informers can keep.
pub trait View: DeserializeOwned + Send + Sync + 'static {
    /// Where its objects are.
    const RESOURCE: Resource;

    /// metadata
    fn meta(&self) -> &Meta;

    /// Under which index keys it is found.
    fn indexes(&self) -> Vec<IndexKey> {
        Vec::new()
    }

    /// Shares with an earlier revision or a sibling what is equal, to save memory.
    fn share(&mut self, _other: &Self) {}
}

/// The keys by which a controlled object is found: by its controller, or among the orphans of its namespace.
fn owner_index(meta: &Meta) -> IndexKey {
    match meta.controller() {
        Some(owner) => IndexKey::Controller(owner.uid.clone()),
        None => IndexKey::Orphans(meta.namespace.clone()),
    }
}

/// An explicit `null` means absent, as in Go.
pub(crate) fn null_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    d: D,
) -> Result<T, D::Error> {
    Option::deserialize(d).map(Option::unwrap_or_default)
}

/// Only the metadata, of any kind.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetaOnly {
    /// metadata
    pub metadata: Meta,
}
