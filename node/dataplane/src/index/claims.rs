//! Whose a frontend is, and who waits for it. Pure.
//!
//! Two Services may ask for one frontend: for a moment when an address passes from one to the next, and for as long as
//! a user writes the same address twice. One of them has it, the same on every node: by the better right
//! ([`FrontendKind`]), then the older, then by name. The other waits.

use std::collections::{BTreeSet, HashMap};

use super::Key;
use crate::plan::{FrontendKey, FrontendKind};

/// What a Service has to say for itself; the smaller one wins.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Claim {
    pub(super) kind: FrontendKind,
    pub(super) created_s: i64,
    pub(super) service: Key,
}

/// How a claim ended.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Claimed {
    /// It is the claimant's.
    Won,
    /// It is the claimant's, and was this Service's, which has to be told.
    WonFrom(Key),
    /// It stays another's.
    Lost,
}

#[derive(Debug, Default)]
pub(super) struct Claims {
    owners: HashMap<FrontendKey, Claim>,
    waiting: HashMap<FrontendKey, BTreeSet<Key>>,
}

impl Claims {
    pub(super) fn owner(&self, frontend: &FrontendKey) -> Option<&Key> {
        self.owners.get(frontend).map(|claim| &claim.service)
    }

    pub(super) fn claim(&mut self, frontend: FrontendKey, claim: Claim) -> Claimed {
        match self.owners.get(&frontend) {
            Some(owner) if owner.service != claim.service && *owner < claim => {
                self.waiting.entry(frontend).or_default().insert(claim.service);
                Claimed::Lost
            }
            _ => {
                self.leave_queue(&frontend, &claim.service);
                let service = claim.service.clone();
                match self.owners.insert(frontend, claim) {
                    Some(before) if before.service != service => {
                        self.waiting.entry(frontend).or_default().insert(before.service.clone());
                        Claimed::WonFrom(before.service)
                    }
                    _ => Claimed::Won,
                }
            }
        }
    }

    /// Gives up a claim. Whoever waited for what the Service had is to claim anew: `Some`, if it had it.
    pub(super) fn release(&mut self, frontend: &FrontendKey, service: &Key) -> Option<BTreeSet<Key>> {
        if self.owner(frontend) == Some(service) {
            self.owners.remove(frontend);
            Some(self.waiting.remove(frontend).unwrap_or_default())
        } else {
            self.leave_queue(frontend, service);
            None
        }
    }

    fn leave_queue(&mut self, frontend: &FrontendKey, service: &Key) {
        if let Some(waiting) = self.waiting.get_mut(frontend) {
            waiting.remove(service);
            if waiting.is_empty() {
                self.waiting.remove(frontend);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Protocol;

    fn claim(kind: FrontendKind, created_s: i64, name: &str) -> Claim {
        Claim { kind, created_s, service: ("n".into(), name.into()) }
    }

    #[test]
    fn right_then_age_then_name_decide_in_whichever_order_they_come() {
        let frontend =
            FrontendKey { address: "10.0.0.1".parse().unwrap(), port: 80, protocol: Protocol::Tcp };
        let sorted = [
            claim(FrontendKind::ClusterIp, 9, "z"),
            claim(FrontendKind::LoadBalancer, 8, "y"),
            claim(FrontendKind::ExternalIp, 1, "x"),
            claim(FrontendKind::ExternalIp, 2, "a"),
            claim(FrontendKind::ExternalIp, 2, "b"),
        ];
        for turn in 0..sorted.len() {
            let mut claims = Claims::default();
            let mut left: Vec<_> = sorted.to_vec();
            left.rotate_left(turn);
            for claim in left {
                claims.claim(frontend, claim);
            }
            for (i, winner) in sorted.iter().enumerate() {
                assert_eq!(claims.owner(&frontend), Some(&winner.service));
                let waiting = claims.release(&frontend, &winner.service).unwrap();
                assert_eq!(waiting.len(), sorted.len() - i - 1);
                for claim in sorted.iter().filter(|claim| waiting.contains(&claim.service)) {
                    claims.claim(frontend, claim.clone());
                }
            }
            assert!(claims.owners.is_empty() && claims.waiting.is_empty());
        }
    }

    #[test]
    fn one_who_is_overtaken_is_named_and_one_who_stops_waiting_is_forgotten() {
        let frontend =
            FrontendKey { address: "10.0.0.1".parse().unwrap(), port: 80, protocol: Protocol::Udp };
        let (a, b) = (claim(FrontendKind::ExternalIp, 1, "a"), claim(FrontendKind::ClusterIp, 2, "b"));
        let mut claims = Claims::default();
        assert_eq!(claims.claim(frontend, a.clone()), Claimed::Won);
        assert_eq!(claims.claim(frontend, b.clone()), Claimed::WonFrom(a.service.clone()));
        assert_eq!(claims.claim(frontend, a.clone()), Claimed::Lost);
        assert_eq!(claims.release(&frontend, &a.service), None);
        assert_eq!(claims.release(&frontend, &b.service), Some(BTreeSet::new()));
    }
}
