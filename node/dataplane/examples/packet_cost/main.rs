//! What a packet to a Service, or an answer, costs on the uplink's wire: lookup and rewrite by the program of XDP, less a run of one that does
//! nothing.
//!
//! Each packet is a test-run of its own (`BPF_PROG_TEST_RUN`, repeat 1), timed by the kernel; the two programs take turns. A
//! figure is the difference of the medians. *Hot* is one flow again and again; *cold* another one each time, by chance from a
//! million, over all Services, so that hardly anything of it is in a cache. Packets are not sent. Needs root; run it in
//! release: `cargo xtask bench packet`.
#![forbid(unsafe_code)]

mod lab;

use keelson_dataplane::plan::Forwarding;
use keelson_ebpf_common::wire::Verdict;
use lab::Lab;
use serde_json::json;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Services that are answered directly, each with a frontend of TCP and one of UDP, and those of TCP that are not.
const SERVICES: usize = 5_000;
/// Flows that are known.
const FLOWS: u32 = 1_000_000;
/// Packets of each kind.
const PACKETS: usize = 100_000;

/// Connections that are known and translated.
const TRANSLATED: u32 = 100_000;

const SYN: u8 = 2;
const ACK: u8 = 16;

#[derive(Clone, Copy)]
enum Kind {
    Known,
    Udp,
    Syn,
    Translated,
    Answer,
    Opened,
}

impl Kind {
    const ALL: [Self; 6] = [Self::Known, Self::Udp, Self::Syn, Self::Translated, Self::Answer, Self::Opened];

    const fn name(self) -> &'static str {
        match self {
            Self::Known => "packet of a known TCP connection",
            Self::Udp => "packet of UDP",
            Self::Syn => "packet of a new connection (SYN)",
            Self::Translated => "packet of a translated connection",
            Self::Answer => "answer of a translated connection",
            Self::Opened => "packet of a new translated connection (SYN)",
        }
    }

    /// How many flows there are.
    const fn flows(self) -> u32 {
        match self {
            Self::Known | Self::Udp | Self::Syn => FLOWS,
            Self::Translated | Self::Answer | Self::Opened => TRANSLATED,
        }
    }

    /// The packet of a flow, the `n`th that is sent.
    fn packet(self, flow: u32, n: u32, answers: &[Vec<u8>]) -> Vec<u8> {
        match self {
            Self::Known => packet(Forwarding::Dsr, flow, 6, ACK),
            Self::Udp => packet(Forwarding::Dsr, flow, 17, 0),
            // Of flows that nobody knows yet.
            Self::Syn => packet(Forwarding::Dsr, FLOWS + flow, 6, SYN),
            Self::Translated => packet(Forwarding::Snat, flow, 6, ACK),
            Self::Answer => answers[flow as usize].clone(),
            // To the Service of the flow, from a client that has not asked before: another connection each time.
            Self::Opened => {
                let service = flow % SERVICES as u32;
                packet(Forwarding::Snat, service + (n + TRANSLATED) * SERVICES as u32, 6, SYN)
            }
        }
    }
}

fn main() -> Result<()> {
    let json = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [option, form] if option == "--output" && (form == "text" || form == "json") => form == "json",
        other => return Err(format!("{other:?}: there is only --output text or json").into()),
    };
    let mut lab = Lab::new(SERVICES)?;
    for flow in 0..FLOWS {
        lab.run("wire", &packet(Forwarding::Dsr, flow, 6, SYN))?;
        lab.run("wire", &packet(Forwarding::Dsr, flow, 6, ACK))?;
    }
    let unwritten = lab.count(Verdict::Unwritten)?;
    let answers = (0..TRANSLATED).map(|flow| establish(&mut lab, flow)).collect::<Result<Vec<_>>>()?;
    let mut figures = Vec::new();
    for kind in Kind::ALL {
        for (heat, hot) in [("hot", true), ("cold", false)] {
            figures.push((format!("{}, {heat}", kind.name()), measure(&mut lab, kind, hot, &answers)?));
        }
    }
    if json {
        let figures: Vec<_> =
            figures.iter().map(|(name, ns)| json!({"name": name, "value": ns, "unit": "ns"})).collect();
        println!(
            "{:#}",
            json!({"frontends": 3 * SERVICES, "flows": FLOWS, "translated": TRANSLATED, "without_a_way": unwritten, "figures": figures})
        );
        return Ok(());
    }
    println!(
        "{} frontends, {FLOWS} flows of which {unwritten} found no way free, {TRANSLATED} translated connections; medians of {PACKETS} packets\n",
        3 * SERVICES
    );
    figures.iter().for_each(|(name, ns)| println!("{name:<52} {ns:>5} ns"));
    Ok(())
}

