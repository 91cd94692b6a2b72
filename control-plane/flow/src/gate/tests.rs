//! Waiting, leaving and being late, against the clock that tests stop.

use super::*;
use crate::{Target, builtin};

const QUEUE_WAIT: Duration = Duration::from_secs(15);

fn gate(total: u32) -> Arc<Gate> {
    let schemas = builtin::flow_schemas().iter().map(|o| FlowSchema::read(o).unwrap()).collect();
    let levels = builtin::priority_levels().iter().map(|o| PriorityLevel::read(o).unwrap()).collect();
    Gate::new(total, QUEUE_WAIT, schemas, levels)
}

fn details() -> Details {
    let text = str::to_owned;
    Details {
        user: text("jane"),
        verb: text("get"),
        path: text("/p"),
        namespace: text("ns"),
        name: text("n"),
        api_version: text("v1"),
        resource: text("pods"),
        subresource: String::new(),
    }
}

async fn pass(gate: &Arc<Gate>, user: &str, group: &str) -> Result<Passed, Refused> {
    pass_within(gate, user, group, Duration::MAX).await
}

async fn pass_within(
    gate: &Arc<Gate>,
    user: &str,
    group: &str,
    wait_max: Duration,
) -> Result<Passed, Refused> {
    let groups = [group.to_owned(), "system:authenticated".to_owned()];
    let target = Target::Resource { group: "", resource: "pods", subresource: "", namespace: "ns" };
    gate.pass(&Asked { user, groups: &groups, verb: "list", target }, wait_max, |_| 1, details).await
}

/// All that a user can have at once.
async fn fill(gate: &Arc<Gate>, user: &str) -> Vec<Passed> {
    let mut passed = Vec::new();
    while let Ok(seat) = tokio::time::timeout(Duration::ZERO, pass(gate, user, "g")).await {
        passed.push(seat.expect("it waits rather than being refused"));
    }
    passed
}

#[tokio::test(start_paused = true)]
async fn who_waits_goes_on_when_a_seat_comes_free() {
    let gate = gate(30);
    let mut held = fill(&gate, "flood").await;
    assert!(!held.is_empty());
    assert_eq!(held[0].class.schema.name, "global-default");
    let waiting = tokio::spawn({
        let gate = gate.clone();
        async move { pass(&gate, "modest", "g").await.map(|passed| passed.class.level.name.clone()) }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(held.pop());
    assert_eq!(waiting.await.unwrap().unwrap(), "global-default");
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_is_sent_away_and_what_is_given_up_is_not_lost() {
    let gate = gate(30);
    let held = fill(&gate, "flood").await;
    let began = tokio::time::Instant::now();
    let refused = pass(&gate, "modest", "g").await.err().expect("no seat came free");
    assert_eq!((refused.why, began.elapsed()), (Refusal::TimeOut, QUEUE_WAIT));
    let (began, second) = (tokio::time::Instant::now(), Duration::from_secs(1));
    let refused = pass_within(&gate, "modest", "g", second).await.err().expect("no seat came free");
    assert_eq!((refused.why, began.elapsed()), (Refusal::TimeOut, second), "who has less time waits less");
    let seats = held.len();
    drop(held);
    assert_eq!(fill(&gate, "other").await.len(), seats, "all seats are back, those of who left among them");
    gate.state(|State { planner, .. }| {
        assert!(planner.levels.iter().all(|level| level.seats == 0 && level.queues.waiting == 0))
    });
}

#[tokio::test]
async fn masters_pass_beside_a_flood_and_other_levels_have_their_own() {
    let gate = gate(30);
    let _held = fill(&gate, "flood").await;
    for (user, group, level) in [
        ("root", "system:masters", "exempt"),
        ("system:node:n", "system:nodes", "system"),
        ("system:kube-scheduler", "g", "workload-high"),
    ] {
        let passed = pass(&gate, user, group).await.unwrap_or_else(|refused| panic!("{user}: {refused:?}"));
        assert_eq!(passed.class.level.name, level);
    }
}

#[tokio::test]
async fn a_level_that_goes_and_comes_back_keeps_count() {
    let gate = gate(30);
    let schemas = || builtin::flow_schemas().iter().map(|o| FlowSchema::read(o).unwrap()).collect::<Vec<_>>();
    let levels = |without: &str| {
        let all = builtin::priority_levels();
        let all = all.iter().map(|o| PriorityLevel::read(o).unwrap());
        all.filter(|level| level.name != without).collect::<Vec<_>>()
    };
    let held = fill(&gate, "flood").await;
    gate.configure(schemas(), levels("global-default"));
    let passed = pass(&gate, "flood", "g").await.unwrap();
    assert_eq!(passed.class.level.name, "catch-all", "the schema's level is gone");
    gate.configure(schemas(), levels(""));
    drop((held, passed));
    gate.state(|State { planner, .. }| assert!(planner.levels.iter().all(|level| level.seats == 0)));
    assert!(!fill(&gate, "flood").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_waits_at_a_level_that_goes_is_shown_and_served() {
    let gate = gate(30);
    let schemas = builtin::flow_schemas().iter().map(|o| FlowSchema::read(o).unwrap()).collect::<Vec<_>>();
    let levels = builtin::priority_levels().into_iter().filter(|o| o["metadata"]["name"] != "global-default");
    let mut held = fill(&gate, "flood").await;
    let waiting = tokio::spawn({
        let gate = gate.clone();
        async move { pass(&gate, "modest", "g").await.map(|passed| passed.class.level.name.clone()) }
    });
    tokio::task::yield_now().await;
    let shown = gate.dump_requests(true);
    let row = shown.lines().nth(1).expect("one waits");
    assert!(row.starts_with("global-default, global-default, "), "{shown}");
    assert!(row.contains(", 0, modest, ") && row.ends_with(", jane, get, /p, ns, n, v1, pods, "), "{shown}");
    gate.configure(schemas, levels.map(|o| PriorityLevel::read(&o).unwrap()).collect());
    let quiescing = |gate: &Gate| {
        gate.dump_priority_levels()
            .lines()
            .find(|l| l.starts_with("global-default,"))
            .map(|l| l.split(", ").nth(3).unwrap().to_owned())
    };
    assert_eq!(quiescing(&gate).as_deref(), Some("true"));
    held.clear();
    assert_eq!(waiting.await.unwrap().unwrap(), "global-default");
    assert_eq!(quiescing(&gate), None);
    assert_eq!(gate.dump_requests(false).lines().count(), 1, "nobody waits");
}
