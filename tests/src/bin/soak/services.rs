//! Services: a great many of them, whose endpoints change all the time, while new connections are made and one node's daemon is
//! killed every ten seconds.
//!
//! Promises: a Service that nobody changes answers every connection; one that changes, too, by an endpoint that it has or had
//! until a moment ago (for longer only while the daemon was dead); in the end every Service answers by what it has; neither the
//! control plane nor the daemons that are not killed grow.

mod history;
mod memory;

use crate::Run;
use anyhow::{Context, Result, ensure};
use history::{Deaths, History};
use keelson_tests::{
    Cluster, Namespace,
    cluster::Inside,
    eventually,
    figures::Report,
    fleet::{Endpoints, Fleet, Ground, OWNED},
};
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// The node whose sockets ask, and whose daemon is killed.
const NODE: &str = "n1";
/// What unchanged Services have throughout, and the others in the beginning.
const TWO: Endpoints = Endpoints(0b11);
/// Every so many Services one that never changes.
const UNCHANGED_EVERY: usize = 2;
const WRITERS: u64 = 8;
const CLIENTS: u64 = 2;
/// Between two connections of a client: two cores also run the cluster.
const PAUSE: Duration = Duration::from_millis(1);
const KILLED_EVERY: Duration = Duration::from_secs(10);
/// After the API has answered a write, or the daemon's process has begun, until connections are right. The figures say how long
/// it took; this is what two cores that three nodes share with everything else may make of it at worst.
const RIGHT_MAX: Duration = Duration::from_secs(20);
/// A daemon that dies within this has not had the time to do what was written before.
const DUE: Duration = Duration::from_secs(2);
/// Until everything is deleted.
const GONE_MAX: Duration = Duration::from_secs(900);

/// How much of it there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) services: usize,
    /// A second.
    pub(crate) changes: u64,
}

/// What was done so far.
#[derive(Default)]
struct Done {
    writes: AtomicU64,
    unchanged: AtomicU64,
    changing: AtomicU64,
    /// Answers by endpoints that had gone already, within what is promised.
    late: AtomicU64,
    /// The latest of them, in microseconds since the API's answer or the daemon's return.
    latest_us: AtomicU64,
}

/// All that the threads share.
struct World<'a> {
    run: &'a Run,
    fleet: &'a Fleet<'a>,
    /// By Service; those that do not change have one state.
    histories: Vec<Mutex<History>>,
    deaths: Mutex<Deaths>,
    done: Done,
    size: Size,
    /// Somebody has found an error: all end.
    failed: AtomicBool,
}

/// Runs the scenario.
pub(crate) fn run(run: &Run, size: Size, report: &mut Report) -> Result<()> {
    let cluster = Cluster::require()?;
    let namespace = Namespace::create("services")?;
    // Its sockets are the node's from here on, until this value goes.
    let _inside = Inside::enter(&cluster, NODE)?;
    let ground = Ground::prepare()?;
    let mut fleet = Fleet::new(&namespace);
    let began = Instant::now();
    fleet.grow(size.services, TWO)?;
    let made_s = began.elapsed().as_secs_f64();
    let run = Run { start: Instant::now(), ..*run };
    run.says(format!("{} Services made in {made_s:.1} s", size.services));
    let histories = (0..size.services).map(|_| Mutex::new(History::new(TWO))).collect();
    let world = World {
        run: &run,
        fleet: &fleet,
        histories,
        deaths: Mutex::default(),
        done: Done::default(),
        size,
        failed: AtomicBool::new(false),
    };
    // The node learns of the last of them after the API's answer.
    let all_right =
        || eventually(RIGHT_MAX, "all Services are reached before any changes", || world.everyone());
    world.on_ground(&ground, all_right)??;
    let run = Run { start: Instant::now(), ..run };
    let world = World { run: &run, ..world };
    let samples = world.go(&cluster, &ground);
    // Whatever came of it: what follows needs a whole cluster.
    cluster.up()?;
    let samples = samples?;
    world.on_ground(&ground, || world.everyone())?.context("in the end")?;
    world.tell(made_s, report);
    memory::tell(&samples, report)?;
    let began = Instant::now();
    drop(ground);
    namespace.delete_and_wait(GONE_MAX)?;
    report.add("services: all deleted", began.elapsed().as_secs_f64(), "s", "with their namespace");
    Ok(())
}

