//! The queues of one level: a hand of them for each flow, and the one whose turn it is.
//!
//! Fairness is that of self-clocked fair queueing (Golestani, INFOCOM 1994). Each queue has a tag, the virtual time up to which it
//! has been served; a request moves it on by what it costs, seats times time. Whoever waits in the queue with the lowest
//! tag is next, and the level's virtual time is the tag served last. A queue that comes back from idleness starts at that time: who
//! was away has saved up nothing. What a request costs is known once it is over: it is charged by an estimate when it
//! begins, by its time as long as it runs, and put right when it ends.

use crate::limits::HAND_MAX;
use std::collections::VecDeque;

/// What a seat is charged with before its time is known, in microseconds. As upstream's: most requests take some milliseconds.
pub(crate) const ESTIMATE_US: u64 = 3_000;

/// A request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) number: u64,
    pub(crate) width: u32,
}

/// Requests of the flows that were dealt this queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) waiting: VecDeque<Waiting>,
    /// Seats that its requests have now.
    pub(crate) seats: u32,
    /// The sum over these seats of when they were taken.
    taken_us: u64,
    tag_us: u64,
}

impl Queue {
    /// The tag, with what the requests that run have cost by now beyond what they were charged with.
    fn tag_at(&self, now_us: u64) -> u64 {
        let spent = (u64::from(self.seats) * now_us).saturating_sub(self.taken_us);
        self.tag_us.saturating_add(spent.saturating_sub(u64::from(self.seats) * ESTIMATE_US))
    }
}

/// All queues of a level.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    pub(crate) all: Vec<Queue>,
    pub(crate) waiting: usize,
    virtual_time_us: u64,
    /// Where the search for the lowest tag begins, so that of equal ones not always the same is first.
    turn: usize,
}

impl Queues {
    /// At least so many; of more, the last ones are dealt to nobody any longer and run dry.
    pub(crate) fn grow(&mut self, queues: usize) {
        if self.all.len() < queues {
            self.all.resize_with(queues, Queue::default);
        }
    }

    /// The flow's queue: of its hand that with the least work.
    pub(crate) fn choose(&self, flow: u64, queues: usize, hand_size: usize) -> usize {
        let mut hand = [0; HAND_MAX];
        let hand = deal(flow, queues, hand_size, &mut hand);
        let load = |at: &&usize| (self.all[**at].waiting.len(), self.all[**at].seats);
        hand.iter().min_by_key(load).copied().unwrap_or(0)
    }

    /// Lets a request wait.
    pub(crate) fn push(&mut self, at: usize, request: Waiting) {
        self.wake(at);
        self.all[at].waiting.push_back(request);
        self.waiting += 1;
    }

    /// Charges a request that begins to the queue.
    pub(crate) fn begin(&mut self, at: usize, width: u32, now_us: u64) {
        if self.all[at].waiting.is_empty() {
            self.wake(at);
        }
        let queue = &mut self.all[at];
        self.virtual_time_us = self.virtual_time_us.max(queue.tag_at(now_us));
        queue.tag_us = queue.tag_us.saturating_add(u64::from(width) * ESTIMATE_US);
        queue.seats += width;
        queue.taken_us += u64::from(width) * now_us;
    }

    /// Takes a request off that took so long, and puts right what it was charged with.
    pub(crate) fn end(&mut self, at: usize, width: u32, took_us: u64) {
        let queue = &mut self.all[at];
        // Its part of the sum: which of the queue's requests it was makes no difference once all have ended.
        queue.taken_us -= queue.taken_us * u64::from(width) / u64::from(queue.seats.max(1));
        queue.seats -= width;
        let (estimate, cost) = (u64::from(width) * ESTIMATE_US, u64::from(width).saturating_mul(took_us));
        queue.tag_us = queue.tag_us.saturating_add(cost).saturating_sub(estimate);
    }

    /// Whose turn it is: the queue and its first request.
    pub(crate) fn next(&self, now_us: u64) -> Option<(usize, Waiting)> {
        let count = self.all.len();
        let order = (0..count).map(|step| (self.turn + step) % count.max(1));
        let finish = |at: &usize| {
            let queue = &self.all[*at];
            let width = queue.waiting.front().map_or(0, |first| first.width);
            queue.tag_at(now_us).saturating_add(u64::from(width) * ESTIMATE_US)
        };
        let at = order.filter(|at| !self.all[*at].waiting.is_empty()).min_by_key(finish)?;
        self.all[at].waiting.front().map(|first| (at, *first))
    }

