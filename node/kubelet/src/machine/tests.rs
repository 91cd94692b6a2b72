//! The machine as a table of lives: what is asked for after each event. No clock: time is an argument.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::status::{Facts, Phase, phase, pod_status};
use super::*;

mod resize;

fn container(name: &str, role: Role) -> ContainerShape {
    ContainerShape {
        name: name.to_owned(),
        image: "busybox".to_owned(),
        role,
        hash: "h1".to_owned(),
        target: None,
        resources: Amounts::default(),
        restart_for: Vec::new(),
        startup: false,
        readiness: false,
        liveness: false,
        post_start: false,
    }
}

fn shape(restart: RestartPolicy, containers: Vec<ContainerShape>) -> PodShape {
    PodShape {
        containers,
        restart,
        grace: Duration::from_secs(30),
        deadline: None,
        gates: Vec::new(),
        host_network: false,
        generation: None,
        refused: None,
    }
}

/// A machine with a clock that the test moves.
struct Life {
    machine: Machine,
    now: Timestamp,
}

impl Life {
    fn new(shape: PodShape) -> Self {
        let now = Timestamp::UNIX_EPOCH;
        Self { machine: Machine::new(Arc::new(shape), now), now }
    }

    fn on(&mut self, event: Event) -> Vec<Effect> {
        let (machine, effects) = self.machine.clone().step(self.now, event);
        self.machine = machine;
        effects
    }

    fn up(&mut self) -> Vec<Effect> {
        assert_eq!(
            self.on(Event::Tick),
            [Effect::MountVolumes, Effect::RunSandbox { attempt: 0 }],
            "volumes and sandbox are asked for together"
        );
        assert_eq!(self.on(Event::VolumesReady), []);
        self.on(Event::SandboxReady(SandboxInfo {
            id: "s".into(),
            ips: vec!["10.244.0.2".into()],
            attempt: 0,
        }))
    }

    fn started(&mut self, slot: usize, id: &str) -> Vec<Effect> {
        assert_eq!(self.on(Event::Created { slot, id: id.into() }), []);
        self.on(Event::Started { slot, id: id.into(), image_id: "sha256:1".into(), at: self.now })
    }

    fn exited(&mut self, id: &str, code: i32) -> Vec<Effect> {
        let reason = if code == 0 { "Completed" } else { "Error" };
        let exit = Exit {
            id: id.into(),
            image_id: String::new(),
            code,
            reason: reason.into(),
            message: String::new(),
            started_at: None,
            finished_at: self.now,
        };
        self.on(Event::Exited { exit })
    }

    fn condition(&self, kind: &str) -> String {
        let facts =
            Facts { host_ips: &[], qos: "BestEffort", generation: None, conditions: &[], now: self.now };
        let conditions = pod_status(&self.machine, &facts).conditions.unwrap();
        conditions.into_iter().find(|c| c.type_ == kind).unwrap().status
    }

    fn waiting_reason(&self, slot: usize) -> Option<String> {
        let facts =
            Facts { host_ips: &[], qos: "BestEffort", generation: None, conditions: &[], now: self.now };
        let status = pod_status(&self.machine, &facts);
        let statuses = status.container_statuses.unwrap_or_default();
        statuses[slot].state.clone().unwrap().waiting.and_then(|w| w.reason)
    }
}

fn start(slot: usize, restarts: u32) -> Effect {
    Effect::Start { slot, restarts }
}

fn kill(slot: usize, id: &str, grace: u64, name: &str, draining: bool) -> Effect {
    Effect::Kill {
        slot,
        id: id.into(),
        grace: Duration::from_secs(grace),
        message: format!("Stopping container {name}"),
        draining,
        again: false,
    }
}

fn delete(life: &mut Life, grace: u64) -> Vec<Effect> {
    let shape = life.machine.shape.clone();
    life.on(Event::Changed { shape, deletion: Some(Duration::from_secs(grace)) })
}

