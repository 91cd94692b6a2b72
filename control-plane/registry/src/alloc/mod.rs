//! Values of which the cluster has only so many: Service addresses and node ports.
//!
//! An allocation is made from the caches and written in the same transaction as the object, with a compare that fails
//! when somebody else took the value meanwhile; then the caller waits for the caches and asks again. Node ports are never
//! kept apart from their Services and cannot leak. Of two addresses the second is taken before the Service is written
//! and given back after it (the store writes one key of a resource a transaction): what a crash leaves is `repair`'s.

pub(crate) mod cluster_ip;
mod family;
pub(crate) mod node_port;

pub use cluster_ip::ClusterIpError;
pub use family::Family;
pub use node_port::{NodePortError, NodePortRange, NodePorts, NotAPortRange};

use crate::{
    cache::{ResourceCache, feed::Caches},
    context::RegistryConfig,
    table::KindTable,
};
use keelson_store::{Compare, Write};
use std::sync::Arc;
use time::OffsetDateTime;

/// A write beside the object's own, in the same transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// What must hold for it.
    pub compare: Option<Compare>,
    /// The write.
    pub write: Write,
}

/// What a strategy may look at when it allocates.
pub struct Allocation<'a> {
    caches: &'a Caches,
    table: Arc<KindTable>,
    config: &'a RegistryConfig,
    namespace: &'a str,
    name: &'a str,
    now: OffsetDateTime,
}

impl<'a> Allocation<'a> {
    pub(crate) fn new(
        caches: &'a Caches,
        table: Arc<KindTable>,
        config: &'a RegistryConfig,
        namespace: &'a str,
        name: &'a str,
        now: OffsetDateTime,
    ) -> Self {
        Self { caches, table, config, namespace, name, now }
    }

    pub(crate) fn cache(&self, group: &str, version: &str, plural: &str) -> Option<Arc<ResourceCache>> {
        let kind = self.table.by_resource(group, version, plural)?;
        self.caches.of_kind(kind)
    }
}
