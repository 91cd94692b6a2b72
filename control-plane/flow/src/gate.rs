//! The planner behind a lock, and the waiting: a request gets a seat, which goes back when it is dropped.

use crate::{
    Asked, Class, Configuration, Details, FlowSchema, Limits, PriorityLevel,
    limits::limits,
    metrics::{Metrics, Series},
    planner::{Begun, Level, Planner, Refusal, Ticket, Verdict},
    requests::About,
};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Counters of one level.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) dispatched: AtomicU64,
    pub(crate) refused: [AtomicU64; 3],
    /// Of an exempt level, which the planner does not know.
    pub(crate) exempt_now: AtomicU64,
}

/// Decides over requests. Shared by all of them.
pub struct Gate {
    pub(crate) metrics: Metrics,
    settings: RwLock<Arc<Settings>>,
    state: Mutex<State>,
    queue_wait: Duration,
    total: u32,
    /// When time begins for the planner.
    epoch: Instant,
}

pub(crate) struct Settings {
    pub(crate) configuration: Configuration,
    pub(crate) levels: HashMap<String, Place>,
}

/// A level: its number with the planner, unless it is exempt.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) number: Option<usize>,
    pub(crate) limits: Option<Limits>,
    pub(crate) counters: Arc<Counters>,
    /// Its object is gone, some of its requests are not.
    pub(crate) is_quiescing: bool,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) planner: Planner,
    pub(crate) waiters: HashMap<u64, Waiter>,
}

pub(crate) struct Waiter {
    turn: oneshot::Sender<()>,
    pub(crate) about: About,
}

/// A request that may go on.
pub struct Passed {
    /// Its flow.
    pub class: Class,
    /// Held as long as the request is worked on.
    pub seat: Seat,
}

/// A request that may not.
#[derive(Debug)]
pub struct Refused {
    /// Its flow; None where no schema matched.
    pub class: Option<Class>,
    /// Why.
    pub why: Refusal,
}

/// Seats of a level, given back when this is dropped.
pub struct Seat {
    gate: Arc<Gate>,
    counters: Arc<Counters>,
    series: Arc<Series>,
    since: Instant,
    /// None at an exempt level.
    held: Option<Held>,
}

struct Held {
    level: usize,
    queue: usize,
    width: u32,
    since: Instant,
}

impl Seat {
    fn new(gate: &Arc<Gate>, counters: Arc<Counters>, class: &Class, held: Option<Held>) -> Self {
        counters.dispatched.fetch_add(1, Relaxed);
        let series = class.series.clone();
        series.begins(held.as_ref().map_or(1, |held| held.width));
        Self { gate: gate.clone(), counters, series, since: Instant::now(), held }
    }
}

impl Gate {
    /// A gate of `total` seats, at which a request waits for `queue_wait` at most.
    pub fn new(
        total: u32,
        queue_wait: Duration,
        schemas: Vec<FlowSchema>,
        levels: Vec<PriorityLevel>,
    ) -> Arc<Self> {
        let metrics = Metrics::default();
        let configuration = Configuration::new(Vec::new(), &[], &metrics);
        let settings = Settings { configuration, levels: HashMap::new() };
        let gate = Self {
            metrics,
            settings: RwLock::new(Arc::new(settings)),
            state: Mutex::default(),
            queue_wait,
            total: total.max(1),
            epoch: Instant::now(),
        };
        gate.configure(schemas, levels);
        Arc::new(gate)
    }

