//! Keeps the records of Services' addresses and ports right, and tells about what it cannot mend by Events.
//!
//! What is wrong and how it is mended is the registry's; here is when, and who is told.

use keelson_harness::{
    Api,
    api::SERVICES,
    events::{Involved, Recorder, Severity},
};
use keelson_registry::{Registry, repair::Notice};
use std::{sync::Arc, time::Duration};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

/// Upstream's interval.
const INTERVAL: Duration = Duration::from_secs(3 * 60);

/// Before the first time is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// At start and then from time to time, until `stop`. `done` is told of each time that all was looked through.
pub(crate) async fn keep(
    registry: Arc<Registry>,
    client: kube::Client,
    stop: CancellationToken,
    done: impl Fn(),
) {
    let mut pause = RETRY;
    let recorder = Recorder::start(Api::new(client), "service-repair-controller", stop.clone());
    loop {
        match registry.repair(OffsetDateTime::now_utc()).await {
            Ok(notices) => {
                notices.into_iter().for_each(|notice| tell(&recorder, notice));
                pause = INTERVAL;
                done();
            }
            Err(status) => {
                tracing::warn!(error = status.message, "the records of Services cannot be repaired now");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn tell(recorder: &Recorder, notice: Notice) {
    let involved = Involved {
        api_version: SERVICES.api_version(),
        kind: SERVICES.kind.to_string(),
        namespace: notice.namespace.into(),
        name: notice.name.into(),
        uid: notice.uid.into(),
    };
    recorder.note(involved, Severity::Warning, notice.reason, notice.message);
}