#[test]
fn a_pod_without_probes_is_ready_as_soon_as_its_container_runs() {
    let mut life = Life::new(shape(RestartPolicy::Always, vec![container("app", Role::Main)]));
    assert_eq!(life.up(), [start(0, 0)]);
    assert_eq!(life.waiting_reason(0).as_deref(), Some("ContainerCreating"));
    assert_eq!(phase(&life.machine), Phase::Pending);
    assert_eq!(life.started(0, "c1"), []);
    assert_eq!(phase(&life.machine), Phase::Running);
    assert_eq!(life.condition("Ready"), "True");
}

#[test]
fn init_containers_run_one_after_another_and_sidecars_stay() {
    let mut life = Life::new(shape(
        RestartPolicy::Always,
        vec![
            container("first", Role::Init),
            container("side", Role::Sidecar),
            container("second", Role::Init),
            container("app", Role::Main),
        ],
    ));
    assert_eq!(life.up(), [start(0, 0)]);
    assert_eq!(life.started(0, "i1"), []);
    assert_eq!(life.waiting_reason(0).as_deref(), Some("PodInitializing"));
    assert_eq!(life.exited("i1", 0), [Effect::StopProbes { slot: 0 }, start(1, 0)]);
    assert_eq!(life.started(1, "side1"), [start(2, 0)]);
    assert_eq!(life.condition("Initialized"), "False");
    assert_eq!(life.started(2, "i2"), []);
    assert_eq!(life.exited("i2", 0), [Effect::StopProbes { slot: 2 }, start(3, 0)]);
    assert_eq!(life.condition("Initialized"), "True");
    // The sidecar ends: it alone starts again.
    assert_eq!(life.exited("side1", 0), [Effect::StopProbes { slot: 1 }, start(1, 1)]);
}

#[test]
fn a_failed_init_container_fails_a_pod_that_never_restarts() {
    let mut life = Life::new(shape(
        RestartPolicy::Never,
        vec![container("init", Role::Init), container("app", Role::Main)],
    ));
    life.up();
    life.started(0, "i1");
    let effects = life.exited("i1", 3);
    assert_eq!(effects, [Effect::StopProbes { slot: 0 }, Effect::BeginStop, Effect::Release]);
    life.on(Event::SandboxReleased);
    assert_eq!(life.machine.stage, Stage::Stopped { why: Why::Completed });
    assert_eq!(phase(&life.machine), Phase::Failed);
}

#[test]
fn the_first_crash_restarts_at_once_and_later_ones_wait_longer() {
    let mut life = Life::new(shape(RestartPolicy::Always, vec![container("app", Role::Main)]));
    life.up();
    life.started(0, "c1");
    assert_eq!(life.exited("c1", 1), [Effect::StopProbes { slot: 0 }, start(0, 1)]);
    life.started(0, "c2");
    let effects = life.exited("c2", 1);
    assert_eq!(effects, [Effect::StopProbes { slot: 0 }, Effect::ReportBackOff { slot: 0, crashed: true }]);
    assert_eq!(life.waiting_reason(0).as_deref(), Some("CrashLoopBackOff"));
    assert_eq!(life.machine.next_due(), Some(life.now + Duration::from_secs(10)));
    life.now += Duration::from_secs(9);
    assert_eq!(life.on(Event::Tick), []);
    life.now += Duration::from_secs(1);
    // The container before the last is not shown any more.
    assert_eq!(life.on(Event::Tick), [Effect::RemoveContainer { id: "c1".into() }, start(0, 2)]);
}