impl World<'_> {
    fn go(&self, cluster: &Cluster, ground: &Ground) -> Result<Vec<memory::Sample>> {
        let connect = |n| self.heed(ground.enter().and_then(|()| self.connect(n)));
        std::thread::scope(|scope| {
            let writers = (0..WRITERS).map(|n| scope.spawn(move || self.heed(self.write(n))));
            let writers: Vec<_> = writers.collect();
            let clients: Vec<_> = (0..CLIENTS).map(|n| scope.spawn(move || connect(n))).collect();
            let samples = self.heed(self.kill(cluster));
            let each = writers.into_iter().chain(clients);
            each.map(|thread| thread.join().expect("they answer errors")).collect::<Result<Vec<()>>>()?;
            samples
        })
    }

    /// Ends everybody's work when somebody's has failed.
    fn heed<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.inspect_err(|_| self.failed.store(true, Ordering::Relaxed))
    }

    fn is_over(&self) -> bool {
        self.run.is_over() || self.failed.load(Ordering::Relaxed)
    }

    /// Kills the daemon again and again, while everybody works.
    fn kill(&self, cluster: &Cluster) -> Result<Vec<memory::Sample>> {
        let mut samples = Vec::new();
        while !self.is_over() {
            std::thread::sleep(KILLED_EVERY.min(self.run.length.saturating_sub(self.run.start.elapsed())));
            samples.push(memory::sample(cluster, NODE, self.run.start.elapsed())?);
            self.deaths.lock().begin(Instant::now());
            let killed = cluster.kill_daemon(NODE, "node")?;
            let mut up = cluster.bring_back(NODE, "node", killed)?;
            self.deaths.lock().end(Instant::now());
            ensure!(up.wait()?.success(), "xtask up failed");
            self.says();
        }
        Ok(samples)
    }

    /// Changes its share of the changing Services, at its share of the rate.
    fn write(&self, writer: u64) -> Result<()> {
        let mut rng = StdRng::seed_from_u64(self.run.seed.wrapping_add(writer));
        let between = Duration::from_secs(WRITERS).div_f64(self.size.changes as f64);
        let (own, writers) = (writer as usize, WRITERS as usize);
        let changing: Vec<usize> =
            (0..self.size.services).filter(|s| changes(*s)).skip(own).step_by(writers).collect();
        let mut next = self.run.start;
        while !self.is_over() && !changing.is_empty() {
            let service = changing[rng.random_range(0..changing.len())];
            // Two of its own, whichever: never none, so that no connection may fail.
            let (one, step) = (rng.random_range(0..OWNED), rng.random_range(1..OWNED));
            let endpoints = Endpoints(1 << one | 1 << ((one + step) % OWNED));
            self.histories[service].lock().began(endpoints, Instant::now());
            self.fleet.change(service, endpoints)?;
            self.histories[service].lock().answered(Instant::now());
            self.done.writes.fetch_add(1, Ordering::Relaxed);
            next += between;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        Ok(())
    }

    /// Connects to unchanged and changing Services by turns.
    fn connect(&self, client: u64) -> Result<()> {
        let mut rng = StdRng::seed_from_u64(self.run.seed.wrapping_add(WRITERS + client));
        while !self.is_over() {
            self.one(rng.random_range(0..self.size.services))?;
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn one(&self, service: usize) -> Result<()> {
        let began = Instant::now();
        let number = self.fleet.ask(service).with_context(|| {
            let dead = self.deaths.lock().now();
            format!("{} of the run; daemon dead: {dead}", seconds(self.run.start.elapsed()))
        })?;
        let ended = Instant::now();
        let late = {
            let deaths = self.deaths.lock();
            self.histories[service].lock().lateness(number, began, ended, &deaths)
        };
        let Some(late) = late else {
            anyhow::bail!(
                "Service {service}: {number} answered, which it never had, or has no more: {:?}",
                self.histories[service].lock()
            );
        };
        ensure!(
            late <= RIGHT_MAX,
            "Service {service}: {number} answered {} after it had gone",
            seconds(late)
        );
        let counter = if changes(service) { &self.done.changing } else { &self.done.unchanged };
        counter.fetch_add(1, Ordering::Relaxed);
        if !late.is_zero() {
            self.done.late.fetch_add(1, Ordering::Relaxed);
            self.done.latest_us.fetch_max(late.as_micros() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// That every Service answers by one that it has.
    fn everyone(&self) -> Result<()> {
        let began = Instant::now();
        for service in 0..self.fleet.services() {
            let now = self.histories[service].lock().now();
            // The last changes, and the daemon's last return, are not long ago.
            loop {
                let number = self.fleet.ask(service)?;
                if now.holds(number) {
                    break;
                }
                ensure!(began.elapsed() < RIGHT_MAX, "Service {service}: {number} answered, it has {now:?}");
                std::thread::sleep(PAUSE);
            }
        }
        Ok(())
    }

    fn on_ground<T: Send>(&self, ground: &Ground, act: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            scope.spawn(|| ground.enter().map(|()| act())).join().expect("it answers errors")
        })
    }

    fn says(&self) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.run.says(format!(
            "{} changes, {} connections to unchanged and {} to changing Services, {} late by {} ms at most, {} deaths",
            count(&self.done.writes),
            count(&self.done.unchanged),
            count(&self.done.changing),
            count(&self.done.late),
            count(&self.done.latest_us) / 1000,
            self.deaths.lock().number(),
        ));
    }

    fn tell(&self, made_s: f64, report: &mut Report) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let writes = count(&self.done.writes) / self.run.length.as_secs_f64();
        report.add(
            "services: Services",
            self.size.services as f64,
            "",
            "two endpoints each in the beginning",
        );
        report.add("services: made", made_s, "s", "a slice and a Service each, eight writers");
        report.add("services: changes", writes, "1/s", format!("{} were asked for", self.size.changes));
        report.add("services: SIGKILLs of a node daemon", self.deaths.lock().number() as f64, "", NODE);
        report.add(
            "services: connections to unchanged Services",
            count(&self.done.unchanged),
            "",
            "none failed",
        );
        report.add(
            "services: connections to changing Services",
            count(&self.done.changing),
            "",
            "none failed or wrong",
        );
        let note = "an endpoint that had gone answered, within what is promised";
        report.add("services: late connections", count(&self.done.late), "", note);
        let note = "since the API's answer, or the daemon's return";
        report.add("services: latest of them", count(&self.done.latest_us) / 1e3, "ms", note);
    }
}

/// Whether a Service is one that changes.
fn changes(service: usize) -> bool {
    !service.is_multiple_of(UNCHANGED_EVERY)
}

fn seconds(duration: Duration) -> String {
    format!("{:.3} s", duration.as_secs_f64())
}
