//! What the gate costs a request that nothing holds up: `cargo run --release -p keelson-flow --example pass`.

use keelson_flow::{Asked, Details, FlowSchema, Gate, PriorityLevel, Target, builtin};
use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// In batches, so that being interrupted costs a few of them and not the median.
const BATCHES: usize = 2_000;
const ROUNDS: u32 = 200;

fn main() {
    let schemas =
        builtin::flow_schemas().iter().map(|object| FlowSchema::read(object).expect("built in")).collect();
    let levels = builtin::priority_levels()
        .iter()
        .map(|object| PriorityLevel::read(object).expect("built in"))
        .collect();
    let gate = Gate::new(600, Duration::from_secs(15), schemas, levels);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let groups = ["developers".to_owned(), "system:authenticated".to_owned()];
    let target =
        Target::Resource { group: "apps", resource: "deployments", subresource: "", namespace: "default" };
    // The last but one of the schemas: all others are tried before it.
    let asked = Asked { user: "jane", groups: &groups, verb: "get", target };
    let mut batches: Vec<f64> = Vec::new();
    runtime.block_on(async {
        for _ in 0..BATCHES {
            let began = Instant::now();
            for _ in 0..ROUNDS {
                black_box(gate.pass(&asked, Duration::MAX, |_| 1, Details::default).await.is_ok());
            }
            batches.push(began.elapsed().as_nanos() as f64 / f64::from(ROUNDS));
        }
    });
    batches.sort_by(f64::total_cmp);
    println!("p50 {:.0} ns, lowest {:.0} ns a request", batches[batches.len() / 2], batches[0]);
}
