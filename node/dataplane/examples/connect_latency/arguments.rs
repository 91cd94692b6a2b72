//! The command line of the measurement.

use std::path::PathBuf;

use crate::{Result, wire::Path};

/// Addresses from 10.96.1.0 to the end of the Service range.
const SERVICES_MAX: usize = 65_000;

/// What to measure, and how to print it.
pub(crate) struct Arguments {
    pub(crate) path: Path,
    pub(crate) output: Output,
    /// Another object, to be compared with the one that is measured.
    pub(crate) against: Option<PathBuf>,
    /// How many Services there are, once for each measurement.
    pub(crate) services: Vec<usize>,
}

/// How to print it.
pub(crate) enum Output {
    Text,
    Json,
}

impl Arguments {
    pub(crate) fn parse(words: &[String]) -> Result<Self> {
        let mut arguments =
            Self { path: Path::Pod, output: Output::Text, against: None, services: Vec::new() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--path" => arguments.path = words.next().ok_or("--path wants pod or loopback")?.parse()?,
                "--against" => {
                    arguments.against = Some(words.next().ok_or("--against wants an object file")?.into());
                }
                "--output" => {
                    arguments.output = match words.next().map(String::as_str) {
                        Some("text") => Output::Text,
                        Some("json") => Output::Json,
                        other => return Err(format!("--output is text or json, not {other:?}").into()),
                    }
                }
                number => match number.parse() {
                    Ok(services @ 1..=SERVICES_MAX) => arguments.services.push(services),
                    _ => {
                        return Err(format!(
                            "{number:?} is neither --path, --output, --against nor a number of Services from 1 to {SERVICES_MAX}"
                        )
                        .into());
                    }
                },
            }
        }
        if arguments.services.is_empty() {
            arguments.services = vec![1, 10_000];
        }
        Ok(arguments)
    }
}
