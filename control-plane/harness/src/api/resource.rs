//! Which collection of the API is meant, and its paths. Does not own any object.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use std::{borrow::Cow, fmt};

/// A served resource: where its objects are, and what they are called.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    /// Empty for the core group.
    pub group: Cow<'static, str>,
    /// For example `v1`.
    pub version: Cow<'static, str>,
    /// For example `pods`.
    pub plural: Cow<'static, str>,
    /// For example `Pod`.
    pub kind: Cow<'static, str>,
    /// Do its objects live in namespaces?
    pub namespaced: bool,
}

/// What a path segment cannot hold as it is.
const SEGMENT: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'/').add(b'<').add(b'>').add(b'?').add(b'`');

impl Resource {
    /// A namespaced built-in resource.
    pub const fn namespaced(
        group: &'static str,
        version: &'static str,
        plural: &'static str,
        kind: &'static str,
    ) -> Self {
        Self::builtin(group, version, plural, kind, true)
    }

    /// A cluster-scoped built-in resource.
    pub const fn cluster(
        group: &'static str,
        version: &'static str,
        plural: &'static str,
        kind: &'static str,
    ) -> Self {
        Self::builtin(group, version, plural, kind, false)
    }

    const fn builtin(
        group: &'static str,
        version: &'static str,
        plural: &'static str,
        kind: &'static str,
        namespaced: bool,
    ) -> Self {
        Self {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            plural: Cow::Borrowed(plural),
            kind: Cow::Borrowed(kind),
            namespaced,
        }
    }

    /// `group/version`, or the version alone for core.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The path of the collection, of one object, or of a subresource.
    pub fn path(&self, namespace: Option<&str>, name: Option<&str>, subresource: Option<&str>) -> String {
        let mut path =
            if self.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", self.group) };
        let mut push = |segment: &str| {
            path.push('/');
            path.extend(utf8_percent_encode(segment, SEGMENT));
        };
        push(&self.version);
        if let (true, Some(ns)) = (self.namespaced, namespace) {
            push("namespaces");
            push(ns);
        }
        push(&self.plural);
        name.into_iter().chain(subresource).for_each(push);
        path
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.group {
            "" => f.write_str(&self.plural),
            group => write!(f, "{}.{group}", self.plural),
        }
    }
}

macro_rules! resources {
    ($($(#[$doc:meta])* $name:ident = $scope:ident($group:literal, $version:literal, $plural:literal, $kind:literal);)*) => {
        $($(#[$doc])* pub const $name: Resource = Resource::$scope($group, $version, $plural, $kind);)*
    };
}

resources! {
    /// core/v1 Pod
    PODS = namespaced("", "v1", "pods", "Pod");
    /// core/v1 Node
    NODES = cluster("", "v1", "nodes", "Node");
    /// core/v1 Namespace
    NAMESPACES = cluster("", "v1", "namespaces", "Namespace");
    /// core/v1 Service
    SERVICES = namespaced("", "v1", "services", "Service");
    /// core/v1 ServiceAccount
    SERVICE_ACCOUNTS = namespaced("", "v1", "serviceaccounts", "ServiceAccount");
    /// core/v1 ConfigMap
    CONFIG_MAPS = namespaced("", "v1", "configmaps", "ConfigMap");
    /// core/v1 Secret
    SECRETS = namespaced("", "v1", "secrets", "Secret");
    /// core/v1 Event
    EVENTS = namespaced("", "v1", "events", "Event");
    /// core/v1 PersistentVolumeClaim
    PERSISTENT_VOLUME_CLAIMS = namespaced("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim");
    /// core/v1 PersistentVolume
    PERSISTENT_VOLUMES = cluster("", "v1", "persistentvolumes", "PersistentVolume");
    /// storage.k8s.io/v1 VolumeAttributesClass
    VOLUME_ATTRIBUTES_CLASSES = cluster("storage.k8s.io", "v1", "volumeattributesclasses", "VolumeAttributesClass");
    /// core/v1 ResourceQuota
    RESOURCE_QUOTAS = namespaced("", "v1", "resourcequotas", "ResourceQuota");
    /// core/v1 ReplicationController
    REPLICATION_CONTROLLERS = namespaced("", "v1", "replicationcontrollers", "ReplicationController");
    /// apps/v1 Deployment
    DEPLOYMENTS = namespaced("apps", "v1", "deployments", "Deployment");
    /// apps/v1 ReplicaSet
    REPLICA_SETS = namespaced("apps", "v1", "replicasets", "ReplicaSet");
    /// discovery.k8s.io/v1 EndpointSlice
    ENDPOINT_SLICES = namespaced("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice");
    /// core/v1 Endpoints
    ENDPOINTS = namespaced("", "v1", "endpoints", "Endpoints");
    /// certificates.k8s.io/v1 CertificateSigningRequest
    CERTIFICATE_SIGNING_REQUESTS = cluster("certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest");
    /// coordination.k8s.io/v1 Lease
    LEASES = namespaced("coordination.k8s.io", "v1", "leases", "Lease");
    /// rbac.authorization.k8s.io/v1 ClusterRole
    CLUSTER_ROLES = cluster("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_api() {
        assert_eq!(PODS.path(None, None, None), "/api/v1/pods");
        assert_eq!(PODS.path(Some("a"), Some("b"), Some("status")), "/api/v1/namespaces/a/pods/b/status");
        assert_eq!(NODES.path(None, Some("n"), None), "/api/v1/nodes/n");
        assert_eq!(DEPLOYMENTS.path(Some("a"), None, None), "/apis/apps/v1/namespaces/a/deployments");
        let role = CLUSTER_ROLES.path(None, Some("system:a b"), None);
        assert_eq!(role, "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:a%20b");
    }
}
