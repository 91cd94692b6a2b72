//! What follows from events: what to do to the kernel, to the servers of this process, and to tell users.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::Key;
use crate::maps::GoneTcp;
use crate::plan::{
    Announced, Backend, ExternalFrontend, Frontend, FrontendKey, HealthCheck, NodePort, Unprogrammed,
};

/// What to do to the maps and to sockets.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Changes {
    pub(crate) gone: Vec<FrontendKey>,
    pub(crate) wanted: Vec<Frontend>,
    /// UDP frontends some of whose backends may have stopped serving, with those that serve.
    pub(crate) serving_udp: BTreeMap<FrontendKey, BTreeSet<Backend>>,
    /// Endpoints that were terminating and are gone: nobody ends their connections any more.
    pub(crate) departed: GoneTcp,
    /// All node ports in use, if that has changed.
    pub(crate) node_ports: Option<BTreeMap<NodePort, Key>>,
    /// All addresses that this node is to answer for, if that has changed.
    pub(crate) announced: Option<BTreeSet<IpAddr>>,
    /// All that is reached from outside, if any of it changed.
    pub(crate) external: Option<Vec<ExternalFrontend>>,
}

/// What events can be about.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Subject {
    /// Of the core group.
    pub(crate) kind: &'static str,
    pub(crate) key: Key,
    pub(crate) uid: Box<str>,
}

/// Something that a user should know about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Notice {
    pub(crate) about: Subject,
    pub(crate) reason: &'static str,
    pub(crate) note: String,
}

/// Reason of the events about what is not programmed.
pub(super) const NOT_PROGRAMMED: &str = "NotProgrammed";

/// What was planned last for a Service.
#[derive(Debug, Default)]
pub(super) struct Planned {
    /// Asked for; it need not have got all of them.
    pub(super) frontends: Vec<FrontendKey>,
    pub(super) serving_udp: BTreeMap<FrontendKey, Vec<Backend>>,
    pub(super) node_ports: Vec<NodePort>,
    pub(super) announced: Vec<Announced>,
    /// Without those that are another's.
    pub(super) external: Vec<ExternalFrontend>,
    pub(super) health: Option<HealthCheck>,
    pub(super) unprogrammed: Vec<Unprogrammed>,
}

impl Planned {
    /// The UDP frontends of `now` that lost a serving backend since.
    pub(super) fn lost_serving<'a>(
        &'a self,
        now: &'a Planned,
    ) -> impl Iterator<Item = (FrontendKey, BTreeSet<Backend>)> + 'a {
        now.serving_udp.iter().filter_map(|(key, serving)| {
            let before = self.serving_udp.get(key)?;
            let lost = before.iter().any(|backend| serving.binary_search(backend).is_err());
            lost.then(|| (*key, serving.iter().copied().collect()))
        })
    }
}

/// One line of what is not programmed.
pub(super) fn words(unprogrammed: &[Unprogrammed]) -> String {
    unprogrammed.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
