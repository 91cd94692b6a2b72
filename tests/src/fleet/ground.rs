//! Where a fleet's endpoints answer: a network namespace in which all their addresses are local, and one server.
//!
//! Sockets there are under the programs of the cgroup of this process, as a pod's are.

use super::TARGET_PORT;
use crate::kubectl::run;
use anyhow::{Context, Result, ensure};
use nix::{
    libc,
    sched::{CloneFlags, setns, unshare},
    sys::socket::{setsockopt, sockopt},
};
use std::{
    fs::File,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    process::Command,
    time::Duration,
};

/// The whole of the shared address space.
const LOCAL: &str = "100.64.0.0/10";
/// Servers' threads: one that a client keeps waiting does not keep the next waiting.
const SERVERS: usize = 4;
/// For connecting, and for the answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The namespace; it goes when this value and the threads within have gone.
pub struct Ground(File);

impl Ground {
    /// Makes it, and serves there for as long as this process lives.
    pub fn prepare() -> Result<Ground> {
        // On a thread of its own, so that the caller stays where it is.
        let made = std::thread::spawn(|| -> Result<(File, TcpListener)> {
            unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace; are you root?")?;
            ip("link set lo up")?;
            // An address each would take minutes: the kernel takes the whole range for its own.
            ip(&format!("route add local {LOCAL} dev lo"))?;
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, TARGET_PORT))?;
            Ok((File::open("/proc/thread-self/ns/net")?, listener))
        });
        let (netns, listener) = made.join().expect("it answers errors")?;
        for _ in 0..SERVERS {
            let listener = listener.try_clone()?;
            std::thread::spawn(move || serve(&listener));
        }
        Ok(Ground(netns))
    }

    /// Puts this thread, and those that it starts, there.
    pub fn enter(&self) -> Result<()> {
        setns(&self.0, CloneFlags::CLONE_NEWNET).context("entering the fleet's namespace")
    }
}

fn ip(words: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(words.split(' '));
    let answer = run(command, None)?;
    ensure!(answer.code == Some(0), "`ip {words}`: {}{}", answer.stdout, answer.stderr);
    Ok(())
}

/// Tells each client at which address it was reached.
fn serve(listener: &TcpListener) {
    while let Ok((mut stream, _)) = listener.accept() {
        if let Ok(IpAddr::V4(own)) = stream.local_addr().map(|own| own.ip()) {
            // A client that has gone is told nothing; the client says so if it has not.
            let _ = stream.set_read_timeout(Some(TIMEOUT));
            let _ = stream.write_all(&own.octets()).and_then(|()| stream.read(&mut [0]));
        }
    }
}

/// Connects to a Service, from a thread on the [`Ground`]; answers the address that was reached.
pub fn ask(service: SocketAddr) -> io::Result<Ipv4Addr> {
    let mut stream = TcpStream::connect_timeout(&service, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut reached = [0; 4];
    stream.read_exact(&mut reached)?;
    // Ends with a reset, so that no port waits.
    setsockopt(&stream.as_fd(), sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
    Ok(reached.into())
}
