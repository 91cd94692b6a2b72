//! A peer: Services as kube-proxy's nftables mode writes them, a map from address and port to a chain of each Service, and a
//! chain of each endpoint (<https://kubernetes.io/docs/reference/networking/virtual-ips/#proxy-mode-nftables>).

use std::{
    fmt::{self, Write as _},
    io::Write as _,
    net::SocketAddr,
    process::{Command, Stdio},
};

use crate::{Result, iptables::Rules};

/// Programs the namespace of this process.
pub(crate) fn program(rules: &Rules<'_>) -> Result<()> {
    run(&all(rules)?)
}

/// `nft -f` of this text.
pub(crate) fn run(text: &str) -> Result<()> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|e| format!("nft: {e}"))?;
    child.stdin.take().ok_or("no stdin")?.write_all(text.as_bytes())?;
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(format!("nft: {status}").into()) }
}

fn all(rules: &Rules<'_>) -> std::result::Result<String, fmt::Error> {
    let mut text = String::from(
        "add table ip kube-proxy\n\
         add chain ip kube-proxy mark-for-masquerade\n\
         add rule ip kube-proxy mark-for-masquerade mark set mark or 0x4000\n\
         add chain ip kube-proxy masquerading\n\
         add rule ip kube-proxy masquerading mark and 0x4000 == 0 return\n\
         add rule ip kube-proxy masquerading mark set mark xor 0x4000\n\
         add rule ip kube-proxy masquerading masquerade fully-random\n\
         add map ip kube-proxy service-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }\n\
         add chain ip kube-proxy services\n\
         add rule ip kube-proxy services ip daddr . meta l4proto . th dport vmap @service-ips\n\
         add chain ip kube-proxy nat-prerouting { type nat hook prerouting priority -100 ; }\n\
         add rule ip kube-proxy nat-prerouting jump services\n\
         add chain ip kube-proxy nat-output { type nat hook output priority -100 ; }\n\
         add rule ip kube-proxy nat-output jump services\n\
         add chain ip kube-proxy nat-postrouting { type nat hook postrouting priority 100 ; }\n\
         add rule ip kube-proxy nat-postrouting jump masquerading\n",
    );
    for service in 0..rules.services {
        writeln!(text, "add chain ip kube-proxy service-{service}")?;
        for b in 0..rules.backends.len() {
            writeln!(text, "add chain ip kube-proxy {}", endpoint(service, b))?;
        }
        lead(&mut text, service, rules.backends)?;
        let (address, port) = ((rules.address)(service), rules.port);
        writeln!(
            text,
            "add element ip kube-proxy service-ips {{ {address} . tcp . {port} : goto service-{service} }}"
        )?;
    }
    Ok(text)
}

/// The chain of an endpoint.
pub(crate) fn endpoint(service: usize, backend: usize) -> String {
    format!("endpoint-{service}-{backend}")
}

/// Fills them.
pub(crate) fn lead(text: &mut String, service: usize, backends: &[SocketAddr]) -> fmt::Result {
    for (b, backend) in backends.iter().enumerate() {
        let endpoint = endpoint(service, b);
        writeln!(
            text,
            "add rule ip kube-proxy {endpoint} ip saddr {} jump mark-for-masquerade",
            backend.ip()
        )?;
        writeln!(text, "add rule ip kube-proxy {endpoint} meta l4proto tcp dnat to {backend}")?;
    }
    let verdicts: Vec<_> =
        (0..backends.len()).map(|b| format!("{b} : goto {}", endpoint(service, b))).collect();
    writeln!(
        text,
        "add rule ip kube-proxy service-{service} numgen random mod {} vmap {{ {} }}",
        backends.len(),
        verdicts.join(", ")
    )
}
