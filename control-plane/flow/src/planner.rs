//! Who runs: seats of levels, loans between them, and the queue whose turn it is. Pure: told of arrivals and ends, and of the time in
//! microseconds from any beginning, it says who begins.
//!
//! A level has its own seats whatever others do. The seats that levels lend are one pool; what a level has beyond its own comes out
//! of it. While a level that has less than its nominal seats waits, none that has its due takes from the pool: a lender gets back
//! what it lent with the next requests that end. Upstream works the same shares into limits every ten seconds; here they
//! hold at each decision.

use crate::{
    limits::Limits,
    queue::{Queues, Waiting},
};

/// A request that waits: where, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// Names it among all.
    pub number: u64,
    level: usize,
    queue: usize,
}

impl Ticket {
    /// Level and queue, for [`Planner::end`].
    pub fn place(self) -> (usize, usize) {
        (self.level, self.queue)
    }
}

/// What becomes of an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It begins; the number is that of its queue, for [`Planner::end`].
    Begins(usize),
    /// It waits until a call names its ticket, or [`Planner::leave`].
    Waits(Ticket),
    /// It is sent away.
    Refused(Refusal),
}

/// Why a request is sent away. The names are those of upstream's metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// All seats are taken and the level has no queues.
    ConcurrencyLimit,
    /// So is the flow's queue.
    QueueFull,
    /// It waited too long.
    TimeOut,
}

impl Refusal {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::ConcurrencyLimit, Self::QueueFull, Self::TimeOut];

    /// As metrics say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConcurrencyLimit => "concurrency-limit",
            Self::QueueFull => "queue-full",
            Self::TimeOut => "time-out",
        }
    }
}

/// A request that begins after it has waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Which.
    pub number: u64,
}

#[derive(Debug)]
pub(crate) struct Level {
    pub(crate) limits: Limits,
    pub(crate) queues: Queues,
    /// Seats that its requests have now.
    pub(crate) seats: u32,
}

impl Level {
    /// Whether any of its requests runs or waits.
    pub(crate) fn is_busy(&self) -> bool {
        self.seats > 0 || self.queues.waiting > 0
    }
}

/// The limited levels, by number.
#[derive(Debug, Default)]
pub struct Planner {
    pub(crate) levels: Vec<Level>,
    /// Seats that may be lent, and those that are.
    pool: u32,
    lent: u32,
    waiting: usize,
    numbers: u64,
    /// The level that the search for a request begins at.
    turn: usize,
}

impl Planner {
    /// Sets the limits of all levels; levels keep their numbers, and further ones are added. Who begins by it.
    pub fn configure(&mut self, limits: &[Limits], now_us: u64) -> Vec<Begun> {
        for (at, limits) in limits.iter().enumerate() {
            match self.levels.get_mut(at) {
                Some(level) => level.limits = *limits,
                None => self.levels.push(Level { limits: *limits, queues: Queues::default(), seats: 0 }),
            }
            let queues = limits.queuing.map_or(1, |queuing| queuing.queues);
            self.levels[at].queues.grow(queues);
        }
        self.pool = self.levels.iter().map(|level| level.limits.nominal - level.limits.own).sum();
        self.lent = self.levels.iter().map(|level| level.seats.saturating_sub(level.limits.own)).sum();
        self.dispatch(now_us)
    }

    /// The most seats that a request of the level can be given; one that is wider is taken to be as wide.
    pub fn widest(&self, level: usize) -> u32 {
        let limits = &self.levels[level].limits;
        limits.own.saturating_add(self.pool).min(limits.most).max(1)
    }

