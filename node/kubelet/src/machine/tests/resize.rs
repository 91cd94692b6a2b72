//! Resizes: what is asked, given, brought to containers, and told.

use super::*;
use crate::machine::resize::{ReadBack, Refusal};

fn amounts(cpu: &str) -> Amounts {
    let limits = [("cpu".to_owned(), cpu.parse().unwrap())];
    Amounts::new(keelson_semantics::resources::ResourceRequirements {
        limits: limits.clone().into(),
        requests: limits.into(),
    })
}

fn sized(cpu: &str, generation: i64, restart_for: &[&str]) -> PodShape {
    let restart_for = restart_for.iter().map(|name| (*name).to_owned()).collect();
    let app = ContainerShape { resources: amounts(cpu), restart_for, ..container("app", Role::Main) };
    PodShape { generation: Some(generation), ..shape(RestartPolicy::OnFailure, vec![app]) }
}

impl Life {
    /// One container with this much that runs.
    fn of_size(cpu: &str, restart_for: &[&str]) -> Self {
        let mut life = Self::new(sized(cpu, 1, restart_for));
        life.up();
        life.started(0, "c1");
        assert!(!life.machine.is_resizing());
        life
    }

    fn asks(&mut self, cpu: &str, generation: i64, restart_for: &[&str]) -> Vec<Effect> {
        let shape = Arc::new(sized(cpu, generation, restart_for));
        self.on(Event::Changed { shape, deletion: None })
    }

    fn resized(&mut self, has: &str, error: Option<&str>) -> Vec<Effect> {
        let read = vec![ReadBack { slot: 0, id: "c1".into(), has: amounts(has) }];
        let cgroup = error.is_none().then(|| vec![amounts(has)]);
        self.on(Event::Resized { cgroup, read, error: error.map(str::to_owned) })
    }

    fn told(&self, kind: &str) -> Option<(String, Option<i64>)> {
        let facts =
            Facts { host_ips: &[], qos: "Guaranteed", generation: Some(9), conditions: &[], now: self.now };
        let conditions = pod_status(&self.machine, &facts).conditions.unwrap_or_default();
        let found = conditions.into_iter().find(|one| one.type_ == kind)?;
        let text = format!("{} {}", found.reason.unwrap_or_default(), found.message.unwrap_or_default());
        Some((text.trim().to_owned(), found.observed_generation))
    }
}

#[test]
fn a_running_container_gets_what_the_node_gives() {
    for (to, first) in [("2", "2"), ("500m", "1")] {
        let mut life = Life::of_size("1", &["memory"]);
        assert_eq!(life.asks(to, 2, &["memory"]), [Effect::Allocate { wanted: vec![amounts(to)] }]);
        assert_eq!(life.on(Event::Tick), [], "it is asked for once");
        assert_eq!(life.told("PodResizeInProgress"), None);
        let effects = life.on(Event::Allocated { wanted: vec![amounts(to)], refusal: None });
        let (first, last) = (vec![amounts(first)], vec![amounts(to)]);
        assert_eq!(effects, [Effect::Resize { first, slots: vec![0], last }], "the pod's cgroup covers both");
        assert_eq!(life.told("PodResizeInProgress"), Some((String::new(), Some(2))));
        let failed = life.resized("1", Some("no"));
        assert_eq!(
            (failed.as_slice(), life.told("PodResizeInProgress")),
            (&[][..], Some(("Error no".into(), Some(2))))
        );
        life.now = life.machine.next_due().expect("it is tried again");
        assert!(matches!(life.on(Event::Tick).as_slice(), [Effect::Resize { .. }]));
        assert_eq!(life.resized(to, None), []);
        assert!(!life.machine.is_resizing() && life.told("PodResizeInProgress").is_none());
        assert_eq!((life.machine.slots[0].id(), life.machine.slots[0].restarts), (Some("c1"), 0));
    }
}

