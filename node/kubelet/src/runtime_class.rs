//! A pod's RuntimeClass: the handler that runs it. Asked for when a sandbox is made, as few pods have one.

use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::{Api, Client};

/// Name of the runtime's handler for a pod; empty: the usual one. The error is for the user.
pub(crate) async fn handler(client: &Client, spec: &PodSpec) -> Result<String, String> {
    let Some(name) = spec.runtime_class_name.as_deref().filter(|name| !name.is_empty()) else {
        return Ok(String::new());
    };
    let api: Api<RuntimeClass> = Api::all(client.clone());
    match api.get_opt(name).await {
        Ok(Some(class)) => Ok(class.handler),
        Ok(None) => Err(format!("RuntimeClass {name:?} not found")),
        Err(error) => Err(format!("RuntimeClass {name:?} cannot be read: {error}")),
    }
}
