//! CertificateSigningRequests: approves those by which nodes get their client certificates and renew their serving ones, signs
//! what is approved for the built-in signers, and removes what is over.
//!
//! ```text
//!   a request ──▶ plan ─┬─ a node's own? ask whether its maker may ──▶ /approval
//!                       ├─ a node's serving certificate? see what it serves ──▶ /approval
//!                       ├─ approved, a signer of ours ──▶ certificate or failure ──▶ /status
//!                       └─ over for long enough ──▶ delete
//! ```
//! Other signers' requests are left alone, but for the cleaning. Approved requests wait where there is no authority's key
//! at hand.
//!
//! Rules: upstream's `pkg/controller/certificates/{approver,signer,cleaner}`, and of our own `serving`.

mod plan;
mod serving;
#[cfg(test)]
mod tests;

use crate::{ClusterCa, shared::Shared};
use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use keelson_auth::pki::{Authority, CertificateRequest};
use keelson_harness::{
    ApiError, Informer, ObjectKey, Resource, Timestamp,
    api::{CERTIFICATE_SIGNING_REQUESTS, DeleteOptions, PatchKind, chain},
    controller::{self, Next, Queue, Reconcile, ReconcileError},
    views::{CertificateSigningRequest, MetaOnly},
};
use plan::{Access, Step};
use serde_json::{Value, json};
use serving::Verdict;
use std::{sync::Arc, time::Duration};
use time::OffsetDateTime;
use tokio::sync::watch;

const REVIEWS: Resource =
    Resource::cluster("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview");

/// Why a serving certificate is approved.
const RENEWAL: &str =
    "Auto approving kubelet serving certificate: it has no name that the node does not serve now.";
/// When a node that showed no certificate is asked again.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

pub(crate) struct Certificates {
    shared: Shared,
    requests: Arc<Informer<CertificateSigningRequest>>,
    cluster_ca: watch::Receiver<ClusterCa>,
}

pub(crate) async fn run(shared: Shared, cluster_ca: watch::Receiver<ClusterCa>) {
    let requests = shared.informers.certificate_signing_requests();
    let shutdown = shared.shutdown.clone();
    let queue = Queue::<Certificates>::default();
    let q = queue.clone();
    requests.subscribe(&shutdown, move |change| {
        if change.new.is_some() {
            q.add(change.latest().metadata.key());
        }
    });
    if cluster_ca.borrow().authority.is_none() {
        tracing::info!("no authority's key: certificate signing requests are not signed");
    }
    let mut changes = cluster_ca.clone();
    let this = Arc::new(Certificates { shared, requests: requests.clone(), cluster_ca });
    if requests.synced().await {
        tokio::join!(
            controller::run(this, queue.clone(), shutdown.clone()),
            shutdown.run_until_cancelled(async {
                // What waits for a signature may get one now.
                while changes.changed().await.is_ok() {
                    requests.all().iter().for_each(|request| queue.add(request.metadata.key()));
                }
            })
        );
    }
}

impl Certificates {
    fn authority(&self) -> Option<Arc<Authority>> {
        self.cluster_ca.borrow().authority.clone()
    }

