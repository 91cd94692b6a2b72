//! Services.
//!
//! Rules: upstream's `pkg/api/service/warnings.go`, on create and on update.

use super::{Notes, Place, address};
use crate::{meta, validate::service::needs};
use serde_json::Value;

/// A Service.
pub fn service(object: &Value) -> Vec<String> {
    let mut notes = Notes::default();
    annotations(object, &mut notes);
    if needs::single_ip(object) != needs::HEADLESS {
        addresses(object, "clusterIPs", &mut notes);
    } else if needs::kind(object) == "ClusterIP" {
        headless(object, &mut notes);
    }
    external(object, &mut notes);
    load_balancer(object, &mut notes);
    if meta::text(object, &["spec", "trafficDistribution"]) == "PreferClose" {
        notes.say(r#"spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone""#);
    }
    notes.into_texts()
}

fn annotations(object: &Value, notes: &mut Notes) {
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    if meta::at(object, &["metadata", "annotations", HINTS]).is_some() {
        notes.say(format_args!(
            "annotation {HINTS} is deprecated, please use service.kubernetes.io/topology-mode instead"
        ));
    }
}

/// Addresses in a list of the spec.
fn addresses(object: &Value, list: &str, notes: &mut Notes) {
    let spec = Place::Root.field("spec");
    let place = spec.field(list);
    for (index, text) in meta::items(object, &["spec", list]).iter().enumerate() {
        address::address(&place.index(index), text.as_str().unwrap_or_default(), notes);
    }
}

fn headless(object: &Value, notes: &mut Notes) {
    if !meta::text(object, &["spec", "loadBalancerIP"]).is_empty() {
        notes.say("spec.loadBalancerIP is ignored for headless services");
    }
    if !meta::items(object, &["spec", "externalIPs"]).is_empty() {
        notes.say("spec.externalIPs is ignored for headless services");
    }
    if meta::text(object, &["spec", "sessionAffinity"]) == "ClientIP" {
        notes.say("spec.SessionAffinity is ignored for headless services");
    }
}

/// externalIPs and externalName: most things about both follow from the type.
fn external(object: &Value, notes: &mut Notes) {
    let (is_name, is_plain) = (needs::kind(object) == "ExternalName", needs::kind(object) == "ClusterIP");
    addresses(object, "externalIPs", notes);
    if !meta::items(object, &["spec", "externalIPs"]).is_empty() {
        if is_name {
            notes.say(r#"spec.externalIPs is ignored when spec.type is "ExternalName""#);
        } else if !(is_plain && needs::single_ip(object) == needs::HEADLESS) {
            notes.say("spec.externalIPs is deprecated and may no longer be implemented in some clusters");
        }
    }
    if !is_name && !meta::text(object, &["spec", "externalName"]).is_empty() {
        notes.say(r#"spec.externalName is ignored when spec.type is not "ExternalName""#);
    }
}

fn load_balancer(object: &Value, notes: &mut Notes) {
    let spec = Place::Root.field("spec");
    let wanted = meta::text(object, &["spec", "loadBalancerIP"]);
    address::address(&spec.field("loadBalancerIP"), wanted, notes);
    let place = spec.field("loadBalancerSourceRanges");
    for (index, text) in meta::items(object, &["spec", "loadBalancerSourceRanges"]).iter().enumerate() {
        address::range(&place.index(index), text.as_str().unwrap_or_default(), notes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_has_no_effect_or_is_old_is_warned_of() {
        let rows = [
            (json!({"type": "ClusterIP", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"]}), vec![]),
            (
                json!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "loadBalancerIP": "1.2.3.4",
                       "externalIPs": ["1.2.3.4"], "sessionAffinity": "ClientIP"}),
                vec![
                    "spec.loadBalancerIP is ignored for headless services",
                    "spec.externalIPs is ignored for headless services",
                    "spec.SessionAffinity is ignored for headless services",
                ],
            ),
            (
                json!({"type": "NodePort", "externalIPs": ["1.2.3.4", "FD00::1"], "externalName": "a.example"}),
                vec![
                    r#"spec.externalIPs[1]: IPv6 address "FD00::1" should be in RFC 5952 canonical format ("fd00::1")"#,
                    "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
                    r#"spec.externalName is ignored when spec.type is not "ExternalName""#,
                ],
            ),
            (
                json!({"type": "ExternalName", "externalIPs": ["1.2.3.4"], "externalName": "a.example"}),
                vec![r#"spec.externalIPs is ignored when spec.type is "ExternalName""#],
            ),
            (
                json!({"type": "LoadBalancer", "loadBalancerSourceRanges": ["FD00::/8"]}),
                vec![
                    r#"spec.loadBalancerSourceRanges[0]: IPv6 CIDR value "FD00::/8" should be in RFC 5952 canonical format ("fd00::/8")"#,
                ],
            ),
            (
                json!({"type": "ClusterIP", "trafficDistribution": "PreferClose"}),
                vec![r#"spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone""#],
            ),
        ];
        for (spec, expected) in rows {
            assert_eq!(service(&json!({"spec": spec})), expected, "{spec}");
        }
        let annotations = json!({"service.kubernetes.io/topology-aware-hints": "auto"});
        assert_eq!(
            service(&json!({"metadata": {"annotations": annotations}})),
            ["annotation service.kubernetes.io/topology-aware-hints is deprecated, please use \
              service.kubernetes.io/topology-mode instead"]
        );
    }
}
