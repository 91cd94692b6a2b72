//! From shares to seats: what of the server's seats is a level's own, what it lends, and how far it may borrow.
//!
//! Source of the formulae: "Priority levels" of the flow control page, and the fields' API reference.

use crate::{
    PriorityLevel,
    shape::{LimitResponse, PriorityLevelSpec, Queuing},
};

/// The API's default shares of a limited level.
const SHARES: u32 = 30;
/// The largest handSize that the API accepts: of as many queues, whose choice takes 60 bits of hash.
pub(crate) const HAND_MAX: usize = 15;
/// Queues of one level. The API accepts ten million, each of which costs memory.
pub const QUEUES_MAX: usize = 4096;

/// The seats of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Its due. While it has less, others do not borrow.
    pub nominal: u32,
    /// Kept for it alone: the nominal seats less those that it lends.
    pub own: u32,
    /// More than this it never has, whatever is lent.
    pub most: u32,
    pub(crate) queuing: Option<Queuing>,
}

impl Limits {
    /// Seats of one request at most: a flow has a hand of queues, none of which shall fill the level with one request (upstream's
    /// `maxSeats`).
    pub(crate) fn width_max(&self) -> u32 {
        let hand = self.queuing.map_or(1, |queuing| u32::try_from(queuing.hand_size).unwrap_or(u32::MAX));
        self.nominal.div_ceil(hand.max(1))
    }
}

/// The limits of each level out of `total` seats; None where a level has none. In the order of `levels`.
pub(crate) fn limits(levels: &[&PriorityLevel], total: u32) -> Vec<Option<Limits>> {
    let shares = |level: &PriorityLevel| match &level.spec {
        PriorityLevelSpec::Exempt { exempt } => exempt.nominal_concurrency_shares.unwrap_or(0),
        PriorityLevelSpec::Limited { limited } => limited.shares.nominal_concurrency_shares.unwrap_or(SHARES),
    };
    let all: u64 = levels.iter().map(|level| u64::from(shares(level))).sum();
    let part = |of: u32, numerator: u64, denominator: u64| -> u32 {
        u32::try_from((u64::from(of) * numerator).div_ceil(denominator.max(1))).unwrap_or(u32::MAX)
    };
    levels
        .iter()
        .map(|level| {
            let PriorityLevelSpec::Limited { limited } = &level.spec else { return None };
            // A level of no shares still answers, one request at a time.
            let nominal = part(total, u64::from(shares(level)), all).max(1);
            let lendable = rounded(nominal, limited.shares.lendable_percent.unwrap_or(0).min(100));
            let most = match limited.borrowing_limit_percent {
                None => u32::MAX,
                Some(percent) => nominal.saturating_add(rounded(nominal, percent)),
            };
            let queuing = match limited.limit_response {
                LimitResponse::Reject => None,
                LimitResponse::Queue { queuing } => Some(Queuing {
                    queues: queuing.queues.clamp(1, QUEUES_MAX),
                    hand_size: queuing.hand_size.clamp(1, HAND_MAX),
                    queue_length_limit: queuing.queue_length_limit.max(1),
                }),
            };
            Some(Limits { nominal, own: nominal - lendable, most, queuing })
        })
        .collect()
}

/// `percent` of a number, to the nearest whole one.
fn rounded(of: u32, percent: u32) -> u32 {
    u32::try_from((u64::from(of) * u64::from(percent) + 50) / 100).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin;

    #[test]
    fn the_seats_of_the_levels_that_a_cluster_starts_with() {
        let levels: Vec<_> =
            builtin::priority_levels().iter().map(|o| PriorityLevel::read(o).unwrap()).collect();
        let found = limits(&levels.iter().collect::<Vec<_>>(), 600);
        // name, nominal, own: shares of 245, of which the lent ones are taken off.
        let rows = [
            ("catch-all", 13, 13),
            ("system", 74, 50),
            ("node-high", 98, 73),
            ("leader-election", 25, 25),
            ("workload-high", 98, 49),
            ("workload-low", 245, 24),
            ("global-default", 49, 24),
        ];
        for (name, nominal, own) in rows {
            let at = levels.iter().position(|level| level.name == name).unwrap();
            let limits = found[at].unwrap();
            assert_eq!((limits.nominal, limits.own, limits.most), (nominal, own, u32::MAX), "{name}");
            assert_eq!(limits.queuing.is_some(), name != "catch-all", "{name}");
        }
        assert_eq!(found[0], None, "exempt has no limit");
    }

    #[test]
    fn borrowing_is_bounded_where_the_level_says_so() {
        let level = PriorityLevel::read(&serde_json::json!({
            "metadata": {"name": "l"},
            "spec": {"type": "Limited", "limited": {
                "nominalConcurrencyShares": 10, "lendablePercent": 50, "borrowingLimitPercent": 20,
            }},
        }));
        let level = level.unwrap();
        let limits = limits(&[&level], 100)[0].unwrap();
        assert_eq!((limits.nominal, limits.own, limits.most), (100, 50, 120));
    }
}
