//! `dnsPolicy` and `dnsConfig`. Rules: Kubernetes documentation, "DNS for Services and Pods".

use std::path::Path;

use k8s_openapi::api::core::v1::PodSpec;
use keelson_runtime::v1::DnsConfig;

use crate::config::Config;

/// Name servers of a pod: resolv.conf(5) has no more.
const SERVERS_MAX: usize = 3;
/// Search domains of a pod, and their bytes with the spaces between them (`MaxDNSSearchPaths`, `MaxDNSSearchListChars`).
const SEARCHES_MAX: usize = 32;
const SEARCH_BYTES_MAX: usize = 2048;

/// The host's own resolver settings, for `dnsPolicy: Default` and as a pod's last search domains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HostResolver {
    servers: Vec<String>,
    searches: Vec<String>,
    options: Vec<String>,
}

impl HostResolver {
    /// Reads a resolv.conf(5). A host without one has no resolver.
    pub(crate) fn read(path: &Path) -> std::io::Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let rest = |words: std::str::SplitWhitespace<'_>| words.map(str::to_owned).collect::<Vec<_>>();
            match words.next() {
                Some("nameserver") => found.servers.extend(words.next().map(str::to_owned)),
                Some("search") => {
                    found.searches = rest(words).iter().map(|domain| relative(domain)).collect()
                }
                Some("options") => found.options.extend(rest(words)),
                _ => {}
            }
        }
        found
    }
}

/// Without the final dot, so that a domain that is spelled in both ways counts once; the root stays as it is.
fn relative(domain: &str) -> String {
    match domain.strip_suffix('.') {
        Some("") | None => domain.to_owned(),
        Some(domain) => domain.to_owned(),
    }
}

pub(super) fn dns_config(config: &Config, namespace: &str, spec: &PodSpec, host: &HostResolver) -> DnsConfig {
    let in_host_network = spec.host_network == Some(true);
    let mut dns = match (spec.dns_policy.as_deref(), in_host_network) {
        (Some("None"), _) => DnsConfig::default(),
        (Some("Default"), _) | (Some("ClusterFirst") | None, true) => DnsConfig {
            servers: host.servers.clone(),
            searches: host.searches.clone(),
            options: host.options.clone(),
        },
        _ => cluster_first(config, namespace, host),
    };
    if let Some(custom) = &spec.dns_config {
        for server in custom.nameservers.iter().flatten() {
            push_new(&mut dns.servers, server.clone());
        }
        for search in custom.searches.iter().flatten() {
            push_new(&mut dns.searches, search.clone());
        }
        for option in custom.options.iter().flatten() {
            let Some(name) = &option.name else { continue };
            dns.options.retain(|present| present.split(':').next() != Some(name));
            dns.options.push(match &option.value {
                Some(value) => format!("{name}:{value}"),
                None => name.clone(),
            });
        }
    }
    within_limits(&mut dns);
    dns
}

/// Takes away what a pod's resolver would not read, as upstream does, and says so.
fn within_limits(dns: &mut DnsConfig) {
    if dns.servers.len() > SERVERS_MAX {
        tracing::warn!(left_out = ?&dns.servers[SERVERS_MAX..], "more name servers than a pod can have");
        dns.servers.truncate(SERVERS_MAX);
    }
    let mut bytes = 0;
    let fitting = dns.searches.iter().take(SEARCHES_MAX).take_while(|search| {
        bytes += search.len() + 1;
        bytes <= SEARCH_BYTES_MAX + 1
    });
    let fitting = fitting.count();
    if dns.searches.len() > fitting {
        tracing::warn!(left_out = ?&dns.searches[fitting..], "more search domains than a pod can have");
        dns.searches.truncate(fitting);
    }
}

fn cluster_first(config: &Config, namespace: &str, host: &HostResolver) -> DnsConfig {
    let domain = &config.cluster_domain;
    let mut searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
    for search in &host.searches {
        push_new(&mut searches, search.clone());
    }
    DnsConfig { servers: config.cluster_dns.clone(), searches, options: vec!["ndots:5".to_owned()] }
}

