//! One pod's worker: feeds the machine with events, carries out its effects, writes its status.
//!
//! One task a pod. Effects run as tasks of their own that report back as events; the worker itself
//! never waits for the runtime or the API, so a readiness change is written while an image is pulled.

mod exit;
pub(crate) use exit::{exit_of, gone};
mod resize;
pub(crate) use resize::container_has;
mod sandbox;
mod start;
mod status;
mod stop;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use keelson_runtime::{RuntimeEvent, v1};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::container::PodFacts;
use crate::context::Context;
use crate::machine::{Effect, Event, Machine, PodShape, Preparation, ProbeKind, Role, Run, Sandbox, Stage};
use crate::pod::Stored;
use crate::{probe, volumes};

/// Messages that wait for a worker at most.
pub(crate) const INBOX_MAX: usize = 64;
/// How often the content of volumes from the API is brought up to date (upstream: about once a minute).
const REFRESH: Duration = Duration::from_secs(60);

/// What a worker is told.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// Something about the pod happened.
    Event(Event),
    /// The object changed; the grace if it is being deleted.
    Object(Arc<Stored>, Arc<PodShape>, Option<Duration>),
    /// The runtime reports about one of the pod's containers or its sandbox.
    Runtime(RuntimeEvent),
    /// Runtime events may have been missed: these containers and sandboxes exist.
    Resync(Arc<Vec<v1::Container>>, Arc<Vec<v1::PodSandbox>>),
    /// A write of the status ended.
    StatusWritten(status::Outcome),
}

pub(crate) struct Worker {
    ctx: Arc<Context>,
    /// The object as the API has it.
    asked: Arc<Stored>,
    /// The same with what the node has given in place of what is asked for.
    stored: Arc<Stored>,
    machine: Machine,
    outbox: mpsc::Sender<Message>,
    probes: HashMap<(usize, ProbeKind), AbortHandle>,
    stopping: CancellationToken,
    out_of_memory: HashSet<String>,
    status: status::Writer,
    tasks: JoinSet<()>,
}

/// Starts a worker. `first` is taken in before anything else; the task ends when nothing is left of the pod.
pub(crate) fn spawn(
    ctx: Arc<Context>,
    stored: Arc<Stored>,
    shape: Arc<PodShape>,
    frozen: bool,
    first: Option<Event>,
) -> mpsc::Sender<Message> {
    let (outbox, inbox) = mpsc::channel(INBOX_MAX);
    let worker = Worker {
        machine: Machine::new(shape, Timestamp::now()),
        status: status::Writer::new(&stored, frozen),
        outbox: outbox.clone(),
        probes: HashMap::new(),
        stopping: CancellationToken::new(),
        out_of_memory: HashSet::new(),
        tasks: JoinSet::new(),
        ctx,
        asked: Arc::clone(&stored),
        stored,
    };
    tokio::spawn(worker.run(inbox, first.unwrap_or(Event::Tick)));
    outbox
}

