//! PersistentVolumeClaims: says, on each that is not bound, what is missing. There is no volume provisioner yet; a claim
//! stays Pending and whoever describes it reads why.

use crate::shared::Shared;
use async_trait::async_trait;
use keelson_harness::{
    Informer, ObjectKey,
    api::PERSISTENT_VOLUME_CLAIMS,
    controller::{self, Next, Queue, Reconcile, ReconcileError},
    events::Recorder,
    views::PersistentVolumeClaim,
};
use std::{sync::Arc, time::Duration};

/// Events expire after an hour; the reason of a Pending claim should not.
const REPEAT: Duration = Duration::from_secs(30 * 60);

pub(crate) struct Claims {
    claims: Arc<Informer<PersistentVolumeClaim>>,
    recorder: Recorder,
}

pub(crate) async fn run(shared: Shared) {
    let claims = shared.informers.persistent_volume_claims();
    let recorder = shared.recorder("persistentvolume-controller");
    let queue = Queue::<Claims>::default();
    let q = queue.clone();
    claims.subscribe(&shared.shutdown, move |change| {
        if change.old.is_none() {
            q.add(change.latest().metadata.key());
        }
    });
    if claims.synced().await {
        controller::run(Arc::new(Claims { claims, recorder }), queue, shared.shutdown).await;
    }
}

#[async_trait]
impl Reconcile for Claims {
    type Key = ObjectKey;
    const NAME: &'static str = "persistentvolumeclaim";
    const WORKERS: usize = 1;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(claim) = self.claims.get(key) else { return Ok(Next::Wait) };
        if claim.status.phase == "Bound" || claim.metadata.is_deleting() {
            return Ok(Next::Wait);
        }
        let class = match claim.spec.storage_class_name.as_deref() {
            None | Some("") => "no storage class is set".to_owned(),
            Some(class) => format!("storage class {class:?} is set"),
        };
        let message = format!(
            "no persistent volumes available for this claim and {class}; this cluster has no volume provisioner yet"
        );
        self.recorder.normal(&PERSISTENT_VOLUME_CLAIMS, &claim.metadata, "FailedBinding", message);
        Ok(Next::After(REPEAT))
    }
}