#[test]
fn an_exit_that_is_told_before_the_start_is_not_lost() {
    let mut life = Life::new(shape(RestartPolicy::OnFailure, vec![container("job", Role::Main)]));
    life.up();
    life.on(Event::Created { slot: 0, id: "c1".into() });
    let effects = life.exited("c1", 0);
    assert!(effects.contains(&Effect::Release), "{effects:?}");
    assert_eq!(life.on(Event::Started { slot: 0, id: "c1".into(), image_id: "i".into(), at: life.now }), []);
    life.on(Event::SandboxReleased);
    assert_eq!(phase(&life.machine), Phase::Succeeded);
    assert_eq!(life.machine.slots[0].exit().unwrap().image_id, "i");
}

#[test]
fn startup_holds_back_the_other_probes_and_liveness_restarts() {
    let mut app = container("app", Role::Main);
    (app.startup, app.readiness, app.liveness) = (true, true, true);
    let mut life = Life::new(shape(RestartPolicy::Always, vec![app]));
    life.up();
    let probe = |kind| Effect::Probe { slot: 0, id: "c1".into(), kind };
    let probed = |kind, healthy| Event::Probed { id: "c1".into(), kind, healthy, grace: None };
    assert_eq!(life.started(0, "c1"), [probe(ProbeKind::Startup)]);
    assert_eq!(
        life.on(probed(ProbeKind::Startup, true)),
        [probe(ProbeKind::Readiness), probe(ProbeKind::Liveness)]
    );
    assert_eq!(life.condition("Ready"), "False");
    life.on(probed(ProbeKind::Readiness, true));
    assert_eq!(life.condition("Ready"), "True");
    life.on(probed(ProbeKind::Readiness, false));
    assert_eq!(life.condition("Ready"), "False");
    let effects = life.on(probed(ProbeKind::Liveness, false));
    assert!(
        matches!(&effects[..], [Effect::StopProbes { .. }, Effect::Kill { message, .. }]
            if message == "Container app failed liveness probe, will be restarted"),
        "{effects:?}"
    );
    assert_eq!(life.exited("c1", 137), [Effect::StopProbes { slot: 0 }, start(0, 1)]);
    assert_eq!(life.started(0, "c2"), [Effect::Probe { slot: 0, id: "c2".into(), kind: ProbeKind::Startup }]);
}

#[test]
fn deletion_stops_main_containers_then_sidecars_then_the_sandbox_then_the_object() {
    let mut life = Life::new(shape(
        RestartPolicy::Always,
        vec![container("side", Role::Sidecar), container("a", Role::Main), container("b", Role::Main)],
    ));
    life.up();
    assert_eq!(life.started(0, "s1"), [start(1, 0), start(2, 0)]);
    life.started(1, "a1");
    life.started(2, "b1");
    assert_eq!(
        delete(&mut life, 30),
        [Effect::BeginStop, kill(1, "a1", 30, "a", true), kill(2, "b1", 30, "b", true)]
    );
    assert_eq!(life.exited("a1", 0), [Effect::StopProbes { slot: 1 }]);
    life.now += Duration::from_secs(12);
    assert_eq!(
        life.exited("b1", 0),
        [Effect::StopProbes { slot: 2 }, kill(0, "s1", 18, "side", false)],
        "the sidecar gets what is left of the grace"
    );
    assert_eq!(life.exited("s1", 0), [Effect::StopProbes { slot: 0 }, Effect::Release]);
    assert_eq!(life.on(Event::SandboxReleased), [Effect::Remove]);
    life.on(Event::Removed);
    assert_eq!(life.machine.stage, Stage::Gone);
}

#[test]
fn a_second_delete_with_less_grace_stops_harder() {
    let mut life = Life::new(shape(RestartPolicy::Always, vec![container("app", Role::Main)]));
    life.up();
    life.started(0, "c1");
    delete(&mut life, 30);
    let effects = delete(&mut life, 0);
    assert!(matches!(&effects[..], [Effect::Kill { grace: Duration::ZERO, again: true, .. }]), "{effects:?}");
    assert_eq!(delete(&mut life, 30), []);
}