    /// Takes other schemas and levels; requests under way keep what they have. A level that is there no longer keeps
    /// its number, with one seat until its last request is gone, so that who waits there is served.
    pub fn configure(&self, schemas: Vec<FlowSchema>, levels: Vec<PriorityLevel>) {
        let wanted = limits(&levels.iter().collect::<Vec<_>>(), self.total);
        let mut settings = self.settings.write();
        let mut places: HashMap<String, Place> = HashMap::new();
        let retired = Limits { nominal: 1, own: 1, most: 1, queuing: None };
        let mut state = self.state.lock();
        let known = settings.levels.iter().filter_map(|(name, place)| Some((name.as_str(), place.number?)));
        let known: HashMap<&str, usize> = known.collect();
        let mut plan: Vec<Limits> = vec![retired; state.planner.levels.len()];
        let mut taken: Vec<bool> = state.planner.levels.iter().map(Level::is_busy).collect();
        known.values().for_each(|number| taken[*number] = true);
        for (level, limits) in levels.iter().zip(&wanted) {
            let number = limits.map(|limits| {
                let number = known.get(level.name.as_str()).copied();
                let number = number.or_else(|| taken.iter().position(|taken| !taken)).unwrap_or(plan.len());
                if number == plan.len() {
                    plan.push(limits);
                    taken.push(true);
                }
                (plan[number], taken[number]) = (limits, true);
                number
            });
            let counters =
                settings.levels.get(&level.name).map(|place| place.counters.clone()).unwrap_or_default();
            let place = Place { number, limits: *limits, counters, is_quiescing: false };
            places.insert(level.name.clone(), place);
        }
        for (name, place) in &settings.levels {
            let busy = place.number.is_some_and(|number| state.planner.levels[number].is_busy());
            if busy && !places.contains_key(name) {
                let place = Place { limits: Some(retired), is_quiescing: true, ..place.clone() };
                places.insert(name.clone(), place);
            }
        }
        let begun = state.planner.configure(&plan, self.now_us());
        state.wake(begun);
        drop(state);
        let levels: Vec<_> = levels.into_iter().map(Arc::new).collect();
        *settings = Arc::new(Settings {
            configuration: Configuration::new(schemas, &levels, &self.metrics),
            levels: places,
        });
    }

    /// Lets a request in, at once or when it is its turn. `width` is told the most seats it can be given, and says how many it
    /// takes; `details` is asked only when the request has to wait, for `wait_max` at most and no longer than the gate's own bound.
    pub async fn pass(
        self: &Arc<Self>,
        asked: &Asked<'_>,
        wait_max: Duration,
        width: impl FnOnce(u32) -> u32,
        details: impl FnOnce() -> Details,
    ) -> Result<Passed, Refused> {
        let settings = self.settings();
        let class = settings.configuration.classify(asked);
        let place = class.as_ref().and_then(|class| settings.levels.get(&class.level.name));
        let (Some(class), Some(place)) = (class, place) else {
            return Err(Refused { class: None, why: Refusal::ConcurrencyLimit });
        };
        let counters = place.counters.clone();
        let (Some(level), Some(limits)) = (place.number, place.limits) else {
            counters.exempt_now.fetch_add(1, Relaxed);
            let seat = Seat::new(self, counters, &class, None);
            return Ok(Passed { class, seat });
        };
        let widest = |widest: u32| width(widest.min(limits.width_max()));
        let about = || About::new(&class, asked, details());
        let entered = self.enter(level, class.flow, widest, about);
        let held = match entered {
            Entered::Begun(held) => {
                if limits.queuing.is_some() {
                    class.series.waited(true, Duration::ZERO);
                }
                held
            }
            Entered::Waiting(waiting) => match self.wait(waiting, wait_max, &class.series).await {
                Some(held) => held,
                None => return Err(refused(class, &counters, Refusal::TimeOut)),
            },
            Entered::Refused(why) => return Err(refused(class, &counters, why)),
        };
        let seat = Seat::new(self, counters, &class, Some(held));
        Ok(Passed { class, seat })
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.read().clone()
    }

