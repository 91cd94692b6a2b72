//! Ports that stand in each other's way, within a container or between two: containers of a pod share an address.

use super::{COMPARED_MAX, LISTS, Notes, Place, quote};
use crate::meta;
use serde_json::Value;

/// A container's port, and where it is.
#[derive(Clone, Copy)]
struct Port<'a> {
    list: &'static str,
    container: usize,
    index: usize,
    port: &'a Value,
}

impl Port<'_> {
    fn number(&self, key: &str) -> i64 {
        meta::number(self.port, &[key]).unwrap_or_default()
    }

    fn text(&self, key: &str) -> &str {
        meta::text(self.port, &[key])
    }

    /// Calls with the place of the port.
    fn at<T>(&self, place: &Place<'_>, call: impl FnOnce(&Place<'_>) -> T) -> T {
        let list = place.field(self.list);
        call(&list.index(self.container).field("ports").index(self.index))
    }

    fn shown(&self, place: &Place<'_>) -> String {
        self.at(place, |place| place.to_string())
    }
}

/// All ports of a pod.
pub(super) fn check(place: &Place<'_>, spec: &Value, notes: &mut Notes) {
    all(spec).for_each(|port| host_address(place, &port, notes));
    // One port is what most pods have, and there is nothing to compare it with.
    if all(spec).nth(1).is_none() {
        return;
    }
    let ports: Vec<_> = all(spec).take(COMPARED_MAX).collect();
    for (index, port) in ports.iter().enumerate() {
        ports[..index].iter().for_each(|other| conflict(place, port, other, notes));
    }
    for (index, port) in ports.iter().enumerate() {
        name(place, port, &ports[..index], notes);
    }
}

fn all(spec: &Value) -> impl Iterator<Item = Port<'_>> {
    LISTS.into_iter().flat_map(move |list| {
        meta::items(spec, &[list]).iter().enumerate().flat_map(move |(container, value)| {
            let ports = meta::items(value, &["ports"]).iter().enumerate();
            ports.map(move |(index, port)| Port { list, container, index, port })
        })
    })
}

fn host_address(place: &Place<'_>, port: &Port<'_>, notes: &mut Notes) {
    if port.text("hostIP").is_empty() || port.number("hostPort") != 0 {
        return;
    }
    let (name, ip, protocol) = (port.text("name"), port.text("hostIP"), port.text("protocol"));
    let number = port.number("containerPort");
    port.at(place, |place| {
        notes.add(
            place,
            format_args!(
                "hostIP set without hostPort: {{Name:{name} HostPort:0 ContainerPort:{number} Protocol:{protocol} HostIP:{ip}}}"
            ),
        );
    });
}

/// Two of the same number and protocol.
fn conflict(place: &Place<'_>, port: &Port<'_>, other: &Port<'_>, notes: &mut Notes) {
    let same_number = |key: &str| port.number(key) == other.number(key);
    if !same_number("containerPort") || port.text("protocol") != other.text("protocol") {
        return;
    }
    let (own, others) = (port.text("hostIP"), other.text("hostIP"));
    let what = if own == others && same_number("hostPort") {
        "duplicate"
    } else if port.number("hostPort") == 0 || other.number("hostPort") == 0 {
        "overlapping"
    } else if same_number("hostPort") && own.is_empty() != others.is_empty() {
        // One asks for the host port on all addresses, the other on one of them.
        "dangerously ambiguous"
    } else {
        return;
    };
    if !notes.is_full() {
        let other = other.shown(place);
        port.at(place, |place| notes.add(place, format_args!("{what} port definition with {other}")));
    }
}

/// The first port of a name is the one that is found by it.
fn name(place: &Place<'_>, port: &Port<'_>, earlier: &[Port<'_>], notes: &mut Notes) {
    let name = port.text("name");
    if name.is_empty() || notes.is_full() {
        return;
    }
    if let Some(first) = earlier.iter().find(|first| first.text("name") == name) {
        let (name, first) = (quote(name), first.shown(place));
        port.at(place, |place| {
            notes.add(
                place,
                format_args!(
                    "duplicate port name {name} with {first}, services and probes that select ports by name will use {first}"
                ),
            );
        });
    }
}
