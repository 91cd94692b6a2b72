//! The pod's /etc/hosts: loopback, the pod itself, and `hostAliases`. Pods in the host's network see the
//! host's file. The layout is upstream's, which programs parse.

use std::fmt::Write;
use std::io;

use k8s_openapi::api::core::v1::PodSpec;

use super::{fqdn, hostname};
use crate::config::Config;
use crate::container::PodFacts;

const LOOPBACK: &str = "# Kubernetes-managed hosts file.\n\
127.0.0.1\tlocalhost\n\
::1\tlocalhost ip6-localhost ip6-loopback\n\
fe00::0\tip6-localnet\n\
fe00::0\tip6-mcastprefix\n\
fe00::1\tip6-allnodes\n\
fe00::2\tip6-allrouters\n";

/// Content of the file. The host's own is read for pods in its network; a host without one has no names of its own.
pub(crate) fn hosts_file(config: &Config, spec: &PodSpec, facts: &PodFacts) -> io::Result<String> {
    let mut out = if spec.host_network == Some(true) {
        let host = match std::fs::read_to_string("/etc/hosts") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            other => other?,
        };
        format!("# Kubernetes-managed hosts file (host network).\n{host}")
    } else {
        let mut out = LOOPBACK.to_owned();
        let short = spec.hostname_override.clone().unwrap_or_else(|| hostname(spec, &facts.name));
        for ip in &facts.pod_ips {
            let _ = match fqdn(config, spec, &facts.name, &facts.namespace) {
                Some(fqdn) => writeln!(out, "{ip}\t{fqdn}\t{short}"),
                None => writeln!(out, "{ip}\t{short}"),
            };
        }
        out
    };
    let aliases: Vec<_> = spec.host_aliases.iter().flatten().collect();
    if !aliases.is_empty() {
        out.push_str("\n# Entries added by HostAliases.\n");
        for alias in aliases {
            let _ = writeln!(out, "{}\t{}", alias.ip, alias.hostnames.clone().unwrap_or_default().join("\t"));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::HostAlias;

    use super::*;
    use crate::context::tests::config;

    #[test]
    fn the_pod_and_its_aliases_are_in_the_file() {
        let facts = PodFacts {
            name: "db-0".into(),
            namespace: "shop".into(),
            pod_ips: vec!["10.244.0.7".into()],
            ..Default::default()
        };
        let spec = PodSpec {
            subdomain: Some("db".into()),
            host_aliases: Some(vec![HostAlias {
                ip: "192.0.2.5".into(),
                hostnames: Some(vec!["a.example".into(), "b.example".into()]),
            }]),
            ..Default::default()
        };
        let text = hosts_file(&config(), &spec, &facts).unwrap();
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"), "{text}");
        assert!(text.contains("10.244.0.7\tdb-0.db.shop.svc.cluster.local\tdb-0\n"), "{text}");
        assert!(
            text.ends_with("# Entries added by HostAliases.\n192.0.2.5\ta.example\tb.example\n"),
            "{text}"
        );
    }
}