    pub(crate) fn state<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock())
    }

    fn enter(
        self: &Arc<Self>,
        level: usize,
        flow: u64,
        width: impl FnOnce(u32) -> u32,
        about: impl FnOnce() -> About,
    ) -> Entered {
        let mut state = self.state.lock();
        let widest = state.planner.widest(level);
        let width = width(widest).clamp(1, widest);
        match state.planner.arrive(level, flow, width, self.now_us()) {
            Verdict::Begins(queue) => Entered::Begun(Held { level, queue, width, since: Instant::now() }),
            Verdict::Refused(why) => Entered::Refused(why),
            Verdict::Waits(ticket) => {
                let (sender, turn) = oneshot::channel();
                let about = About { width, ..about() };
                state.waiters.insert(ticket.number, Waiter { turn: sender, about });
                let place = InQueue { gate: self.clone(), ticket, width, is_over: false };
                Entered::Waiting(Box::new((place, turn)))
            }
        }
    }

    /// Waits for the turn; None when it has not come in time.
    async fn wait(
        &self,
        waiting: Box<(InQueue, oneshot::Receiver<()>)>,
        wait_max: Duration,
        series: &Series,
    ) -> Option<Held> {
        let (mut place, turn) = *waiting;
        let (since, _counted) = (Instant::now(), Waits::begin(series));
        let came = tokio::time::timeout(wait_max.min(self.queue_wait), turn).await;
        // Late and called in the same moment: what the planner says counts.
        let begins = matches!(came, Ok(Ok(()))) || !place.leave();
        let waited = since.elapsed();
        keelson_metrics::waits::note(waited);
        series.waited(begins, waited);
        begins.then(|| place.take())
    }
}

/// Counts a request that waits, as long as it does: its client may go.
struct Waits<'a>(&'a Series);

impl<'a> Waits<'a> {
    fn begin(series: &'a Series) -> Self {
        series.waiting.inc();
        Self(series)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.dec();
    }
}

enum Entered {
    Begun(Held),
    Waiting(Box<(InQueue, oneshot::Receiver<()>)>),
    Refused(Refusal),
}

fn refused(class: Class, counters: &Counters, why: Refusal) -> Refused {
    counters.refused[why as usize].fetch_add(1, Relaxed);
    class.series.rejected(why);
    Refused { class: Some(class), why }
}

impl State {
    fn wake(&mut self, begun: Vec<Begun>) {
        for Begun { number } in begun {
            // Whoever has gone meanwhile finds on leaving that it has begun, and gives its seats back.
            if let Some(waiter) = self.waiters.remove(&number) {
                let _ = waiter.turn.send(());
            }
        }
    }
}

/// A place in a queue; dropped without having been left or taken (the client has gone), it is given up.
struct InQueue {
    gate: Arc<Gate>,
    ticket: Ticket,
    width: u32,
    is_over: bool,
}

impl InQueue {
    /// Leaves the queue; false when the request has begun.
    fn leave(&mut self) -> bool {
        let mut state = self.gate.state.lock();
        state.waiters.remove(&self.ticket.number);
        match state.planner.leave(self.ticket, self.gate.now_us()) {
            None => false,
            Some(begun) => {
                self.is_over = true;
                state.wake(begun);
                true
            }
        }
    }

    /// The seats of the request, which has begun.
    fn take(&mut self) -> Held {
        self.is_over = true;
        let (level, queue) = self.ticket.place();
        Held { level, queue, width: self.width, since: Instant::now() }
    }
}

impl Drop for InQueue {
    fn drop(&mut self) {
        if !self.is_over && !self.leave() {
            let held = self.take();
            self.gate.end(&held);
        }
    }
}

impl Gate {
    fn end(&self, held: &Held) {
        let took_us = u64::try_from(held.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut state = self.state.lock();
        let begun = state.planner.end(held.level, held.queue, held.width, took_us, self.now_us());
        state.wake(begun);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let width = self.held.as_ref().map_or(1, |held| held.width);
        self.series.ends(width, self.since.elapsed());
        match &self.held {
            Some(held) => self.gate.end(held),
            None => drop(self.counters.exempt_now.fetch_sub(1, Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests;
