//! Pods and pod templates.
//!
//! Rules: upstream's `pkg/api/pod/warnings.go`. A pod is looked at when it is made and never again: updates of pods come from
//! programs, and many.

mod annotations;
mod containers;
mod overlaps;
mod ports;
mod scheduling;
mod volumes;

use super::{COMPARED_MAX, Notes, Place, address, amount, name, repeats};
use crate::meta;
use keelson_schema::field::quote;
use serde_json::Value;

/// Where the kinds of apps have their template.
pub const IN_SPEC: Place<'static> = Place::Field(&Place::Root, "spec.template");

/// A new pod.
pub fn pod(object: &Value) -> Vec<String> {
    let mut notes = Notes::default();
    name(object, "the Pod's hostname", &mut notes);
    template(&Place::Root, object, &mut notes);
    notes.into_texts()
}

/// What a pod has of a template: annotations and a spec.
pub fn template(place: &Place<'_>, template: &Value, notes: &mut Notes) {
    let Some(spec) = meta::at(template, &["spec"]) else { return };
    annotations::check(place, template, notes);
    let place = place.field("spec");
    scheduling::check(&place, spec, notes);
    volumes::check(&place, spec, notes);
    hosts(&place, spec, notes);
    pull_secrets(&place, spec, notes);
    amount::of_pod(&place.field("overhead"), meta::at(spec, &["overhead"]), notes);
    containers::check(&place, spec, notes);
    ports::check(&place, spec, notes);
    if meta::number(spec, &["terminationGracePeriodSeconds"]).is_some_and(|seconds| seconds < 0) {
        notes.add(
            &place.field("terminationGracePeriodSeconds"),
            "must be >= 0; negative values are invalid and will be treated as 1",
        );
    }
}

/// `hostAliases` and the name servers of `dnsConfig`.
fn hosts(place: &Place<'_>, spec: &Value, notes: &mut Notes) {
    let (aliases, all) = (meta::items(spec, &["hostAliases"]), place.field("hostAliases"));
    repeats::of(aliases, "ip", notes, |notes, index, ip| {
        notes.add(&all.index(index).field("ip"), format_args!("duplicate ip {}", quote(ip)));
    });
    let servers = place.field("dnsConfig.nameservers");
    for (index, server) in meta::items(spec, &["dnsConfig", "nameservers"]).iter().enumerate() {
        address::address(&servers.index(index), server.as_str().unwrap_or_default(), notes);
    }
    for (index, alias) in aliases.iter().enumerate() {
        address::address(&all.index(index).field("ip"), meta::text(alias, &["ip"]), notes);
    }
}

/// Names that are empty were always taken, and mean nothing.
fn pull_secrets(place: &Place<'_>, spec: &Value, notes: &mut Notes) {
    let (secrets, all) = (meta::items(spec, &["imagePullSecrets"]), place.field("imagePullSecrets"));
    repeats::of(secrets, "name", notes, |notes, index, name| {
        notes.add(&all.index(index).field("name"), format_args!("duplicate name {}", quote(name)));
    });
    for (index, secret) in secrets.iter().enumerate() {
        if meta::text(secret, &["name"]).is_empty() {
            notes.add(&all.index(index).field("name"), r#"invalid empty name """#);
        }
    }
}

/// The lists of containers, in the order in which upstream goes through them.
const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Calls with the place of every container.
fn each_container<'a>(place: &Place<'_>, spec: &'a Value, mut call: impl FnMut(&Place<'_>, &'a Value)) {
    for list in LISTS {
        let place = place.field(list);
        for (index, container) in meta::items(spec, &[list]).iter().enumerate() {
            call(&place.index(index), container);
        }
    }
}

#[cfg(test)]
mod tests;
