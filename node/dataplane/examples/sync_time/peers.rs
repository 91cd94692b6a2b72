//! kube-proxy's rules, written by their own tools in a network namespace of their own: all at once, and one Service changed.

use std::{fmt::Write as _, net::SocketAddr, time::Instant};

use nix::sched::{CloneFlags, unshare};

use crate::{
    Result,
    iptables::{self, Rules},
    nftables,
    report::{Peer, Times, milliseconds},
    services::{ENDPOINTS, PORT, address, backends},
};

/// Changes of one Service; each takes a peer up to seconds.
const CHANGES: usize = 10;

type Program = fn(&Rules<'_>) -> Result<()>;
type Change = fn(usize, &[SocketAddr]) -> Result<()>;

/// Those that this machine has. Why another is left out is said on stderr.
pub(crate) fn measure(services: usize) -> Vec<Peer> {
    let peers: [(&'static str, Program, Change); 2] =
        [("iptables", iptables::program, change_iptables), ("nftables", nftables::program, change_nftables)];
    let measured = peers.into_iter().map(|(name, program, change)| {
        let of_own =
            std::thread::spawn(move || one(services, name, program, change).map_err(|e| e.to_string()));
        of_own.join().unwrap_or_else(|_| Err("its thread panicked".into())).map_err(|reason| (name, reason))
    });
    measured
        .filter_map(|peer| peer.inspect_err(|(name, reason)| eprintln!("{name} is left out: {reason}")).ok())
        .collect()
}

/// On a thread of its own, whose namespace ends with it.
fn one(services: usize, name: &'static str, program: Program, change: Change) -> Result<Peer> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    // Their tools do not care that all Services have the same backends.
    let backends = backends(0);
    let start = Instant::now();
    program(&Rules { services, address, port: PORT, backends: &backends })?;
    let written_ms = milliseconds(start);
    let mut changed = Times::default();
    for number in 0..CHANGES {
        let service = number * services / CHANGES;
        for backends in [&backends[..1], &backends[..]] {
            let start = Instant::now();
            change(service, backends)?;
            changed.add(milliseconds(start));
        }
    }
    Ok(Peer { name, written_ms, change_ms: changed.figures() })
}

/// Only the chains of the Service that changes, as kube-proxy has done since 1.27.
fn change_iptables(service: usize, backends: &[SocketAddr]) -> Result<()> {
    let mut text = String::from("*nat\n");
    iptables::chains(&mut text, service, ENDPOINTS)?;
    iptables::lead(&mut text, service, backends)?;
    for gone in backends.len()..ENDPOINTS {
        writeln!(text, "-X KUBE-SEP-{service:012}{gone:04}")?;
    }
    text += "COMMIT\n";
    iptables::restore(&["--noflush"], &text)
}

/// The Service's chain anew, and those of its endpoints.
fn change_nftables(service: usize, backends: &[SocketAddr]) -> Result<()> {
    let mut text = String::new();
    for e in 0..ENDPOINTS {
        let endpoint = nftables::endpoint(service, e);
        writeln!(text, "add chain ip kube-proxy {endpoint}\nflush chain ip kube-proxy {endpoint}")?;
    }
    writeln!(text, "flush chain ip kube-proxy service-{service}")?;
    nftables::lead(&mut text, service, backends)?;
    for gone in backends.len()..ENDPOINTS {
        writeln!(text, "delete chain ip kube-proxy {}", nftables::endpoint(service, gone))?;
    }
    nftables::run(&text)
}
