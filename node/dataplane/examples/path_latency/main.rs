//! What the way from a pod to a pod of another node costs beside the bare link between the nodes: request and response, a byte
//! each, over connections that stay open.
//!
//! Two nodes on a bridge, each with the programs at its uplink and its pods' links as the daemon attaches them (see [`lab`]). Ways
//! take turns, one exchange each in an order by chance, so that the machine's moods hit all alike: *pods*, by the programs;
//! *stack*, pods whose links have no programs and which the nodes' stacks forward; *bare*, between the nodes themselves; and *bare*
//! again, which says how far two equal things differ. Everything shares one CPU: a figure is what all ends and hops take
//! together, without a moment of idling, and one over it is the rate. Needs root; run it in release: `cargo xtask bench path`.
#![forbid(unsafe_code)]

mod exchange;
mod lab;
#[path = "../shared/place.rs"]
mod place;
mod report;
#[path = "../shared/space.rs"]
mod space;

use exchange::Exchange;
use lab::{Lab, Pair};
use report::Report;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Exchanges of each way, and those before them that are not told.
const EXCHANGES: usize = 60_000;
const UNTOLD: usize = 2_000;

/// The ways, by name; the last is the first again.
const WAYS: [(&str, Pair); 4] =
    [("bare", Pair::Nodes), ("pods", Pair::Pods), ("stack", Pair::Unprogrammed), ("bare again", Pair::Nodes)];

fn main() -> Result<()> {
    let json = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [option, form] if option == "--output" && (form == "text" || form == "json") => form == "json",
        other => return Err(format!("{other:?}: there is only --output text or json").into()),
    };
    exchange::pin()?;
    let lab = Lab::new()?;
    let mut ways = Vec::new();
    for (port, (_, pair)) in (7000..).zip(WAYS) {
        ways.push(Exchange::start(&lab, pair, port)?);
    }
    let before = report::load()?;
    let times = exchange::by_turns(&mut ways, UNTOLD, EXCHANGES)?;
    let report = Report::new(&times, [before, report::load()?]);
    if json {
        println!("{}", serde_json::to_string_pretty(&report.json())?)
    } else {
        print!("{report}")
    }
    Ok(())
}
