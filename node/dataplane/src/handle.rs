//! What the rest of the node daemon asks the data plane.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    Dataplane, Error, MapStatus,
    packet::{Packets, PodEndpoint},
};

/// The running data plane. Cheap to clone; dropping it stops nothing.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
}

/// The data plane as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// The maps follow the API and the programs are attached.
    pub ready: bool,
    /// Why the last change could not be made; `None` when it was.
    pub error: Option<String>,
    /// The maps.
    pub maps: MapStatus,
    /// What Services ask for and do not get: namespace, name, and what, in words.
    pub unprogrammed: Vec<(String, String, Vec<String>)>,
}

/// What the follower tells its handles.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) dataplane: Mutex<Dataplane>,
    pub(crate) progress: watch::Sender<Progress>,
}

/// What has come true in the kernel.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The first whole list is in the maps and the programs are attached.
    pub(crate) ready: bool,
    pub(crate) error: Option<String>,
    pub(crate) unprogrammed: Vec<(String, String, Vec<String>)>,
    /// In how many slices each pod of this node is ready, or was when the maps last followed.
    pub(crate) ready_pods: HashMap<Box<str>, i32>,
}

impl Handle {
    /// Resolves when the maps hold what the API says and the programs are attached.
    pub async fn ready(&self) {
        self.wait(|progress| progress.ready).await;
    }

    /// Resolves when no slice gives this pod of this node as ready any more and the maps follow: new connections go
    /// elsewhere (or there is nowhere else). At once for a pod in no slice. The caller bounds the time.
    pub async fn endpoint_terminating(&self, pod_uid: &str) {
        self.wait(|progress| progress.ready && !progress.ready_pods.contains_key(pod_uid)).await;
    }

    /// Reads the status, sizes and counters from the kernel.
    pub async fn status(&self) -> Result<Status, Error> {
        let maps = self.shared.clone().blocking(|dataplane| dataplane.status()).await?;
        let progress = self.shared.progress.borrow();
        Ok(Status {
            ready: progress.ready,
            error: progress.error.clone(),
            maps,
            unprogrammed: progress.unprogrammed.clone(),
        })
    }

    /// A pod has its link: its packets take the short way from now on. Nothing without per-packet programs.
    pub async fn add_endpoint(&self, pod: PodEndpoint) -> Result<(), Error> {
        self.packets(move |packets| packets.add_endpoint(&pod)).await
    }

    /// A pod's link is about to be removed.
    pub async fn remove_endpoint(&self, pod: PodEndpoint) -> Result<(), Error> {
        self.packets(move |packets| packets.remove_endpoint(&pod)).await
    }

    /// Exactly these pods have links.
    pub async fn replace_endpoints(&self, pods: Vec<PodEndpoint>) -> Result<(), Error> {
        self.packets(move |packets| packets.replace_endpoints(&pods)).await
    }

    async fn packets(
        &self,
        act: impl FnOnce(&mut Packets) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        self.shared.clone().blocking(|dataplane| dataplane.packets().map_or(Ok(()), act)).await
    }

    async fn wait(&self, reached: impl FnMut(&Progress) -> bool) {
        // The sender lives in `shared`, which we hold: the channel cannot close.
        let _ = self.shared.progress.subscribe().wait_for(reached).await;
    }
}

impl Shared {
    /// Does something to the maps on a thread that may block.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: Arc<Self>,
        act: impl FnOnce(&mut Dataplane) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let done = tokio::task::spawn_blocking(move || act(&mut self.dataplane.lock())).await;
        done.unwrap_or_else(|e| Err(Error::Task { reason: e.to_string() }))
    }
}
