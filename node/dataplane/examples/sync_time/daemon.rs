//! The whole data plane of a daemon: from an API server's lists to verified maps and attached programs.

use std::time::Instant;

use keelson_dataplane::{Config, Dataplane, PortAddresses, Talk, run};
use tokio_util::sync::CancellationToken;

use crate::{
    Result,
    api::Api,
    maps::verify,
    place::Place,
    report::{Daemon, Times, milliseconds},
    services::frontend,
};

/// Times that it is started, each on new maps and then once more on those.
const STARTS: usize = 3;

pub(crate) fn measure(services: usize) -> Result<Daemon> {
    let wanted: Vec<_> = (0..services).map(frontend).collect();
    let api = Api::of(services);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (mut first, mut again) = (Times::default(), Times::default());
    for number in 0..STARTS {
        let place = Place::new(&format!("daemon-{services}-{number}"), true)?;
        for times in [&mut first, &mut again] {
            times.add(runtime.block_on(start(&place, &api))?);
            verify(&Dataplane::open(&place.options)?, &wanted)?;
        }
    }
    Ok(Daemon { first_ms: first.figures(), again_ms: again.figures() })
}

/// Starts it, and ends it when it is ready; milliseconds.
async fn start(place: &Place, api: &Api) -> Result<f64> {
    let config = Config {
        node_name: place.options.node.clone(),
        node_ips: vec!["192.0.2.1".parse()?],
        pod_cidrs: vec![],
        port_addresses: PortAddresses::Node,
        healthz: None,
        cgroup_root: place.options.cgroup_root.clone(),
        bpffs: place.options.bpffs.clone(),
        object: place.options.object.clone(),
        packets: None,
        measure: true,
        talk: Talk::Silent,
        host_ports: false,
        policies: false,
    };
    let shutdown = CancellationToken::new();
    let begin = Instant::now();
    let handle = run(api.client(), config, shutdown.clone()).await?;
    handle.ready().await;
    let took = milliseconds(begin);
    shutdown.cancel();
    Ok(took)
}
