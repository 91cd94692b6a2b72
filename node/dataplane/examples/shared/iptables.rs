//! A peer: Services as kube-proxy's iptables mode writes them for a cluster without `--cluster-cidr`.

use std::{
    fmt::{self, Write as _},
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
};

use crate::Result;

/// What a Service is called here and where it is reached.
pub(crate) struct Rules<'a> {
    pub(crate) services: usize,
    pub(crate) address: fn(usize) -> Ipv4Addr,
    pub(crate) port: u16,
    pub(crate) backends: &'a [SocketAddr],
}

/// Programs the namespace of this process.
pub(crate) fn program(rules: &Rules<'_>) -> Result<()> {
    restore(&[], &all(rules)?)
}

/// `iptables-restore` with these words.
pub(crate) fn restore(words: &[&str], text: &str) -> Result<()> {
    let mut child = Command::new("iptables-restore")
        .args(words)
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|e| format!("iptables-restore: {e}"))?;
    child.stdin.take().ok_or("no stdin")?.write_all(text.as_bytes())?;
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(format!("iptables-restore: {status}").into()) }
}

fn all(rules: &Rules<'_>) -> std::result::Result<String, fmt::Error> {
    let mut text =
        String::from("*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-POSTROUTING - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n");
    for service in 0..rules.services {
        chains(&mut text, service, rules.backends.len())?;
    }
    text += "-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
             -A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
             -A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING\n\
             -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000\n\
             -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n\
             -A KUBE-POSTROUTING -j MARK --xor-mark 0x4000\n\
             -A KUBE-POSTROUTING -j MASQUERADE --random-fully\n";
    for service in 0..rules.services {
        let (address, port) = ((rules.address)(service), rules.port);
        writeln!(
            text,
            "-A KUBE-SERVICES -d {address}/32 -p tcp -m comment --comment \"bench/service-{service} cluster IP\" -m tcp --dport {port} -j KUBE-SVC-{service:016}",
        )?;
        lead(&mut text, service, rules.backends)?;
    }
    text += "COMMIT\n";
    Ok(text)
}

/// Declares the chains of a Service, which empties them.
pub(crate) fn chains(text: &mut String, service: usize, backends: usize) -> fmt::Result {
    writeln!(text, ":KUBE-SVC-{service:016} - [0:0]")?;
    (0..backends).try_for_each(|b| writeln!(text, ":KUBE-SEP-{service:012}{b:04} - [0:0]"))
}

/// Fills them.
pub(crate) fn lead(text: &mut String, service: usize, backends: &[SocketAddr]) -> fmt::Result {
    let name = format!("bench/service-{service}");
    for (b, backend) in backends.iter().enumerate() {
        let left = backends.len() - b;
        let chance = if left > 1 {
            format!(" -m statistic --mode random --probability {:.11}", 1.0 / left as f64)
        } else {
            String::new()
        };
        let endpoint = format!("KUBE-SEP-{service:012}{b:04}");
        writeln!(text, "-A KUBE-SVC-{service:016} -m comment --comment \"{name}\"{chance} -j {endpoint}")?;
        writeln!(
            text,
            "-A {endpoint} -p tcp -m comment --comment \"{name}\" -m tcp -j DNAT --to-destination {backend}"
        )?;
    }
    Ok(())
}
