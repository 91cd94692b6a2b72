//! Values of which the cluster has only so many: Service addresses and node ports.
//!
//! An allocation is made from the caches and written in the same transaction as the object, with a compare that fails
//! when somebody else took the value meanwhile; then the caller waits for the caches and asks again. What belongs to
//! whom is never kept apart from the objects, so nothing can leak.

mod cluster_ip;

mod node_port;

pub use cluster_ip::ClusterIpError;
pub use node_port::{NODE_PORTS, NodePort, NodePortError, NodePorts};

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
    table: &'a KindTable,
    config: &'a RegistryConfig,
    namespace: &'a str,
    name: &'a str,
    now: OffsetDateTime,
}

impl<'a> Allocation<'a> {
    pub(crate) fn new(
        caches: &'a Caches,
        table: &'a KindTable,
        config: &'a RegistryConfig,
        namespace: &'a str,
        name: &'a str,
        now: OffsetDateTime,
    ) -> Self {
        Self { caches, table, config, namespace, name, now }
    }

    fn cache(&self, group: &str, version: &str, plural: &str) -> Option<&'a Arc<ResourceCache>> {
        let kind = self.table.by_resource(group, version, plural)?;
        self.caches.by_prefix.get(&kind.prefix)
    }
}