#[test]
fn a_container_under_way_when_the_pod_is_deleted_is_waited_for_and_stopped() {
    let mut life = Life::new(shape(RestartPolicy::Always, vec![container("app", Role::Main)]));
    life.up();
    assert_eq!(delete(&mut life, 30), [Effect::BeginStop]);
    assert_eq!(life.started(0, "c1"), [kill(0, "c1", 30, "app", true)]);
}

#[test]
fn a_pull_error_is_shown_then_its_back_off_then_tried_again() {
    let mut life = Life::new(shape(RestartPolicy::Always, vec![container("app", Role::Main)]));
    life.up();
    let failed =
        Event::StartFailed { slot: 0, reason: "ErrImagePull".into(), message: "no such host".into() };
    assert_eq!(life.on(failed), []);
    assert_eq!(life.waiting_reason(0).as_deref(), Some("ErrImagePull"));
    life.now += Duration::from_secs(2);
    assert_eq!(life.on(Event::Tick), [Effect::ReportBackOff { slot: 0, crashed: false }]);
    assert_eq!(life.waiting_reason(0).as_deref(), Some("ImagePullBackOff"));
    life.now += Duration::from_secs(8);
    assert_eq!(life.on(Event::Tick), [start(0, 0)]);
}

#[test]
fn another_image_is_tried_at_once_and_without_the_old_ones_back_off() {
    let mut life = Life::new(shape(RestartPolicy::Always, vec![container("app", Role::Main)]));
    life.up();
    let failed =
        || Event::StartFailed { slot: 0, reason: "ErrImagePull".into(), message: "no such host".into() };
    for pause in [10, 20] {
        life.on(failed());
        life.now += Duration::from_secs(2);
        assert_eq!(life.on(Event::Tick), [Effect::ReportBackOff { slot: 0, crashed: false }]);
        life.now += Duration::from_secs(pause - 2);
        assert_eq!(life.on(Event::Tick), [start(0, 0)], "after {pause} s");
    }
    life.on(failed());
    let mut other = container("app", Role::Main);
    other.image = "busybox:1".to_owned();
    let other = Arc::new(shape(RestartPolicy::Always, vec![other]));
    assert_eq!(life.on(Event::Changed { shape: other, deletion: None }), [start(0, 0)]);
    life.on(failed());
    life.now += Duration::from_secs(10);
    assert_eq!(life.on(Event::Tick), [start(0, 0)], "its own back-off begins anew");
}

#[test]
fn an_image_that_is_not_to_be_pulled_is_looked_for_again_and_again() {
    let mut life = Life::new(shape(RestartPolicy::Always, vec![container("app", Role::Main)]));
    life.up();
    for _ in 0..4 {
        let (reason, message) = ("ErrImageNeverPull".into(), "not present".into());
        assert_eq!(life.on(Event::StartFailed { slot: 0, reason, message }), []);
        life.now += Duration::from_secs(10);
        assert_eq!(life.on(Event::Tick), [start(0, 0)]);
    }
}

#[test]
fn a_dead_sandbox_takes_its_containers_along_and_everything_begins_anew() {
    let mut life = Life::new(shape(
        RestartPolicy::Always,
        vec![container("init", Role::Init), container("app", Role::Main)],
    ));
    life.up();
    life.started(0, "i1");
    life.exited("i1", 0);
    life.started(1, "c1");
    let effects = life.on(Event::SandboxDied { id: "s".into() });
    assert!(matches!(&effects[..], [Effect::StopProbes { .. }, Effect::Kill { .. }]), "{effects:?}");
    let effects = life.exited("c1", 137);
    assert!(effects.contains(&Effect::RemoveSandbox { id: "s".into() }), "{effects:?}");
    assert_eq!(life.on(Event::SandboxReleased), [Effect::RunSandbox { attempt: 1 }]);
    let ready = SandboxInfo { id: "s2".into(), ips: Vec::new(), attempt: 1 };
    assert_eq!(life.on(Event::SandboxReady(ready)), [start(0, 0)], "the init container runs again");
}

