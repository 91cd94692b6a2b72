//! The informers of a process: made at once, each started when somebody first asks for it.

use crate::{Api, Informer, views::*};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

macro_rules! informers {
    ($($(#[$doc:meta])* $name:ident: $view:ty;)*) => {
        /// One shared informer per kind. Components that run in one process are given the same set.
        pub struct Informers { $($name: Arc<Informer<$view>>,)* }

        impl Informers {
            /// Nothing is watched until it is asked for; all watches end at `shutdown`.
            pub fn new(api: &Api, shutdown: &CancellationToken) -> Arc<Self> {
                Arc::new(Self { $($name: Informer::new(api.clone(), shutdown.clone()),)* })
            }

            $($(#[$doc])* pub fn $name(&self) -> Arc<Informer<$view>> {
                self.$name.start();
                self.$name.clone()
            })*
        }
    };
}

informers! {
    /// Pods.
    pods: Pod;
    /// Nodes.
    nodes: Node;
    /// Namespaces.
    namespaces: Namespace;
    /// Services.
    services: Service;
    /// ServiceAccounts.
    service_accounts: ServiceAccount;
    /// PersistentVolumeClaims.
    persistent_volume_claims: PersistentVolumeClaim;
    /// ResourceQuotas.
    resource_quotas: ResourceQuota;
    /// Deployments.
    deployments: Deployment;
    /// ReplicaSets.
    replica_sets: ReplicaSet;
    /// ReplicationControllers.
    replication_controllers: ReplicationController;
    /// EndpointSlices.
    endpoint_slices: EndpointSlice;
    /// Endpoints.
    endpoints: Endpoints;
    /// Leases.
    leases: Lease;
    /// CertificateSigningRequests.
    certificate_signing_requests: CertificateSigningRequest;
    /// ClusterRoles.
    cluster_roles: ClusterRole;
}
