//! The peer: Services as kube-proxy's iptables mode writes them for a cluster without `--cluster-cidr`.

use std::{
    fmt::Write as _,
    io::Write as _,
    net::SocketAddr,
    process::{Command, Stdio},
};

use crate::{Result, wire::service};

/// Programs the namespace of this process.
pub(crate) fn program(services: usize, backends: &[SocketAddr]) -> Result<()> {
    let mut child = Command::new("iptables-restore")
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|e| format!("iptables-restore: {e}"))?;
    child.stdin.take().ok_or("no stdin")?.write_all(rules(services, backends)?.as_bytes())?;
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(format!("iptables-restore: {status}").into()) }
}

fn rules(services: usize, backends: &[SocketAddr]) -> std::result::Result<String, std::fmt::Error> {
    let mut text =
        String::from("*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-POSTROUTING - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n");
    for s in 0..services {
        writeln!(text, ":KUBE-SVC-{s:016} - [0:0]")?;
        for b in 0..backends.len() {
            writeln!(text, ":KUBE-SEP-{s:012}{b:04} - [0:0]")?;
        }
    }
    text += "-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
             -A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
             -A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING\n\
             -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000\n\
             -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n\
             -A KUBE-POSTROUTING -j MARK --xor-mark 0x4000\n\
             -A KUBE-POSTROUTING -j MASQUERADE --random-fully\n";
    for s in 0..services {
        let name = format!("bench/service-{s}");
        writeln!(
            text,
            "-A KUBE-SERVICES -d {}/32 -p tcp -m comment --comment \"{name} cluster IP\" -m tcp --dport 80 -j KUBE-SVC-{s:016}",
            service(s)
        )?;
        for (b, backend) in backends.iter().enumerate() {
            let left = backends.len() - b;
            let chance = if left > 1 {
                format!(" -m statistic --mode random --probability {:.11}", 1.0 / left as f64)
            } else {
                String::new()
            };
            let endpoint = format!("KUBE-SEP-{s:012}{b:04}");
            writeln!(text, "-A KUBE-SVC-{s:016} -m comment --comment \"{name}\"{chance} -j {endpoint}")?;
            writeln!(
                text,
                "-A {endpoint} -p tcp -m comment --comment \"{name}\" -m tcp -j DNAT --to-destination {backend}"
            )?;
        }
    }
    text += "COMMIT\n";
    Ok(text)
}
