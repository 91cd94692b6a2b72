//! A faulty peer of the nodes: frames of made-up senders, and frames that are none, by the host outside of the cluster.

use crate::outside::{MAC, Outside};
use anyhow::{Context, Result, ensure};
use keelson_sys::net::{Frames, Mac, link_index};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use std::{
    net::{Ipv4Addr, SocketAddrV4},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const TCP: u8 = 6;
const UDP: u8 = 17;
const SYN: u8 = 2;

/// What is sent, and to whom.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Of the node that is asked.
    pub mac: Mac,
    /// What is asked for.
    pub server: SocketAddrV4,
}

/// Sends first packets of connections from made-up clients for so long, as fast as one core does; answers how many.
pub fn strangers(outside: &Outside, target: Target, lasting: Duration, seed: u64) -> JoinHandle<Result<u64>> {
    let frames = outside.frames();
    thread::spawn(move || {
        let (frames, mut random, end) = (frames?, StdRng::seed_from_u64(seed), Instant::now() + lasting);
        let mut sent = 0;
        while Instant::now() < end {
            for _ in 0..64 {
                let protocol = *[TCP, UDP].choose(&mut random).context("one of two")?;
                // The network for benchmarks (RFC 2544), of which nobody is there.
                let host =
                    Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) | random.random_range(0..1 << 17));
                let client = SocketAddrV4::new(host, random.random_range(1024..=u16::MAX));
                // A full queue of the wire drops frames, as wires do.
                let _ = frames.send(&opening(target, client, protocol));
                sent += 1;
            }
        }
        Ok(sent)
    })
}

/// Sends so many frames that are cut off, or have bytes changed at random.
pub fn nonsense(outside: &Outside, target: Target, number: usize, seed: u64) -> Result<()> {
    let (frames, mut random) = (outside.frames()?, StdRng::seed_from_u64(seed));
    for _ in 0..number {
        let client = SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, 1), random.random());
        let mut frame = opening(target, client, *[TCP, UDP].choose(&mut random).context("one of two")?);
        for _ in 0..random.random_range(0..4) {
            let at = random.random_range(ETHERNET..frame.len());
            frame[at] = random.random();
        }
        frame.truncate(random.random_range(ETHERNET..=frame.len()));
        frames.send(&frame)?;
    }
    Ok(())
}

/// A SYN, or a datagram of some bytes; checksums that are right.
fn opening(target: Target, client: SocketAddrV4, protocol: u8) -> Vec<u8> {
    let mut transport = Vec::with_capacity(20);
    transport.extend(client.port().to_be_bytes());
    transport.extend(target.server.port().to_be_bytes());
    if protocol == TCP {
        transport.extend([0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, SYN, 0xff, 0xff, 0, 0, 0, 0]);
    } else {
        transport.extend([0, 12, 0, 0, b'w', b'h', b'o', b'?']);
    }
    let length = (IPV4 + transport.len()) as u16;
    let mut ip = Vec::with_capacity(IPV4);
    ip.extend([0x45, 0]);
    ip.extend(length.to_be_bytes());
    ip.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
    ip.extend(client.ip().octets());
    ip.extend(target.server.ip().octets());
    let sum = checksum(&ip, 0);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let pseudo = u32::from(protocol) + transport.len() as u32;
    let sum = checksum(&[&ip[12..20], &transport].concat(), pseudo);
    let field = if protocol == TCP { 16 } else { 6 };
    transport[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    [&target.mac[..], &MAC, &[8, 0], &ip, &transport].concat()
}

/// The Internet's (RFC 1071), of an even number of bytes.
fn checksum(bytes: &[u8], start: u32) -> u16 {
    let (words, _) = bytes.as_chunks::<2>();
    let sum = words.iter().fold(start, |sum, word| sum + u32::from(u16::from_be_bytes(*word)));
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

impl Outside {
    fn frames(&self) -> Result<Frames> {
        self.within(|| {
            let link = link_index("eth0")?;
            ensure!(link.is_some(), "the host outside has no eth0");
            Ok(Frames::by(link.context("a link")?)?)
        })
    }
}