fn push_new(list: &mut Vec<String>, item: String) {
    if !list.contains(&item) {
        list.push(item);
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{PodDNSConfig, PodDNSConfigOption};

    use super::*;
    use crate::context::tests::config;

    fn host() -> HostResolver {
        HostResolver::parse("# made by hand\nnameserver 192.0.2.1\nsearch example.org\noptions edns0\n")
    }

    #[test]
    fn the_policy_decides_whose_resolver_a_pod_has() {
        let config = config();
        let spec = |policy: &str, host_network: bool| PodSpec {
            dns_policy: Some(policy.into()),
            host_network: Some(host_network),
            ..Default::default()
        };
        let servers = |spec: &PodSpec| dns_config(&config, "shop", spec, &host()).servers;
        assert_eq!(servers(&spec("ClusterFirst", false)), ["10.96.0.10"]);
        assert_eq!(servers(&spec("ClusterFirst", true)), ["192.0.2.1"]);
        assert_eq!(servers(&spec("ClusterFirstWithHostNet", true)), ["10.96.0.10"]);
        assert_eq!(servers(&spec("Default", false)), ["192.0.2.1"]);
        assert!(servers(&spec("None", false)).is_empty());
        let dns = dns_config(&config, "shop", &spec("ClusterFirst", false), &host());
        assert_eq!(
            dns.searches,
            ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.org"]
        );
    }

    #[test]
    fn dns_config_adds_to_the_policy_and_replaces_options_by_name() {
        let option = |name: &str, value: Option<&str>| PodDNSConfigOption {
            name: Some(name.into()),
            value: value.map(str::to_owned),
        };
        let spec = PodSpec {
            dns_config: Some(PodDNSConfig {
                nameservers: Some(vec!["192.0.2.9".into(), "10.96.0.10".into()]),
                searches: Some(vec!["extra.example".into()]),
                options: Some(vec![option("ndots", Some("2")), option("edns0", None)]),
            }),
            ..Default::default()
        };
        let dns = dns_config(&config(), "shop", &spec, &host());
        assert_eq!(dns.servers, ["10.96.0.10", "192.0.2.9"]);
        assert_eq!(dns.options, ["ndots:2", "edns0"]);
        assert_eq!(dns.searches.last().map(String::as_str), Some("extra.example"));
    }

    #[test]
    fn a_pod_has_no_more_than_its_resolver_reads() {
        let pod = |servers: usize, searches: Vec<String>| PodSpec {
            dns_policy: Some("None".into()),
            dns_config: Some(PodDNSConfig {
                nameservers: Some((0..servers).map(|number| format!("192.0.2.{number}")).collect()),
                searches: Some(searches),
                options: None,
            }),
            ..Default::default()
        };
        let many = (0..40).map(|number| format!("d{number}.example")).collect();
        let dns = dns_config(&config(), "shop", &pod(5, many), &host());
        assert_eq!(dns.servers, ["192.0.2.0", "192.0.2.1", "192.0.2.2"]);
        assert_eq!((dns.searches.len(), dns.searches[31].as_str()), (32, "d31.example"));
        let long = |last: usize| {
            let bytes = [255, 255, 255, 255, 255, 255, 255, last];
            (0..).zip(bytes).map(|(number, bytes)| format!("{number}{}", "x".repeat(bytes - 1))).collect()
        };
        // Seven of 255, each with a space after it, leave 256 of 2048.
        let dns = |last| dns_config(&config(), "shop", &pod(1, long(last)), &host());
        assert_eq!(dns(256).searches.len(), 8);
        assert_eq!(dns(257).searches.len(), 7);
    }

    #[test]
    fn a_domain_counts_once_however_it_is_spelled() {
        let host = HostResolver::parse("nameserver 192.0.2.1\nsearch cluster.local. example.org. .\n");
        let spec = PodSpec { dns_policy: Some("ClusterFirst".into()), ..Default::default() };
        let dns = dns_config(&config(), "shop", &spec, &host);
        let expected = ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.org", "."];
        assert_eq!(dns.searches, expected);
    }
}
