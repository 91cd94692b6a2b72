//! The command line of the measurement.

use crate::Result;

/// Addresses from 10.96.1.0 to the end of the Service range.
const SERVICES_MAX: usize = 65_000;
const USAGE: &str = "\
How long Services take to be in the kernel: from nothing, one of them changed, and after a daemon's start.

Usage: sync_time [--output text|json] [--peers-max NUMBER] [SERVICES...]

  --peers-max NUMBER  measure kube-proxy's rules up to so many Services [10000]
  SERVICES            how many there are, once for each measurement [10000 50000]

Examples:
  sync_time
  sync_time --output json 1 100 1000 10000 50000
  sync_time --peers-max 0 50000";

/// What to measure, and how to print it.
pub(crate) struct Arguments {
    pub(crate) json: bool,
    /// The most Services that peers are asked to carry.
    pub(crate) peers_max: usize,
    /// How many Services there are, once for each measurement.
    pub(crate) services: Vec<usize>,
}

impl Arguments {
    /// `None` when only the usage was asked for, which is printed.
    pub(crate) fn parse(words: &[String]) -> Result<Option<Self>> {
        let mut arguments = Self { json: false, peers_max: 10_000, services: Vec::new() };
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            match (word, word.parse()) {
                ("--help" | "-h", _) => {
                    println!("{USAGE}");
                    return Ok(None);
                }
                ("--output" | "-o", _) => match words.next() {
                    Some("text") => arguments.json = false,
                    Some("json") => arguments.json = true,
                    other => return Err(format!("--output is text or json, not {other:?}").into()),
                },
                ("--peers-max", _) => {
                    let number = words.next().ok_or("--peers-max wants a number of Services")?;
                    arguments.peers_max = number.parse()?;
                }
                (_, Ok(services @ 1..=SERVICES_MAX)) => arguments.services.push(services),
                _ => {
                    let wanted = format!("a number of Services from 1 to {SERVICES_MAX}");
                    return Err(format!("{word:?} is neither a known flag nor {wanted}; see --help").into());
                }
            }
        }
        if arguments.services.is_empty() {
            arguments.services = vec![10_000, 50_000];
        }
        Ok(Some(arguments))
    }
}
