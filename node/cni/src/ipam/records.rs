//! The journal's lines, and what they add up to. Pure.

use super::pool::{Lease, Pool, REST_S};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A line of the journal. Seconds are those since 1970: a reader may be another process, after another boot.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Record {
    /// A sandbox has these addresses.
    Lease(Lease),
    /// A sandbox has none any more.
    Release {
        /// Whose.
        sandbox: String,
        /// Since when.
        second: u64,
    },
    /// An address at rest, in a rewritten journal.
    Rest {
        /// Which.
        address: IpAddr,
        /// Since when.
        second: u64,
    },
}

impl Record {
    /// As a line.
    pub(super) fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("a record holds text and numbers alone");
        line.push(b'\n');
        line
    }
}

/// A line that is no record, counted from one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoRecord {
    /// Which.
    pub(super) line: usize,
}

/// Two clocks at one moment, in seconds: that of the journal's records, which may be set, and the pool's, which only runs on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    /// Since 1970.
    pub(super) wall: u64,
    /// Since this process opened the journal, and [`REST_S`]: what was released before it did has a second, too.
    pub(super) pool: u64,
}

impl Clocks {
    /// When something was released, on the pool's clock. What was in the future has just been: a rest is rather too long.
    fn to_pool(self, second: u64) -> u64 {
        self.pool.saturating_sub(self.wall.saturating_sub(second).min(REST_S))
    }

    /// The way back, for the journal.
    pub(super) fn to_wall(self, second: u64) -> u64 {
        self.wall.saturating_sub(self.pool.saturating_sub(second))
    }
}

/// What a journal's text adds up to, and of how many records it is.
pub(super) fn replay(text: &[u8], clocks: Clocks) -> Result<(Pool, usize), NoRecord> {
    // What follows the last line end was torn by a crash before its sync: nobody was told of it.
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(&[][..], |end| &text[..end]);
    let (mut pool, mut count) = (Pool::default(), 0);
    for (index, line) in whole.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        match serde_json::from_slice(line).map_err(|_| NoRecord { line: index + 1 })? {
            Record::Lease(lease) => pool.insert(lease),
            Record::Release { sandbox, second } => drop(pool.release(&sandbox, clocks.to_pool(second))),
            Record::Rest { address, second } => pool.rest(address, clocks.to_pool(second)),
        }
        count += 1;
    }
    Ok((pool, count))
}

/// The shortest journal that adds up to a pool.
pub(super) fn shortest(pool: &Pool, clocks: Clocks) -> Vec<Record> {
    let rest = |(address, second)| Record::Rest { address, second: clocks.to_wall(second) };
    pool.resting().map(rest).chain(pool.leases().cloned().map(Record::Lease)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resting(wall: u64, released: u64) -> bool {
        let record = Record::Rest { address: "fd00::9".parse().unwrap(), second: released };
        let (mut pool, _) = replay(&record.line(), Clocks { wall, pool: REST_S }).unwrap();
        pool.set_ranges(&["fd00::8/127".parse().unwrap()]);
        pool.find(REST_S, &|_| false).is_err()
    }

    #[test]
    fn a_rest_is_never_shorter_than_sixty_seconds_and_a_clock_set_back_makes_it_no_longer_than_another() {
        for (wall, released, rests) in [
            (1_000, 1_000, true),
            (1_059, 1_000, true),
            (1_060, 1_000, false),
            (10, 1_000, true),
            (9_999, 0, false),
        ] {
            assert_eq!(resting(wall, released), rests, "released at {released}, read at {wall}");
        }
    }

    #[test]
    fn a_journal_of_before_both_families_is_read() {
        let text = br#"{"rest":{"address":"10.244.1.9","second":990}}
{"lease":{"sandbox":"a","pod":"default/a","address":"10.244.1.2"}}
{"lease":{"sandbox":"b","pod":"default/b","address":"10.244.1.3"}}
{"release":{"address":"10.244.1.3","sandbox":"b","second":995}}
"#;
        let (pool, count) = replay(text, Clocks { wall: 1_000, pool: REST_S }).unwrap();
        assert_eq!(count, 4);
        assert_eq!(pool.lease_of("a").unwrap().addresses, ["10.244.1.2".parse::<IpAddr>().unwrap()]);
        let resting: Vec<String> =
            pool.resting().map(|(address, second)| format!("{address} {second}")).collect();
        assert_eq!(resting, ["10.244.1.3 55", "10.244.1.9 50"]);
    }
}
