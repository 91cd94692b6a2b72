//! What every controller is given.

use keelson_harness::{Api, Informers, events::Recorder};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The API, the process's informers, and when to stop.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) api: Api,
    pub(crate) informers: Arc<Informers>,
    pub(crate) shutdown: CancellationToken,
}

impl Shared {
    /// An event recorder under the controller's own name.
    pub(crate) fn recorder(&self, component: &'static str) -> Recorder {
        Recorder::start(self.api.clone(), component, self.shutdown.clone())
    }
}