/// Opens a translated connection; answers a packet of its answers.
fn establish(lab: &mut Lab, flow: u32) -> Result<Vec<u8>> {
    let (_, sent) = lab.send("wire", &packet(Forwarding::Snat, flow, 6, SYN))?;
    let (backend, ours): ([u8; 4], [u8; 2]) = (sent[30..34].try_into()?, sent[34..36].try_into()?);
    let port = u16::from_be_bytes;
    let answer = |flags| transport((backend, 8_080), (lab::NODE, port(ours)), 6, flags);
    lab.run("wire", &answer(SYN | ACK))?;
    lab.run("wire", &packet(Forwarding::Snat, flow, 6, ACK))?;
    Ok(answer(ACK))
}

/// Median of the program's runs, less that of the other's.
fn measure(lab: &mut Lab, kind: Kind, hot: bool, answers: &[Vec<u8>]) -> Result<i64> {
    let mut times = [Vec::with_capacity(PACKETS), Vec::with_capacity(PACKETS)];
    let mut random = 1_u64;
    for n in 0..PACKETS {
        // Knuth's MMIX; its upper bits are good enough to take a flow by chance.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let flow = if hot { 7 } else { (((random >> 32) * u64::from(kind.flows())) >> 32) as u32 };
        let number = n as u32 + if hot { 0 } else { PACKETS as u32 };
        let packet = kind.packet(flow, number, answers);
        for (times, program) in times.iter_mut().zip(["wire", "pass"]) {
            times.push(lab.run(program, &packet)?);
        }
    }
    let [wire, pass] = times.map(|mut times| {
        times.sort_unstable();
        i64::from(times[PACKETS / 2])
    });
    Ok(wire - pass)
}

/// A client's packet of a flow: Service and client follow from its number.
fn packet(forwarding: Forwarding, flow: u32, protocol: u8, flags: u8) -> Vec<u8> {
    let service = lab::address(forwarding, flow as usize % SERVICES);
    let client = flow / SERVICES as u32;
    let address = [100, 64 + (client >> 16) as u8, (client >> 8) as u8, client as u8];
    transport((address, 1_024 + (flow % 50_021) as u16), (service, 80), protocol, flags)
}

/// A packet of TCP, or of UDP with as many bytes.
fn transport(from: ([u8; 4], u16), to: ([u8; 4], u16), protocol: u8, flags: u8) -> Vec<u8> {
    // A TCP header, or UDP's and twelve bytes.
    let transport = 20;
    let mut bytes = vec![2, 0, 0, 0, 0, 0x11, 2, 0, 0, 0, 0, 0x12, 8, 0];
    let mut head = vec![0x45, 0, 0, 20 + transport, 0x12, 0x34, 0x40, 0, 64, protocol, 0, 0];
    head.extend_from_slice(&from.0);
    head.extend_from_slice(&to.0);
    let sum = !sum(&head);
    head[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes.extend(head);
    bytes.extend_from_slice(&from.1.to_be_bytes());
    bytes.extend_from_slice(&to.1.to_be_bytes());
    if protocol == 6 {
        bytes.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0x12, 0x34, 0, 0]);
    } else {
        bytes.extend_from_slice(&[0, transport, 0x12, 0x34]);
        bytes.extend_from_slice(&[7; 12]);
    }
    bytes
}

/// RFC 1071.
fn sum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}
