//! The objects that a cluster starts with: namespaces, roles, priority classes, the Service range, the API's own Service.
//!
//! Done through the API like everybody's writes, as a member of `system:masters`. What an administrator changed stays:
//! objects are made when absent, and only the default roles are mended, by the rule of `keelson_auth::bootstrap`.

mod api;
mod authentication;
mod endpoint;
mod objects;

pub(crate) use authentication::Authorities;
pub(crate) use endpoint::{Endpoint, keep};

use anyhow::Context;
use api::Api;
use ipnet::IpNet;
use keelson_apiserver::StartStep;
use keelson_auth::bootstrap::{Reconcile, rbac_objects, reconcile};

/// Makes and mends everything; to be done before the components start. `done` is told of each step.
pub(crate) async fn run(
    client: kube::Client,
    service_cidrs: &[IpNet],
    authorities: &Authorities,
    done: impl Fn(StartStep),
) -> anyhow::Result<()> {
    let api = Api::new(client);
    for namespace in objects::namespaces() {
        api.ensure(&namespace).await?;
    }
    done(StartStep::SystemNamespaces);
    for wanted in rbac_objects() {
        mend_role(&api, &wanted).await?;
    }
    done(StartStep::BootstrapRoles);
    for class in objects::priority_classes() {
        api.ensure(&class).await?;
    }
    done(StartStep::PriorityClasses);
    publish(&api, authorities).await?;
    done(StartStep::AuthenticationInfo);
    api.ensure(&objects::service_cidr(service_cidrs)).await?;
    done(StartStep::ServiceCidr);
    Ok(())
}

/// Tells API servers behind ours whose certificates to believe, once more: they have changed.
pub(crate) async fn publish_authorities(
    client: kube::Client,
    authorities: &Authorities,
) -> anyhow::Result<()> {
    publish(&Api::new(client), authorities).await
}

async fn publish(api: &Api, authorities: &Authorities) -> anyhow::Result<()> {
    let wanted = authentication::config_map(authorities);
    match api.get(&wanted).await? {
        None => api.create(&wanted).await,
        Some(existing) => match authentication::mended(&existing, &wanted) {
            Some(mended) => api.update(&mended).await,
            None => Ok(()),
        },
    }
}

async fn mend_role(api: &Api, wanted: &serde_json::Value) -> anyhow::Result<()> {
    let existing = api.get(wanted).await?;
    match reconcile(existing.as_ref(), wanted) {
        Reconcile::UpToDate => Ok(()),
        Reconcile::Create => api.create(wanted).await,
        Reconcile::Update(mended) => api.update(&mended).await,
        Reconcile::Replace(mended) => {
            // A roleRef cannot be changed.
            api.delete(&mended).await?;
            api.create(&mended).await
        }
    }
    .with_context(|| format!("the default {} {}", wanted["kind"], wanted["metadata"]["name"]))
}