#[test]
fn what_a_daemon_before_left_running_is_adopted_and_not_restarted() {
    let mut app = container("app", Role::Main);
    app.readiness = true;
    let mut life = Life::new(shape(RestartPolicy::Always, vec![container("init", Role::Init), app]));
    let live = Live {
        id: "c7".into(),
        image_id: "i".into(),
        started_at: life.now,
        hooked: true,
        started: true,
        ready: true,
    };
    let adopted = Adopted {
        sandbox: Some(SandboxInfo { id: "s".into(), ips: Vec::new(), attempt: 2 }),
        sandbox_attempt: Some(2),
        containers: vec![AdoptedContainer {
            name: "app".into(),
            restarts: 4,
            hash: "h1".into(),
            live: Some(live),
            exit: None,
            last: None,
            has: None,
        }],
        ..Adopted::default()
    };
    assert_eq!(life.on(Event::Adopt(adopted)), [Effect::MountVolumes]);
    assert_eq!(life.condition("Ready"), "True");
    let effects = life.on(Event::VolumesReady);
    assert_eq!(
        effects,
        [Effect::Probe { slot: 1, id: "c7".into(), kind: ProbeKind::Readiness }],
        "neither the init container nor the app is started"
    );
    assert_eq!(life.machine.slots[1].restarts, 4);
}

#[test]
fn another_image_in_the_spec_restarts_the_container() {
    let mut life = Life::new(shape(RestartPolicy::Always, vec![container("app", Role::Main)]));
    life.up();
    life.started(0, "c1");
    let mut changed = container("app", Role::Main);
    changed.hash = "h2".into();
    let shape = Arc::new(shape(RestartPolicy::Always, vec![changed]));
    let effects = life.on(Event::Changed { shape, deletion: None });
    assert!(
        matches!(&effects[..], [Effect::StopProbes { .. }, Effect::Kill { message, .. }]
            if message == "Container app definition changed, will be restarted"),
        "{effects:?}"
    );
    assert_eq!(life.exited("c1", 0), [Effect::StopProbes { slot: 0 }, start(0, 1)]);
}

#[test]
fn the_active_deadline_ends_the_pod() {
    let mut deadline = shape(RestartPolicy::Always, vec![container("app", Role::Main)]);
    deadline.deadline = Some(Duration::from_secs(5));
    let mut life = Life::new(deadline);
    life.up();
    life.started(0, "c1");
    assert_eq!(life.machine.next_due(), Some(life.now + Duration::from_secs(5)));
    life.now += Duration::from_secs(5);
    assert_eq!(life.on(Event::Tick), [Effect::BeginStop, kill(0, "c1", 30, "app", false)]);
    life.exited("c1", 0);
    life.on(Event::SandboxReleased);
    assert_eq!(phase(&life.machine), Phase::Failed);
}

#[test]
fn what_the_node_cannot_do_is_said_and_nothing_is_started() {
    let mut refused = shape(RestartPolicy::Always, vec![container("app", Role::Main)]);
    refused.refused = Some("spec.hostUsers is not supported yet by this node".to_owned());
    let mut life = Life::new(refused);
    assert_eq!(life.on(Event::Tick), []);
    assert_eq!(life.waiting_reason(0).as_deref(), Some("NotSupported"));
    assert_eq!(delete(&mut life, 30), [Effect::BeginStop, Effect::Release]);
}

#[test]
fn a_late_start_of_a_container_that_crashed_is_not_taken_for_its_successors() {
    let mut life = Life::new(shape(RestartPolicy::Always, vec![container("app", Role::Main)]));
    life.up();
    life.on(Event::Created { slot: 0, id: "c1".into() });
    assert_eq!(life.exited("c1", 7), [Effect::StopProbes { slot: 0 }, start(0, 1)]);
    assert_eq!(life.on(Event::Started { slot: 0, id: "c1".into(), image_id: "i".into(), at: life.now }), []);
    assert_eq!(life.machine.slots[0].run, Run::Starting { id: None });
    assert_eq!(life.machine.slots[0].last.as_ref().unwrap().image_id, "i");
    life.started(0, "c2");
    assert!(matches!(&life.machine.slots[0].run, Run::Running(live) if live.id == "c2"));
}

