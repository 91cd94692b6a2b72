//! What a node may do, given what its pods refer to.

use std::sync::{Arc, LazyLock};

use super::graph::{NodeGraph, Referent};
use crate::authz::{Attributes, PolicyRule, Request, Resource, Verdict};
use crate::bootstrap;

/// The namespace of the leases by which nodes say that they live.
pub(crate) const LEASE_NAMESPACE: &str = "kube-node-lease";

/// What every node may do alike: the rules of ClusterRole system:node.
static COMMON_RULES: LazyLock<Vec<PolicyRule>> = LazyLock::new(bootstrap::node_rules);

/// The node authorizer's opinion on a request by the daemon of `node`.
pub(in crate::authz) fn authorize(node: &str, attributes: &Attributes<'_>, graph: &NodeGraph) -> Verdict {
    if let Request::Resource(request) = &attributes.request {
        let asked = Asked { node, verb: attributes.verb, request, graph };
        match (request.group, request.resource) {
            ("", "secrets") => return asked.read(Referent::Secret),
            ("", "configmaps") => return asked.read(Referent::ConfigMap),
            ("", "persistentvolumeclaims") => return asked.claim(),
            ("", "serviceaccounts") => return asked.token(),
            ("", "nodes") => return asked.nodes(),
            ("", "pods") => return asked.pods(),
            ("coordination.k8s.io", "leases") => return asked.lease(),
            ("storage.k8s.io", "csinodes") => return asked.csi_node(),
            ("resource.k8s.io", "resourceslices") => return asked.slices(),
            ("resource.k8s.io", "resourceclaims") => {
                return asked.get(|graph, node, namespace, name| {
                    graph.relates(node, Referent::ResourceClaim, namespace, name)
                });
            }
            ("", "persistentvolumes") => {
                return asked.get(|graph, node, _, name| graph.relates_volume(node, name));
            }
            ("storage.k8s.io", "volumeattachments") => {
                return asked.get(|graph, node, _, name| graph.has_attachment(node, name));
            }
            _ => {}
        }
    }
    match COMMON_RULES.iter().any(|rule| rule.allows(attributes.verb, &attributes.request)) {
        true => Verdict::allow(None),
        false => Verdict::no_opinion(None),
    }
}

struct Asked<'a> {
    node: &'a str,
    verb: &'a str,
    request: &'a Resource<'a>,
    graph: &'a NodeGraph,
}

impl Asked<'_> {
    fn read(&self, kind: Referent) -> Verdict {
        if !matches!(self.verb, "get" | "list" | "watch") {
            return no("can only read resources of this type");
        }
        if !self.request.subresource.is_empty() {
            return no("cannot read subresource");
        }
        if self.request.namespace.is_empty() {
            return no("can only read namespaced object of this type");
        }
        self.related(kind)
    }

    fn claim(&self) -> Verdict {
        match (self.request.subresource, self.verb) {
            ("status", "update" | "patch") | ("", "get") => self.related(Referent::PersistentVolumeClaim),
            ("status", _) => no("can only get/update/patch this type"),
            ("", _) => no("can only get individual resources of this type"),
            _ => no("cannot get subresource"),
        }
    }

    /// One object, where it is related to the node.
    fn get(&self, is_related: impl FnOnce(&NodeGraph, &str, &str, &str) -> bool) -> Verdict {
        let Resource { subresource, namespace, name, .. } = *self.request;
        if self.verb != "get" {
            return no("can only get individual resources of this type");
        }
        if !subresource.is_empty() {
            return no("cannot get subresource");
        }
        if name.is_empty() {
            return no("No Object name found");
        }
        match is_related(self.graph, self.node, namespace, name) {
            true => Verdict::allow(None),
            false => self.unrelated(),
        }
    }

    fn token(&self) -> Verdict {
        if self.verb != "create" || self.request.name.is_empty() {
            return no("can only create tokens for individual service accounts");
        }
        if self.request.subresource != "token" {
            return no("can only create token subresource of serviceaccount");
        }
        self.related(Referent::ServiceAccount)
    }

    /// Reading other nodes is left to RBAC, where the data plane's role grants it.
    fn nodes(&self) -> Verdict {
        let node = self.node;
        match (self.request.subresource, self.verb) {
            ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Verdict::allow(None),
            ("", "get" | "list" | "watch") => match self.request.name {
                name if name == node => Verdict::allow(None),
                "" => because(format!("node '{node}' cannot read all nodes, only its own Node object")),
                name => because(format!("node '{node}' cannot read '{name}', only its own Node object")),
            },
            _ => Verdict::no_opinion(None),
        }
    }

    fn pods(&self) -> Verdict {
        match (self.request.subresource, self.verb) {
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => {
                Verdict::allow(None)
            }
            ("", "get") => self.related(Referent::Pod),
            ("", "list" | "watch") => match self.request.requires("spec.nodeName", self.node) {
                true => Verdict::allow(None),
                false if !self.request.name.is_empty() => self.related(Referent::Pod),
                false => no("can only list/watch pods with spec.nodeName field selector"),
            },
            _ => Verdict::no_opinion(None),
        }
    }

    fn lease(&self) -> Verdict {
        if !matches!(self.verb, "get" | "create" | "update" | "patch" | "delete") {
            return no("can only get, create, update, patch, or delete a node lease");
        }
        if self.request.namespace != LEASE_NAMESPACE {
            return because(format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"));
        }
        // The name on create is in the body, where NodeRestriction looks.
        if self.verb != "create" && self.request.name != self.node {
            return no("can only access node lease with the same name as the requesting node");
        }
        Verdict::allow(None)
    }

    fn csi_node(&self) -> Verdict {
        if !matches!(self.verb, "get" | "create" | "update" | "patch" | "delete") {
            return no("can only get, create, update, patch, or delete a CSINode");
        }
        if !self.request.subresource.is_empty() {
            return no("cannot authorize CSINode subresources");
        }
        // As with leases.
        if self.verb != "create" && self.request.name != self.node {
            return no("can only access CSINode with the same name as the requesting node");
        }
        Verdict::allow(None)
    }

    fn slices(&self) -> Verdict {
        if !self.request.subresource.is_empty() {
            return no("cannot authorize ResourceSlice subresources");
        }
        match self.verb {
            // Whose it shall be is in the body, where NodeRestriction looks.
            "create" => Verdict::allow(None),
            "get" | "update" | "patch" | "delete" if self.request.name.is_empty() => {
                no("No Object name found")
            }
            "get" | "update" | "patch" | "delete" => match self.graph.has_slice(self.node, self.request.name)
            {
                true => Verdict::allow(None),
                false => self.unrelated(),
            },
            "list" | "watch" | "deletecollection" => {
                match self.request.requires("spec.nodeName", self.node) {
                    true => Verdict::allow(None),
                    false => {
                        no("can only list/watch/deletecollection resourceslices with nodeName field selector")
                    }
                }
            }
            _ => no(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, \
                 delete, deletecollection",
            ),
        }
    }

    fn related(&self, kind: Referent) -> Verdict {
        let Resource { namespace, name, .. } = self.request;
        if name.is_empty() {
            return no("No Object name found");
        }
        match self.graph.relates(self.node, kind, namespace, name) {
            true => Verdict::allow(None),
            false => self.unrelated(),
        }
    }

    fn unrelated(&self) -> Verdict {
        because(format!("no relationship found between node '{}' and this object", self.node))
    }
}

fn no(reason: &'static str) -> Verdict {
    Verdict::no_opinion(Some(Arc::from(reason)))
}

fn because(reason: String) -> Verdict {
    Verdict::no_opinion(Some(reason.into()))
}