    /// May whoever made the request ask for such a certificate?
    async fn is_granted(
        &self,
        request: &CertificateSigningRequest,
        access: Access,
    ) -> Result<bool, ApiError> {
        let spec = &request.spec;
        let attributes = json!({"group": "certificates.k8s.io", "resource": "certificatesigningrequests",
                                "subresource": access.subresource(), "verb": "create"});
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": spec.username, "uid": spec.uid, "groups": spec.groups, "extra": spec.extra,
                     "resourceAttributes": attributes},
        });
        let answer: Value = self.shared.api.create(&REVIEWS, None, &review).await?;
        Ok(answer["status"]["allowed"] == Value::Bool(true))
    }

    /// Adds a condition to those that are there; the revision that was read must be the present one.
    async fn add_condition(
        &self,
        request: &CertificateSigningRequest,
        sub: &str,
        condition: Value,
    ) -> Result<(), ApiError> {
        let mut conditions = request.status.conditions.clone();
        conditions.push(condition);
        self.write(request, sub, &json!({"conditions": conditions})).await
    }

    async fn write(
        &self,
        request: &CertificateSigningRequest,
        sub: &str,
        status: &Value,
    ) -> Result<(), ApiError> {
        let (api, meta) = (&self.shared.api, &request.metadata);
        let patch = json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version}, "status": status});
        let resource = &CERTIFICATE_SIGNING_REQUESTS;
        api.patch::<MetaOnly>(resource, None, &meta.name, Some(sub), PatchKind::Merge, &patch).await.map(drop)
    }

    async fn approve(
        &self,
        request: &CertificateSigningRequest,
        ways: &[Access],
    ) -> Result<(), ReconcileError> {
        for access in ways {
            if self.is_granted(request, *access).await? {
                return Ok(self.approved(request, access.message()).await?);
            }
        }
        tracing::debug!(name = &*request.metadata.name, "a node's request whose maker may not ask for it");
        Ok(())
    }

    async fn approved(&self, request: &CertificateSigningRequest, why: &str) -> Result<(), ApiError> {
        let now = Timestamp::now();
        let condition = json!({"type": "Approved", "status": "True", "reason": "AutoApproved",
                               "message": why, "lastUpdateTime": now, "lastTransitionTime": now});
        self.add_condition(request, "approval", condition).await
    }

    /// Approves what renews. Answers when to look again, where nobody could tell.
    async fn compare(
        &self,
        request: &CertificateSigningRequest,
        wanted: &CertificateRequest,
    ) -> Result<Option<Duration>, ReconcileError> {
        let Some(authority) = self.authority() else { return Ok(None) };
        let name = &*request.metadata.name;
        match serving::look(&self.shared, &authority, request, wanted).await? {
            Verdict::Renewal => self.approved(request, RENEWAL).await?,
            Verdict::New(why) => {
                tracing::info!(name, why, "a node's request for a serving certificate is left to a person");
            }
            Verdict::Unknown(why) => {
                tracing::info!(name, why, "a node's request for a serving certificate waits");
                return Ok(Some(LOOK_AGAIN));
            }
        }
        Ok(None)
    }

    async fn sign(
        &self,
        request: &CertificateSigningRequest,
        now: OffsetDateTime,
    ) -> Result<(), ReconcileError> {
        let Some(authority) = self.authority() else { return Ok(()) };
        let wanted = match plan::certificate(request) {
            Ok(wanted) => wanted,
            Err(why) => return self.fail(request, &why).await,
        };
        let usages: Vec<&str> = request.spec.usages.iter().map(|usage| &**usage).collect();
        match authority.sign_request(&wanted, &usages, plan::lifetime(request), now) {
            Ok(pem) => Ok(self
                .write(request, "status", &json!({"certificate": BASE64_STANDARD.encode(pem)}))
                .await?),
            Err(error) => self.fail(request, &chain(&error)).await,
        }
    }

    /// What cannot be signed is said, once and for all.
    async fn fail(&self, request: &CertificateSigningRequest, why: &str) -> Result<(), ReconcileError> {
        let now = Timestamp::now();
        let condition = json!({"type": "Failed", "status": "True", "reason": "SignerValidationFailure",
                               "message": why, "lastUpdateTime": now, "lastTransitionTime": now});
        Ok(self.add_condition(request, "status", condition).await?)
    }
}

#[async_trait]
impl Reconcile for Certificates {
    type Key = ObjectKey;
    const NAME: &'static str = "certificatesigningrequest";
    const WORKERS: usize = 2;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(request) = self.requests.get(key).filter(|request| !request.metadata.is_deleting()) else {
            return Ok(Next::Wait);
        };
        let now = OffsetDateTime::now_utc();
        match plan::next(&request, now) {
            Step::Approve(ways) => self.approve(&request, &ways).await?,
            Step::Compare(wanted) => {
                if let Some(later) = self.compare(&request, &wanted).await? {
                    return Ok(Next::After(later));
                }
            }
            Step::Sign => self.sign(&request, now).await?,
            Step::Remove => {
                let options = DeleteOptions::uid(&request.metadata.uid);
                let (resource, name) = (&CERTIFICATE_SIGNING_REQUESTS, &request.metadata.name);
                self.shared.api.ensure_deleted(resource, None, name, &options).await?;
                return Ok(Next::Wait);
            }
            Step::Wait => {}
        }
        Ok(plan::over_in(&request, now).map_or(Next::Wait, Next::After))
    }
}