    /// Takes the first request out of a queue.
    pub(crate) fn pop(&mut self, at: usize) {
        if self.all[at].waiting.pop_front().is_some() {
            self.waiting -= 1;
            self.turn = at + 1;
        }
    }

    /// Takes a request out that waits no longer; whether it did.
    pub(crate) fn remove(&mut self, at: usize, number: u64) -> bool {
        let queue = &mut self.all[at].waiting;
        let Some(place) = queue.iter().position(|waiting| waiting.number == number) else { return false };
        queue.remove(place);
        self.waiting -= 1;
        true
    }

    fn wake(&mut self, at: usize) {
        let queue = &mut self.all[at];
        if queue.waiting.is_empty() {
            queue.tag_us = queue.tag_us.max(self.virtual_time_us);
        }
    }
}

/// Shuffle sharding: `hand_size` different queues of `queues`, all hands equally likely over the hashes.
fn deal(hash: u64, queues: usize, hand_size: usize, hand: &mut [usize; HAND_MAX]) -> &[usize] {
    let (mut rest, size) = (hash, hand_size.min(queues).min(HAND_MAX));
    for drawn in 0..size {
        let left = (queues - drawn) as u64;
        let mut card = (rest % left) as usize;
        rest /= left;
        // The card counts those not drawn yet: each drawn one at or below it moves it up, the lowest first.
        let earlier = &mut hand[..drawn];
        earlier.sort_unstable();
        for known in earlier.iter() {
            if card >= *known {
                card += 1;
            }
        }
        hand[drawn] = card;
    }
    &hand[..size]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_hand_holds_different_queues_and_flows_have_different_hands() {
        let mut hands = HashSet::new();
        for hash in (0..2000_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
            let mut hand = [0; HAND_MAX];
            let mut hand = deal(hash, 128, 6, &mut hand).to_vec();
            hand.sort_unstable();
            hand.dedup();
            assert!(hand.len() == 6 && hand.iter().all(|at| *at < 128), "{hash}: {hand:?}");
            hands.insert(hand);
        }
        assert!(hands.len() > 1990, "{}", hands.len());
        let mut all = [0; HAND_MAX];
        assert_eq!(deal(7, 3, 8, &mut all).len(), 3, "no hand is larger than the deck");
    }

    #[test]
    fn who_had_less_is_next_and_who_was_away_has_saved_up_nothing() {
        let mut queues = Queues::default();
        queues.grow(3);
        let mut serve = |at: usize, took_us: u64| {
            queues.begin(at, 1, 0);
            queues.end(at, 1, took_us);
        };
        serve(0, 50_000);
        serve(1, 10_000);
        let request = |number| Waiting { number, width: 1 };
        queues.push(0, request(1));
        queues.push(1, request(2));
        assert_eq!(queues.next(0), Some((1, request(2))));
        queues.pop(1);
        queues.begin(1, 1, 0);
        queues.end(1, 1, 60_000);
        queues.push(1, request(3));
        assert_eq!(queues.next(0), Some((0, request(1))));
        queues.pop(0);
        queues.begin(0, 1, 0);
        // Queue 2 was never used: it starts at the time that the others have reached.
        queues.push(2, request(4));
        assert_eq!(queues.all[2].tag_us, queues.virtual_time_us);
        assert!(queues.virtual_time_us >= 50_000);
    }

    #[test]
    fn requests_that_run_count_before_they_end() {
        let mut queues = Queues::default();
        queues.grow(2);
        let request = |number| Waiting { number, width: 1 };
        queues.begin(0, 1, 0);
        queues.begin(1, 1, 0);
        queues.end(1, 1, 5_000);
        queues.push(0, request(1));
        queues.push(1, request(2));
        assert_eq!(queues.next(1_000), Some((0, request(1))), "less than it was charged with");
        assert_eq!(queues.next(20_000), Some((1, request(2))));
    }
}
