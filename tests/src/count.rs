//! What a number of connections gave: which endpoint answered how often, and what went wrong.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The sum of many requests, each over a connection of its own.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Count {
    /// Requests by the line that was answered.
    pub answers: BTreeMap<String, u64>,
    /// One text a failed request.
    pub failures: Vec<String>,
}

impl Count {
    /// Requests that were answered.
    pub fn answered(&self) -> u64 {
        self.answers.values().sum()
    }

    /// An error unless every request was answered, and at least `least` of them.
    pub fn all_answered(&self, least: u64) -> Result<()> {
        let failed = self.failures.len();
        let first: Vec<&String> = self.failures.iter().take(5).collect();
        ensure!(failed == 0, "{failed} of {} requests failed: {first:#?}", self.answered() + failed as u64);
        ensure!(self.answered() >= least, "only {} requests were made, which proves little", self.answered());
        Ok(())
    }

    /// An error unless every request was answered, by exactly `endpoints` in all.
    pub fn reached(&self, endpoints: usize) -> Result<()> {
        self.all_answered(1)?;
        ensure!(self.answers.len() == endpoints, "{endpoints} endpoints, but answers by {:?}", self.answers);
        Ok(())
    }

    /// The same, and each within 20 % of an equal share: for so many requests that chance keeps within it.
    pub fn spread_over(&self, endpoints: usize) -> Result<()> {
        self.reached(endpoints)?;
        let share = self.answered() as f64 / endpoints as f64;
        let off: Vec<_> =
            self.answers.iter().filter(|(_, n)| (**n as f64 - share).abs() > share * 0.2).collect();
        ensure!(off.is_empty(), "more than 20 % off a share of {share}: {off:?} of {:?}", self.answers);
        Ok(())
    }

    /// Reads what `sort | uniq -c` made of answers; the line `failed ...` is a failure.
    pub fn parse(text: &str) -> Result<Count> {
        let mut count = Count::default();
        for line in text.lines() {
            let Some((number, answer)) = line.trim().split_once(' ') else {
                anyhow::bail!("no line of `uniq -c`: {line:?} in {text}")
            };
            let number: u64 = number.parse()?;
            if answer.starts_with("failed") {
                count.failures.extend((0..number).map(|_| answer.to_string()));
            } else {
                count.answers.insert(answer.to_string(), number);
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_uniq_are_answers_and_failures() {
        let count = Count::parse("   1490 web-a\n   1508 web-b\n      2 failed wget: timed out\n").unwrap();
        assert_eq!(count.answered(), 2998);
        assert_eq!(count.failures.len(), 2);
        assert!(count.all_answered(1).is_err());
    }

    #[test]
    fn a_share_is_kept_within_a_fifth() {
        let count = |a: u64, b: u64| Count {
            answers: BTreeMap::from([("a".into(), a), ("b".into(), b)]),
            failures: vec![],
        };
        assert!(count(1190, 810).spread_over(2).is_ok());
        assert!(count(1210, 790).spread_over(2).is_err());
        assert!(count(1000, 1000).spread_over(3).is_err());
    }
}
