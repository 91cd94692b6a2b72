//! What the gate shows of itself: metrics under upstream's names, and the tables of `/debug/api_priority_and_fairness`.

use crate::{Gate, gate::Place, planner::Refusal};
use std::{collections::BTreeMap, fmt::Write, sync::atomic::Ordering::Relaxed};

/// What is known of one level at a moment.
struct Row {
    name: String,
    place: Place,
    seats: u32,
    waiting: usize,
    active_queues: usize,
}

impl Gate {
    fn rows(&self) -> Vec<Row> {
        let settings = self.settings();
        let mut rows: Vec<Row> = self.state(|state| {
            let planner = &state.planner;
            let row = |(name, place): (&String, &Place)| {
                let level = place.number.map(|number| &planner.levels[number]);
                let active = |queue: &&crate::queue::Queue| queue.seats > 0 || !queue.waiting.is_empty();
                Row {
                    name: name.clone(),
                    place: place.clone(),
                    seats: level.map_or(0, |level| level.seats),
                    waiting: level.map_or(0, |level| level.queues.waiting),
                    active_queues: level.map_or(0, |level| level.queues.all.iter().filter(active).count()),
                }
            };
            settings.levels.iter().map(row).collect()
        });
        rows.retain(|row| !row.place.is_quiescing || row.seats > 0 || row.waiting > 0);
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        rows
    }

    /// The Prometheus text format.
    pub fn render(&self, out: &mut String) {
        for row in self.rows() {
            let limit = |of: fn(crate::Limits) -> u32| i64::from(row.place.limits.map_or(0, of));
            let level = [row.name.as_str()];
            self.metrics.nominal.with_label_values(&level).set(limit(|limits| limits.nominal));
            self.metrics.own.with_label_values(&level).set(limit(|limits| limits.own));
            self.metrics.most.with_label_values(&level).set(limit(|limits| limits.most));
        }
        self.metrics.group.render(out);
    }

    /// `dump_priority_levels`: a table with commas, as upstream's.
    pub fn dump_priority_levels(&self) -> String {
        let mut out = String::from(
            "PriorityLevelName, ActiveQueues, IsIdle, IsQuiescing, WaitingRequests, ExecutingRequests, DispatchedRequests, RejectedRequests, TimedoutRequests, CancelledRequests\n",
        );
        for row in self.rows() {
            let counters = &row.place.counters;
            let refused = |why: Refusal| counters.refused[why as usize].load(Relaxed);
            let running = u64::from(row.seats) + counters.exempt_now.load(Relaxed);
            let _ = writeln!(
                out,
                "{}, {}, {}, {}, {}, {running}, {}, {}, {}, 0",
                row.name,
                row.active_queues,
                running == 0 && row.waiting == 0,
                row.place.is_quiescing,
                row.waiting,
                counters.dispatched.load(Relaxed),
                refused(Refusal::ConcurrencyLimit) + refused(Refusal::QueueFull),
                refused(Refusal::TimeOut),
            );
        }
        out
    }

    /// `dump_queues`: those of limited levels that have something to do.
    pub fn dump_queues(&self) -> String {
        let mut out = String::from("PriorityLevelName, Index, PendingRequests, SeatsInUse\n");
        let settings = self.settings();
        self.state(|state| {
            let levels: BTreeMap<_, _> = settings.levels.iter().collect();
            for (name, place) in levels {
                let Some(number) = place.number else { continue };
                for (at, queue) in state.planner.levels[number].queues.all.iter().enumerate() {
                    if queue.seats > 0 || !queue.waiting.is_empty() {
                        let _ = writeln!(out, "{name}, {at}, {}, {}", queue.waiting.len(), queue.seats);
                    }
                }
            }
        });
        out
    }
}
