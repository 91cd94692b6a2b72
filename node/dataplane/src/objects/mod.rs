//! Objects of the API as they come over the wire, with only the fields that are read, and their projections.

mod node;
mod pod;
mod service;
mod slice;

#[cfg(test)]
mod tests;

pub(crate) use node::{NodeObject, NodeView};
pub(crate) use pod::{HostPorts, PodObject};
use serde::Deserialize;
pub(crate) use service::{Service, ServiceObject};
pub(crate) use slice::{Slice, SliceObject};

use crate::plan::Protocol;

/// A port of a Service or of a slice.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PortSpec {
    name: Option<Box<str>>,
    protocol: Option<String>,
    port: Option<i32>,
    node_port: Option<i32>,
}

fn number(port: Option<i32>) -> Option<u16> {
    port.and_then(|port| u16::try_from(port).ok()).filter(|&port| port > 0)
}

fn protocol(name: Option<&str>) -> Option<Protocol> {
    match name {
        None | Some("TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some("SCTP") => Some(Protocol::Sctp),
        Some(_) => None,
    }
}

/// What kube's watcher wants to know of a type.
macro_rules! resource {
    ($type:ty, $scope:ident, $group:literal, $version:literal, $kind:literal, $plural:literal) => {
        impl kube::Resource for $type {
            type DynamicType = ();
            type Scope = k8s_openapi::$scope;

            fn kind(_: &()) -> std::borrow::Cow<'_, str> {
                $kind.into()
            }

            fn group(_: &()) -> std::borrow::Cow<'_, str> {
                $group.into()
            }

            fn version(_: &()) -> std::borrow::Cow<'_, str> {
                $version.into()
            }

            fn plural(_: &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}
pub(crate) use resource;
