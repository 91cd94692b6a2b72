//! What a packet to a Service costs on the uplink's wire: lookup and rewrite by the program of XDP, less a run of one that does
//! nothing.
//!
//! Each packet is a test-run of its own (`BPF_PROG_TEST_RUN`, repeat 1), timed by the kernel; the two programs take turns. A
//! figure is the difference of the medians. *Hot* is one flow again and again; *cold* another one each time, by chance from a
//! million, over all Services, so that hardly anything of it is in a cache. Packets are not sent. Needs root; run it in
//! release: `cargo xtask bench packet`.
#![forbid(unsafe_code)]

mod lab;

use keelson_ebpf_common::wire::Verdict;
use lab::Lab;
use serde_json::json;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Services, each with a frontend of TCP and one of UDP.
const SERVICES: usize = 5_000;
/// Flows that are known.
const FLOWS: u32 = 1_000_000;
/// Packets of each kind.
const PACKETS: usize = 100_000;

const SYN: u8 = 2;
const ACK: u8 = 16;

#[derive(Clone, Copy)]
enum Kind {
    Known,
    Udp,
    Syn,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Known, Self::Udp, Self::Syn];

    const fn name(self) -> &'static str {
        match self {
            Self::Known => "known TCP connection",
            Self::Udp => "UDP",
            Self::Syn => "SYN",
        }
    }

    fn packet(self, flow: u32) -> Vec<u8> {
        match self {
            Self::Known => packet(flow, 6, ACK),
            Self::Udp => packet(flow, 17, 0),
            // Of flows that nobody knows yet.
            Self::Syn => packet(FLOWS + flow, 6, SYN),
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
        lab.run("wire", &packet(flow, 6, SYN))?;
        lab.run("wire", &packet(flow, 6, ACK))?;
    }
    let unwritten = lab.count(Verdict::Unwritten)?;
    let mut figures = Vec::new();
    for kind in Kind::ALL {
        for (heat, hot) in [("hot", true), ("cold", false)] {
            let name = format!("packet of a {}, {heat}", kind.name())
                .replace("a UDP", "UDP")
                .replace("a SYN", "a new connection (SYN)");
            figures.push((name, measure(&mut lab, kind, hot)?));
        }
    }
    if json {
        let figures: Vec<_> =
            figures.iter().map(|(name, ns)| json!({"name": name, "value": ns, "unit": "ns"})).collect();
        println!(
            "{:#}",
            json!({"frontends": 2 * SERVICES, "flows": FLOWS, "without_a_way": unwritten, "figures": figures})
        );
        return Ok(());
    }
    println!(
        "{} frontends, {FLOWS} flows of which {unwritten} found no way free; medians of {PACKETS} packets\n",
        2 * SERVICES
    );
    figures.iter().for_each(|(name, ns)| println!("{name:<48} {ns:>5} ns"));
    Ok(())
}

/// Median of the program's runs, less that of the other's.
fn measure(lab: &mut Lab, kind: Kind, hot: bool) -> Result<i64> {
    let mut times = [Vec::with_capacity(PACKETS), Vec::with_capacity(PACKETS)];
    let mut random = 1_u64;
    for _ in 0..PACKETS {
        // Knuth's MMIX; its upper bits are good enough to take a flow by chance.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let flow = if hot { 7 } else { (((random >> 32) * u64::from(FLOWS)) >> 32) as u32 };
        let packet = kind.packet(flow);
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

/// A packet of a flow: Service and client follow from its number.
fn packet(flow: u32, protocol: u8, flags: u8) -> Vec<u8> {
    let service = lab::address(flow as usize % SERVICES);
    let client = flow / SERVICES as u32;
    // A TCP header, or UDP's and twelve bytes.
    let transport = 20;
    let mut bytes = vec![2, 0, 0, 0, 0, 0x11, 2, 0, 0, 0, 0, 0x12, 8, 0];
    let mut head = vec![0x45, 0, 0, 20 + transport, 0x12, 0x34, 0x40, 0, 64, protocol, 0, 0];
    head.extend_from_slice(&[100, 64, (client >> 8) as u8, client as u8]);
    head.extend_from_slice(&service);
    let sum = !sum(&head);
    head[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes.extend(head);
    bytes.extend_from_slice(&(1_024 + (flow % 50_021) as u16).to_be_bytes());
    bytes.extend_from_slice(&80_u16.to_be_bytes());
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