    /// A request of `width` seats arrives.
    pub fn arrive(&mut self, level: usize, flow: u64, width: u32, now_us: u64) -> Verdict {
        let width = width.clamp(1, self.widest(level));
        let Limits { queuing, .. } = self.levels[level].limits;
        let queue = queuing.map_or(0, |q| self.levels[level].queues.choose(flow, q.queues, q.hand_size));
        // Whoever waits, waits for a seat: an arrival that takes one goes before none of them.
        let is_free =
            self.levels[level].queues.waiting == 0 && self.fits(level, width) && !self.is_owed(level, width);
        if is_free {
            self.begin(level, queue, width, now_us);
            return Verdict::Begins(queue);
        }
        let Some(queuing) = queuing else { return Verdict::Refused(Refusal::ConcurrencyLimit) };
        let queues = &mut self.levels[level].queues;
        if queues.all[queue].waiting.len() >= queuing.queue_length_limit {
            return Verdict::Refused(Refusal::QueueFull);
        }
        self.numbers += 1;
        queues.push(queue, Waiting { number: self.numbers, width });
        self.waiting += 1;
        Verdict::Waits(Ticket { number: self.numbers, level, queue })
    }

    /// A request has ended that was `width` seats wide and took so long. Who begins by it.
    pub fn end(&mut self, level: usize, queue: usize, width: u32, took_us: u64, now_us: u64) -> Vec<Begun> {
        let of = &mut self.levels[level];
        self.lent -= of.seats.saturating_sub(of.limits.own);
        of.seats -= width;
        self.lent += of.seats.saturating_sub(of.limits.own);
        of.queues.end(queue, width, took_us);
        self.dispatch(now_us)
    }

    /// A request waits no longer. Who begins by it; None where it is not waiting, having begun.
    pub fn leave(&mut self, ticket: Ticket, now_us: u64) -> Option<Vec<Begun>> {
        if !self.levels[ticket.level].queues.remove(ticket.queue, ticket.number) {
            return None;
        }
        self.waiting -= 1;
        // It may have been in the way of a narrower one.
        Some(self.dispatch(now_us))
    }

    fn borrowed(&self, level: usize, width: u32) -> u32 {
        let Level { limits, seats, .. } = &self.levels[level];
        (seats + width).saturating_sub(limits.own) - seats.saturating_sub(limits.own)
    }

    fn fits(&self, level: usize, width: u32) -> bool {
        let Level { limits, seats, .. } = &self.levels[level];
        let borrowed = self.borrowed(level, width);
        seats.saturating_add(width) <= limits.most && (borrowed == 0 || self.lent + borrowed <= self.pool)
    }

    /// Whether the seats would come out of the pool while a level waits that has less than its due.
    fn is_owed(&self, level: usize, width: u32) -> bool {
        if self.waiting == 0 || self.borrowed(level, width) == 0 {
            return false;
        }
        let has_due = |at: &Level| at.seats >= at.limits.nominal;
        has_due(&self.levels[level]) && self.levels.iter().any(|of| of.queues.waiting > 0 && !has_due(of))
    }

    fn begin(&mut self, level: usize, queue: usize, width: u32, now_us: u64) {
        self.lent += self.borrowed(level, width);
        let of = &mut self.levels[level];
        of.seats += width;
        of.queues.begin(queue, width, now_us);
    }

    /// Gives seats to who waits, until nobody does that fits.
    fn dispatch(&mut self, now_us: u64) -> Vec<Begun> {
        let mut begun = Vec::new();
        while self.waiting > 0 {
            let Some((level, queue, next)) = self.next(now_us) else { break };
            self.levels[level].queues.pop(queue);
            self.waiting -= 1;
            self.turn = level + 1;
            self.begin(level, queue, next.width, now_us);
            begun.push(Begun { number: next.number });
        }
        begun
    }

    /// The next that can begin: of the levels in turn, those first that have less than their due.
    fn next(&self, now_us: u64) -> Option<(usize, usize, Waiting)> {
        let count = self.levels.len();
        let in_turn = || (0..count).map(|step| (self.turn + step) % count);
        let candidate = |at: usize| {
            let (queue, next) = self.levels[at].queues.next(now_us)?;
            (self.fits(at, next.width) && !self.is_owed(at, next.width)).then_some((at, queue, next))
        };
        let is_short = |at: &usize| self.levels[*at].seats < self.levels[*at].limits.nominal;
        in_turn().filter(is_short).find_map(candidate).or_else(|| in_turn().find_map(candidate))
    }
}

#[cfg(test)]
mod tests;
