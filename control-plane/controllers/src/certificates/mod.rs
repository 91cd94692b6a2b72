//! CertificateSigningRequests: approves those by which nodes get their client certificates, signs what is approved for the
//! built-in signers, and removes what is over.
//!
//! ```text
//!   a request ──▶ plan ─┬─ a node's own? ask whether its maker may ──▶ /approval
//!                       ├─ approved, a signer of ours ──▶ certificate or failure ──▶ /status
//!                       └─ over for long enough ──▶ delete
//! ```
//! Other signers' requests are left alone, but for the cleaning. Approved requests wait where there is no authority's key
//! at hand.
//!
//! Rules: upstream's `pkg/controller/certificates/{approver,signer,cleaner}`.

mod plan;
#[cfg(test)]
mod tests;

use crate::shared::Shared;
use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use keelson_auth::pki::Authority;
use keelson_harness::{
    ApiError, Informer, ObjectKey, Resource, Timestamp,
    api::{CERTIFICATE_SIGNING_REQUESTS, DeleteOptions, PatchKind, chain},
    controller::{self, Next, Queue, Reconcile, ReconcileError},
    views::{CertificateSigningRequest, MetaOnly},
};
use plan::{Access, Step};
use serde_json::{Value, json};
use std::sync::Arc;
use time::OffsetDateTime;

const REVIEWS: Resource =
    Resource::cluster("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview");

pub(crate) struct Certificates {
    shared: Shared,
    requests: Arc<Informer<CertificateSigningRequest>>,
    authority: Option<Arc<Authority>>,
}

pub(crate) async fn run(shared: Shared, authority: Option<Arc<Authority>>) {
    let requests = shared.informers.certificate_signing_requests();
    let shutdown = shared.shutdown.clone();
    let queue = Queue::<Certificates>::default();
    let q = queue.clone();
    requests.subscribe(&shutdown, move |change| {
        if change.new.is_some() {
            q.add(change.latest().metadata.key());
        }
    });
    if authority.is_none() {
        tracing::info!("no authority's key: certificate signing requests are not signed");
    }
    let this = Arc::new(Certificates { shared, requests: requests.clone(), authority });
    if requests.synced().await {
        controller::run(this, queue, shutdown).await;
    }
}

impl Certificates {
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
                let now = Timestamp::now();
                let condition = json!({"type": "Approved", "status": "True", "reason": "AutoApproved",
                                       "message": access.message(), "lastUpdateTime": now, "lastTransitionTime": now});
                return Ok(self.add_condition(request, "approval", condition).await?);
            }
        }
        tracing::debug!(name = &*request.metadata.name, "a node's request whose maker may not ask for it");
        Ok(())
    }

    async fn sign(
        &self,
        request: &CertificateSigningRequest,
        now: OffsetDateTime,
    ) -> Result<(), ReconcileError> {
        let Some(authority) = &self.authority else { return Ok(()) };
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