/// The pod's shape with one more ephemeral container, in whichever place the API shows it.
fn with_ephemeral(life: &Life, name: &str, at: usize) -> Arc<PodShape> {
    let mut shape = PodShape::clone(&life.machine.shape);
    shape.containers.insert(at, container(name, Role::Ephemeral));
    Arc::new(shape)
}

#[test]
fn an_ephemeral_container_comes_to_a_pod_that_runs_and_nothing_waits_for_it() {
    let mut life = Life::new(shape(RestartPolicy::Always, vec![container("app", Role::Main)]));
    life.up();
    life.started(0, "c1");
    let shape = with_ephemeral(&life, "look", 1);
    assert_eq!(life.on(Event::Changed { shape, deletion: None }), [start(1, 0)]);
    assert_eq!(life.condition("Ready"), "True", "a debugger is no part of the pod's work");
    life.started(1, "e1");
    // Patches do not keep the order: a later one may be shown first.
    let shape = with_ephemeral(&life, "more", 1);
    assert_eq!(life.on(Event::Changed { shape, deletion: None }), [start(2, 0)]);
    let names: Vec<_> = life.machine.shape.containers.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["app", "look", "more"]);
    // It is never started again, whatever the pod's policy.
    assert_eq!(life.exited("e1", 1), [Effect::StopProbes { slot: 1 }]);
    assert_eq!(life.on(Event::Tick), []);
    assert_eq!(phase(&life.machine), Phase::Running);
    let facts = Facts { host_ips: &[], qos: "BestEffort", generation: None, conditions: &[], now: life.now };
    let status = pod_status(&life.machine, &facts);
    let shown = status.ephemeral_container_statuses.unwrap_or_default();
    assert_eq!((shown[0].name.as_str(), shown[0].ready, shown[0].started), ("look", false, None));
    let ended = shown[0].state.as_ref().and_then(|state| state.terminated.as_ref());
    assert_eq!(ended.map(|ended| ended.exit_code), Some(1));
    assert_eq!(status.container_statuses.unwrap_or_default().len(), 1);
}

#[test]
fn a_pod_that_hangs_in_its_initialisation_can_be_looked_into() {
    let containers = vec![container("first", Role::Init), container("app", Role::Main)];
    let mut life = Life::new(shape(RestartPolicy::Always, containers));
    assert_eq!(life.up(), [start(0, 0)]);
    life.started(0, "i1");
    let shape = with_ephemeral(&life, "look", 2);
    assert_eq!(life.on(Event::Changed { shape, deletion: None }), [start(2, 0)]);
    life.started(2, "e1");
    assert_eq!(life.condition("Initialized"), "False");
    assert_eq!(life.exited("i1", 0), [Effect::StopProbes { slot: 0 }, start(1, 0)]);
}

#[test]
fn a_pod_that_is_done_takes_its_ephemeral_containers_along() {
    let mut life = Life::new(shape(RestartPolicy::Never, vec![container("app", Role::Main)]));
    life.up();
    life.started(0, "c1");
    let shape = with_ephemeral(&life, "look", 1);
    life.on(Event::Changed { shape, deletion: None });
    life.started(1, "e1");
    let effects = life.exited("c1", 0);
    assert!(effects.contains(&kill(1, "e1", 30, "look", false)), "{effects:?}");
    assert_eq!(life.exited("e1", 137), [Effect::StopProbes { slot: 1 }, Effect::Release]);
    life.on(Event::SandboxReleased);
    assert_eq!(phase(&life.machine), Phase::Succeeded, "how the debugger ended is of no account");
}