impl Worker {
    async fn run(mut self, mut inbox: mpsc::Receiver<Message>, first: Event) {
        if let Some(refused) = self.machine.shape.refused.clone() {
            self.ctx.recorder.warning(self.stored.reference(None), "NotSupported", refused);
        }
        self.step(first);
        self.publish();
        let mut freed = self.ctx.allocations.freed();
        let mut refresh = tokio::time::interval_at(tokio::time::Instant::now() + REFRESH, REFRESH);
        while self.machine.stage != Stage::Gone {
            let due = self.machine.next_due().map(|due| {
                Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO)
            });
            tokio::select! {
                message = inbox.recv() => {
                    let Some(message) = message else { return };
                    self.take(message);
                    // What else is there already is taken in before the status is written once.
                    while let Ok(message) = inbox.try_recv() {
                        self.take(message);
                    }
                }
                () = tokio::time::sleep(due.unwrap_or(REFRESH)), if due.is_some() => self.step(Event::Tick),
                Ok(()) = freed.changed() => self.step(Event::Freed),
                _ = refresh.tick() => self.refresh_volumes(),
                Some(ended) = self.tasks.join_next() => {
                    if let Err(error) = ended && error.is_panic() {
                        tracing::error!(pod = %self.stored.name, %error, "a step of a pod panicked");
                    }
                    continue;
                }
            }
            self.publish();
        }
        self.ctx.tokens.forget(&self.stored.uid);
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Event(event) => self.step(event),
            Message::Object(stored, shape, deletion) => {
                self.status.observe(&stored);
                self.asked = stored;
                self.overlay();
                self.step(Event::Changed { shape, deletion });
            }
            Message::Runtime(RuntimeEvent::OutOfMemory { id }) => drop(self.out_of_memory.insert(id)),
            Message::Runtime(RuntimeEvent::Exited { id, code, at }) => self.runtime_exit(id, code, at),
            Message::Runtime(RuntimeEvent::Resync) => {}
            Message::Resync(containers, sandboxes) => self.resync(&containers, &sandboxes),
            Message::StatusWritten(outcome) => self.status.written(outcome),
        }
    }

    fn step(&mut self, event: Event) {
        tracing::debug!(pod = %self.stored.name, ?event);
        let now = Timestamp::now();
        let before = self.machine.clone();
        let (machine, effects) = before.clone().step(now, event);
        self.machine = machine;
        if before.allocated != self.machine.allocated {
            self.overlay();
        }
        self.report_resize(&before);
        if matches!(self.machine.stage, Stage::Stopped { .. } | Stage::Removing | Stage::Gone) {
            self.ctx.allocations.release(&self.stored.uid);
        }
        for effect in effects {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect) {
        tracing::debug!(pod = %self.stored.name, ?effect);
        match effect {
            Effect::MountVolumes => self.mount_volumes(),
            Effect::RunSandbox { attempt } => self.run_sandbox(attempt),
            Effect::RemoveSandbox { id } => self.remove_sandbox(id),
            Effect::Start { slot, restarts } => self.start_container(slot, restarts),
            Effect::Kill { slot, id, grace, message, draining, again } => {
                self.kill_container(stop::Kill { slot, id, grace, message, draining, again });
            }
            Effect::Probe { slot, id, kind } => self.start_probe(slot, id, kind),
            Effect::StopProbes { slot } => self.stop_probes(|(at, _)| *at == slot),
            Effect::BeginStop => {
                self.stopping.cancel();
                self.stop_probes(|(_, kind)| *kind != ProbeKind::Readiness);
            }
            Effect::RemoveContainer { id } => self.remove_container(id),
            Effect::ReportBackOff { slot, crashed } => self.report_back_off(slot, crashed),
            Effect::Allocate { wanted } => self.allocate(wanted),
            Effect::Resize { first, slots, last } => self.resize(first, &slots, last),
            Effect::Release => self.release_sandbox(),
            Effect::Remove => self.remove_pod(),
        }
    }

    fn publish(&mut self) {
        self.status.publish(&self.ctx, &self.stored, &self.machine, &self.outbox);
    }

    /// Where the pod is reached, and what `fieldRef` calls its addresses.
    fn ips(&self) -> Vec<String> {
        if self.machine.shape.host_network {
            return self.ctx.config.node_ips.clone();
        }
        self.machine.sandbox_info().map(|info| info.ips.clone()).unwrap_or_default()
    }

    fn facts(&self) -> PodFacts {
        PodFacts::of(&self.stored.pod(), &self.ctx.config.node_ips, &self.ips())
    }

    fn role(&self, slot: usize) -> Role {
        self.machine.shape.containers[slot].role
    }

    fn mount_volumes(&mut self) {
        let (ctx, stored, outbox) = (Arc::clone(&self.ctx), Arc::clone(&self.stored), self.outbox.clone());
        let facts = self.facts();
        self.tasks.spawn(async move {
            let spec = stored.spec();
            let setting = volumes::Setting { ctx: &ctx, stored: &stored, spec: &spec, facts: &facts };
            let event = match volumes::set_up(&setting).await {
                Ok(()) => Event::VolumesReady,
                Err(_) => Event::VolumesFailed,
            };
            let _ = outbox.send(Message::Event(event)).await;
        });
    }

    /// Failures are reported as events and tried again at the next turn; the old content stays.
    fn refresh_volumes(&mut self) {
        if self.machine.stage != Stage::Active || self.machine.volumes != Preparation::Done {
            return;
        }
        let (ctx, stored) = (Arc::clone(&self.ctx), Arc::clone(&self.stored));
        let facts = self.facts();
        self.tasks.spawn(async move {
            let spec = stored.spec();
            if volumes::any_refreshed(&spec) {
                let setting = volumes::Setting { ctx: &ctx, stored: &stored, spec: &spec, facts: &facts };
                let _ = volumes::set_up(&setting).await;
            }
        });
    }

    fn start_probe(&mut self, slot: usize, id: String, kind: ProbeKind) {
        let host = self.ips().into_iter().next().unwrap_or_default();
        let ready = matches!(&self.machine.slots[slot].run, Run::Running(live) if live.ready);
        let shape = &self.machine.shape.containers[slot];
        let (name, role) = (shape.name.clone(), shape.role);
        let job = probe::Assignment { stored: Arc::clone(&self.stored), name, role, id, kind, host, ready };
        let task = self.tasks.spawn(probe::run(Arc::clone(&self.ctx), job, self.outbox.clone()));
        if let Some(old) = self.probes.insert((slot, kind), task) {
            old.abort();
        }
    }

    fn stop_probes(&mut self, which: impl Fn(&(usize, ProbeKind)) -> bool) {
        self.probes.retain(|key, task| {
            let stop = which(key);
            if stop {
                task.abort();
            }
            !stop
        });
    }

    fn report_back_off(&self, slot: usize, crashed: bool) {
        let shape = &self.machine.shape.containers[slot];
        let subject = self.stored.reference(Some((&shape.name, self.role(slot))));
        let recorder = &self.ctx.recorder;
        if crashed {
            let text = format!(
                "Back-off restarting failed container {} in pod {}_{}({})",
                shape.name, self.stored.name, self.stored.namespace, self.stored.uid
            );
            return recorder.warning(subject, "BackOff", text);
        }
        // Upstream calls only a crash's back-off a warning; the pull's is told beside its error.
        recorder.normal(subject.clone(), "BackOff", format!("Back-off pulling image \"{}\"", shape.image));
        recorder.warning(subject, "Failed", "Error: ImagePullBackOff".to_owned());
    }

    /// Compares what should run with what the runtime lists, and finds out how the rest ended.
    fn resync(&mut self, containers: &[v1::Container], sandboxes: &[v1::PodSandbox]) {
        if let Sandbox::Ready(info) = &self.machine.sandbox {
            let ready =
                sandboxes.iter().any(|s| s.id == info.id && s.state() == v1::PodSandboxState::SandboxReady);
            if !ready {
                let id = info.id.clone();
                self.step(Event::SandboxDied { id });
            }
        }
        let ended: Vec<String> = self
            .machine
            .slots
            .iter()
            .filter_map(|slot| match &slot.run {
                Run::Running(live) | Run::Stopping(live) => Some(live.id.clone()),
                _ => None,
            })
            .filter(|id| {
                let state = containers.iter().find(|c| c.id == *id).map(v1::Container::state);
                !matches!(state, Some(v1::ContainerState::ContainerRunning))
            })
            .collect();
        for id in ended {
            self.find_out_exit(id);
        }
    }
}
