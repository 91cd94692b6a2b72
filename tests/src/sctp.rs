//! SCTP by hand, as the kernel need not have it: raw sockets of a network namespace that say as much of RFC 9260 as it takes to
//! set an association up, to ask something, and to end it.
//!
//! A kernel without SCTP answers "protocol unreachable" only to packets that no raw socket takes.

use crate::outside::within;
use anyhow::{Context, Result, bail, ensure};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

const IPPROTO_SCTP: i32 = 132;
/// For an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a server looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);
/// Of ports, verification tag and checksum.
const HEADER: usize = 12;

/// Types of chunks.
mod chunk {
    pub(super) const DATA: u8 = 0;
    pub(super) const INIT: u8 = 1;
    pub(super) const INIT_ACK: u8 = 2;
    pub(super) const COOKIE_ECHO: u8 = 10;
    pub(super) const COOKIE_ACK: u8 = 11;
    pub(super) const SHUTDOWN_COMPLETE: u8 = 14;
}

/// A packet of one chunk.
struct Packet {
    source_port: u16,
    destination_port: u16,
    chunk: u8,
    text: String,
}

impl Packet {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = [self.source_port.to_be_bytes(), self.destination_port.to_be_bytes()].concat();
        bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, self.chunk, 0]);
        bytes.extend((4 + self.text.len() as u16).to_be_bytes());
        bytes.extend(self.text.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let sum = crc32c(&bytes);
        bytes[8..HEADER].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// What a checksum that is wrong makes of it is an error: somebody on the way has changed more than addresses.
    fn read(bytes: &[u8]) -> Result<Self> {
        ensure!(bytes.len() >= HEADER + 4, "{} bytes are no packet of SCTP", bytes.len());
        let zeroed = [&bytes[..8], &[0; 4], &bytes[HEADER..]].concat();
        ensure!(crc32c(&zeroed).to_le_bytes() == bytes[8..HEADER], "the checksum is wrong: {bytes:02x?}");
        let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let text =
            bytes.get(HEADER + 4..HEADER + usize::from(word(HEADER + 2))).context("a chunk's length")?;
        Ok(Self {
            source_port: word(0),
            destination_port: word(2),
            chunk: bytes[HEADER],
            text: String::from_utf8_lossy(text).into_owned(),
        })
    }

    fn answer(&self, chunk: u8, text: &str) -> Self {
        let (source_port, destination_port) = (self.destination_port, self.source_port);
        Self { source_port, destination_port, chunk, text: text.into() }
    }
}

/// RFC 9260, appendix A.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| crc >> 1 ^ if crc & 1 == 0 { 0 } else { 0x82f6_3b78 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// A raw socket; a UDP one in name alone, as that has the calls.
fn raw(is_ipv4: bool, timeout: Duration) -> Result<UdpSocket> {
    let domain = if is_ipv4 { Domain::IPV4 } else { Domain::IPV6 };
    let socket =
        Socket::new(domain, Type::RAW, Some(Protocol::from(IPPROTO_SCTP))).context("a raw socket")?;
    socket.set_read_timeout(Some(timeout))?;
    Ok(socket.into())
}

/// The next packet and whom it is from. IPv4 comes with its header.
fn receive(socket: &UdpSocket) -> Result<Option<(Packet, IpAddr)>> {
    let mut buffer = [0; 2048];
    let (length, from) = match socket.recv_from(&mut buffer) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
        other => other?,
    };
    let header = if from.is_ipv4() { usize::from(buffer[0] & 15) * 4 } else { 0 };
    Ok(Some((Packet::read(&buffer[header..length])?, from.ip())))
}

fn send(socket: &UdpSocket, packet: &Packet, to: IpAddr) -> Result<()> {
    socket.send_to(&packet.bytes(), SocketAddr::new(to, 0)).with_context(|| format!("sending to {to}"))?;
    Ok(())
}

/// A server that tells its name to whoever has an association with it, until this value goes.
pub struct Server {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// In a network namespace, at a port of all its addresses, in both families.
    pub fn start(netns: &str, port: u16, name: &str) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for is_ipv4 in [true, false] {
            let socket = within(netns, move || raw(is_ipv4, LOOK))?;
            let (stop, name) = (stop.clone(), name.to_string());
            threads.push(thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Err(error) = serve(&socket, port, &name) {
                        eprintln!("the SCTP server {name}: {error:#}");
                    }
                }
            }));
        }
        Ok(Self { stop, threads })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, port: u16, name: &str) -> Result<()> {
    let Some((packet, from)) = receive(socket)? else { return Ok(()) };
    if packet.destination_port != port {
        return Ok(());
    }
    let answer = match packet.chunk {
        chunk::INIT => packet.answer(chunk::INIT_ACK, ""),
        chunk::COOKIE_ECHO => packet.answer(chunk::COOKIE_ACK, ""),
        chunk::DATA => packet.answer(chunk::DATA, name),
        _ => return Ok(()),
    };
    send(socket, &answer, from)
}

/// The name of the server with which a client of a network namespace has an association, from a port of its own: every answer
/// has to come from the address that was asked.
pub fn ask(netns: &str, source_port: u16, server: SocketAddr) -> Result<String> {
    within(netns, move || {
        let socket = raw(server.is_ipv4(), PATIENCE)?;
        let packet =
            |chunk| Packet { source_port, destination_port: server.port(), chunk, text: String::new() };
        let exchange = |asked: u8, expected: u8| -> Result<String> {
            send(&socket, &packet(asked), server.ip())?;
            let start = Instant::now();
            while start.elapsed() < PATIENCE {
                let Some((answer, from)) = receive(&socket)? else { break };
                if (answer.destination_port, answer.chunk) == (source_port, expected) {
                    ensure!(from == server.ip(), "asked {}, but {from} answered", server.ip());
                    ensure!(answer.source_port == server.port(), "port {} answered", answer.source_port);
                    return Ok(answer.text);
                }
            }
            bail!("no chunk {expected} in answer to {asked} from {server}")
        };
        exchange(chunk::INIT, chunk::INIT_ACK)?;
        exchange(chunk::COOKIE_ECHO, chunk::COOKIE_ACK)?;
        let name = exchange(chunk::DATA, chunk::DATA)?;
        send(&socket, &packet(chunk::SHUTDOWN_COMPLETE), server.ip())?;
        Ok(name)
    })
}
