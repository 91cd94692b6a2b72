//! Service, Endpoints, EndpointSlice, Ingress, IngressClass, IPAddress, NetworkPolicy, ServiceCIDR.

use super::text::{NONE, first_few, label_selector, name, or, pairs, texts};
use crate::meta;
use serde_json::{Value, json};
use std::{collections::BTreeSet, net::IpAddr};

pub(super) fn service(object: &Value, age: Value) -> Vec<Value> {
    let ips = texts(object, &["spec", "clusterIPs"]);
    let ports: Vec<String> = meta::items(object, &["spec", "ports"]).iter().map(service_port).collect();
    vec![
        name(object),
        json!(meta::text(object, &["spec", "type"])),
        or(ips.first().map_or("", String::as_str), NONE),
        json!(external(object)),
        or(&ports.join(","), NONE),
        age,
        pairs(object, &["spec", "selector"]),
    ]
}

fn service_port(port: &Value) -> String {
    let (number, protocol) =
        (meta::number(port, &["port"]).unwrap_or_default(), meta::text(port, &["protocol"]));
    match meta::number(port, &["nodePort"]).unwrap_or_default() {
        0 => format!("{number}/{protocol}"),
        node => format!("{number}:{node}/{protocol}"),
    }
}

fn external(object: &Value) -> String {
    let ips = texts(object, &["spec", "externalIPs"]);
    match meta::text(object, &["spec", "type"]) {
        "ExternalName" => meta::text(object, &["spec", "externalName"]).to_owned(),
        "ClusterIP" | "NodePort" if ips.is_empty() => NONE.to_owned(),
        "ClusterIP" | "NodePort" => ips.join(","),
        "LoadBalancer" => {
            let all: Vec<&str> = balanced(object).into_iter().chain(ips.iter().map(String::as_str)).collect();
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        _ => "<unknown>".to_owned(),
    }
}

/// The address, else the host name, of each entry of status.loadBalancer.ingress.
fn balanced(object: &Value) -> BTreeSet<&str> {
    let ingress = meta::items(object, &["status", "loadBalancer", "ingress"]).iter();
    let texts = ingress.map(|entry| match meta::text(entry, &["ip"]) {
        "" => meta::text(entry, &["hostname"]),
        ip => ip,
    });
    texts.filter(|text| !text.is_empty()).collect()
}

pub(super) fn endpoints(object: &Value, age: Value) -> Vec<Value> {
    let mut all = Vec::new();
    for subset in meta::items(object, &["subsets"]) {
        let ports = meta::items(subset, &["ports"]);
        let addresses = meta::items(subset, &["addresses"]);
        if ports.is_empty() {
            all.extend(addresses.iter().map(|address| meta::text(address, &["ip"]).to_owned()));
        }
        for port in ports {
            let port = meta::number(port, &["port"]).unwrap_or_default();
            all.extend(addresses.iter().map(|address| match meta::text(address, &["ip"]) {
                v6 if matches!(v6.parse(), Ok(IpAddr::V6(_))) => format!("[{v6}]:{port}"),
                ip => format!("{ip}:{port}"),
            }));
        }
    }
    // Subsets whose addresses are all unready show nothing.
    let empty = if meta::items(object, &["subsets"]).is_empty() { NONE } else { "" };
    vec![name(object), first_few(&all, empty), age]
}

pub(super) fn endpoint_slice(object: &Value, age: Value) -> Vec<Value> {
    let ports: Vec<String> = meta::items(object, &["ports"])
        .iter()
        .map(|port| match (meta::number(port, &["port"]), meta::at(port, &["name"])) {
            (Some(number), _) => number.to_string(),
            (None, Some(_)) => meta::text(port, &["name"]).to_owned(),
            (None, None) => "*".to_owned(),
        })
        .collect();
    let endpoints = meta::items(object, &["endpoints"]).iter();
    let addresses: Vec<String> = endpoints.flat_map(|endpoint| texts(endpoint, &["addresses"])).collect();
    vec![
        name(object),
        json!(meta::text(object, &["addressType"])),
        first_few(&ports, "<unset>"),
        first_few(&addresses, "<unset>"),
        age,
    ]
}

/// The row has a third cell, the age, that no column describes; so has upstream's.
pub(super) fn ip_address(object: &Value, age: Value) -> Vec<Value> {
    let Some(parent) = meta::at(object, &["spec", "parentRef"]) else {
        return vec![name(object), json!(NONE), age];
    };
    let mut text = meta::text(parent, &["resource"]).to_lowercase();
    for (separator, key) in [(".", "group"), ("/", "namespace"), ("/", "name")] {
        let part = meta::text(parent, &[key]);
        if !part.is_empty() {
            text.push_str(separator);
            text.push_str(part);
        }
    }
    vec![name(object), json!(text), age]
}

pub(super) fn service_cidr(object: &Value, age: Value) -> Vec<Value> {
    vec![name(object), json!(texts(object, &["spec", "cidrs"]).join(",")), age]
}

pub(super) fn network_policy(object: &Value, age: Value) -> Vec<Value> {
    vec![name(object), label_selector(object, &["spec", "podSelector"], NONE), age]
}

pub(super) fn ingress(object: &Value, age: Value) -> Vec<Value> {
    let encrypted = !meta::items(object, &["spec", "tls"]).is_empty();
    vec![
        name(object),
        or(meta::text(object, &["spec", "ingressClassName"]), NONE),
        json!(hosts(meta::items(object, &["spec", "rules"]))),
        json!(balanced(object).into_iter().collect::<Vec<_>>().join(",")),
        json!(if encrypted { "80, 443" } else { "80" }),
        age,
    ]
}

/// The first three hosts, and how many rules there are beyond three: with or without a host, as upstream.
fn hosts(rules: &[Value]) -> String {
    const HOSTS_MAX: usize = 3;
    let mut hosts = Vec::new();
    for rule in rules {
        if hosts.len() == HOSTS_MAX {
            return format!("{} + {} more...", hosts.join(","), rules.len() - HOSTS_MAX);
        }
        hosts.extend(Some(meta::text(rule, &["host"])).filter(|host| !host.is_empty()));
    }
    if hosts.is_empty() { "*".to_owned() } else { hosts.join(",") }
}

pub(super) fn ingress_class(object: &Value, age: Value) -> Vec<Value> {
    const DEFAULT: &[&str] = &["metadata", "annotations", "ingressclass.kubernetes.io/is-default-class"];
    let mark = if meta::text(object, DEFAULT) == "true" { " (default)" } else { "" };
    let parameters = meta::at(object, &["spec", "parameters"]).map(|parameters| {
        let of = |key| meta::text(parameters, &[key]);
        let group = if of("apiGroup").is_empty() { String::new() } else { format!(".{}", of("apiGroup")) };
        format!("{}{group}/{}", of("kind"), of("name"))
    });
    vec![
        json!(format!("{}{mark}", meta::field(object, "name"))),
        json!(meta::text(object, &["spec", "controller"])),
        json!(parameters.as_deref().unwrap_or(NONE)),
        age,
    ]
}