#[test]
fn a_container_that_wants_it_is_restarted_for_a_resize_whatever_its_exit() {
    let mut life = Life::of_size("1", &["cpu"]);
    life.asks("500m", 2, &["cpu"]);
    let effects = life.on(Event::Allocated { wanted: vec![amounts("500m")], refusal: None });
    assert!(
        matches!(effects.as_slice(), [Effect::StopProbes { slot: 0 }, Effect::Kill { slot: 0, .. }]),
        "{effects:?}"
    );
    assert!(life.machine.is_resizing());
    let settle = Effect::Resize { first: vec![amounts("500m")], slots: vec![], last: vec![amounts("500m")] };
    let start = Effect::Start { slot: 0, restarts: 1 };
    assert_eq!(life.exited("c1", 0), [Effect::StopProbes { slot: 0 }, start, settle], "at once");
    life.started(0, "c2");
    life.on(Event::Resized { cgroup: Some(vec![amounts("500m")]), read: vec![], error: None });
    assert!(!life.machine.is_resizing());
    // Raised: the pod's cgroup makes room before.
    life.asks("2", 3, &["cpu"]);
    let effects = life.on(Event::Allocated { wanted: vec![amounts("2")], refusal: None });
    assert_eq!(
        effects,
        [Effect::Resize { first: vec![amounts("2")], slots: vec![], last: vec![amounts("2")] }]
    );
    let effects = life.on(Event::Resized { cgroup: Some(vec![amounts("2")]), read: vec![], error: None });
    assert!(matches!(effects.last(), Some(Effect::Kill { .. })), "{effects:?}");
}

#[test]
fn what_is_refused_is_told_and_asked_for_again_when_it_may_help() {
    let deferred = Some(Refusal::Deferred("no room".into()));
    let infeasible = Some(Refusal::Infeasible("never".into()));
    for (refusal, again) in [(deferred, true), (infeasible, false)] {
        let mut life = Life::of_size("1", &[]);
        life.asks("9", 2, &[]);
        let expected = match &refusal {
            Some(Refusal::Deferred(_)) => "Deferred no room",
            _ => "Infeasible never",
        };
        assert_eq!(life.on(Event::Allocated { wanted: vec![amounts("9")], refusal }), []);
        assert_eq!(life.told("PodResizePending"), Some((expected.to_owned(), Some(9))));
        assert_eq!(life.on(Event::Tick), []);
        let asked = life.on(Event::Freed);
        assert_eq!(asked.contains(&Effect::Allocate { wanted: vec![amounts("9")] }), again);
        if again {
            life.on(Event::Allocated {
                wanted: vec![amounts("9")],
                refusal: Some(Refusal::Deferred("no room".into())),
            });
        }
        assert_eq!(life.asks("1", 3, &[]), [], "what it has needs no asking");
        assert_eq!(life.told("PodResizePending"), None);
        assert_eq!(life.machine.allocated, [amounts("1")]);
    }
}

#[test]
fn a_new_daemon_goes_on_where_the_last_one_was() {
    let mut life = Life::new(sized("3", 4, &[]));
    let live = Live {
        id: "c1".into(),
        image_id: "i".into(),
        started_at: life.now,
        hooked: true,
        started: true,
        ready: true,
    };
    let found = AdoptedContainer {
        name: "app".into(),
        restarts: 0,
        hash: "h1".into(),
        live: Some(live),
        exit: None,
        last: None,
        has: Some(amounts("1")),
    };
    let adopted = Adopted {
        sandbox: Some(SandboxInfo { id: "s".into(), ips: Vec::new(), attempt: 0 }),
        containers: vec![found],
        given: [("app".to_owned(), amounts("2"))].into(),
        unsettled: true,
        ..Adopted::default()
    };
    life.on(Event::Adopt(adopted));
    let effects = life.on(Event::VolumesReady);
    let expected = [
        Effect::Allocate { wanted: vec![amounts("3")] },
        Effect::Resize { first: vec![amounts("2")], slots: vec![0], last: vec![amounts("2")] },
    ];
    assert_eq!(effects, expected, "what was given is brought, what is asked for since is asked for");
}
