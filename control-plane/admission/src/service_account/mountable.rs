//! Accounts that let their pods use only the secrets that they list, by an annotation that is deprecated but still obeyed.

use serde_json::Value;

use crate::plugin::{annotation, list, text};

const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

fn is_enforced(account: &Value) -> bool {
    // Go's strconv.ParseBool, which reads the annotation upstream.
    const TRUE: [&str; 6] = ["1", "t", "T", "true", "TRUE", "True"];
    annotation(account, ENFORCE).is_some_and(|value| TRUE.contains(&value))
}

/// Why what its ephemeral containers use of secrets is not allowed, if the account restricts it.
pub(super) fn check_ephemeral(account: &Value, pod: &Value) -> Result<(), String> {
    if !is_enforced(account) {
        return Ok(());
    }
    let name = text(account, "/metadata/name");
    let may_mount = |secret: &str| {
        secret.is_empty() || list(account, "/secrets").any(|item| text(item, "/name") == secret)
    };
    for container in list(pod, "/spec/ephemeralContainers") {
        check_environment("ephemeral container", container, name, may_mount)?;
    }
    Ok(())
}

/// Why the pod's use of secrets is not allowed, if the account restricts it.
pub(super) fn check(account: &Value, pod: &Value) -> Result<(), String> {
    if !is_enforced(account) {
        return Ok(());
    }
    let name = text(account, "/metadata/name");
    let listed = |field: &str, secret: &str| list(account, field).any(|item| text(item, "/name") == secret);
    let may_mount = |secret: &str| secret.is_empty() || listed("/secrets", secret);
    for volume in list(pod, "/spec/volumes") {
        let secret = text(volume, "/secret/secretName");
        if !may_mount(secret) {
            return Err(format!(
                "volume with secret.secretName={secret:?} is not allowed because service account {name} does not \
                 reference that secret"
            ));
        }
    }
    for (kind, pointer) in [("init container", "/spec/initContainers"), ("container", "/spec/containers")] {
        for container in list(pod, pointer) {
            check_environment(kind, container, name, may_mount)?;
        }
    }
    for (index, secret) in list(pod, "/spec/imagePullSecrets").enumerate() {
        let secret = text(secret, "/name");
        if !listed("/imagePullSecrets", secret) {
            return Err(format!(
                "imagePullSecrets[{index}].name={secret:?} is not allowed because service account {name} does not \
                 reference that imagePullSecret"
            ));
        }
    }
    Ok(())
}

fn check_environment(
    kind: &str,
    container: &Value,
    account: &str,
    may_mount: impl Fn(&str) -> bool,
) -> Result<(), String> {
    let own = text(container, "/name");
    for variable in list(container, "/env") {
        let secret = text(variable, "/valueFrom/secretKeyRef/name");
        if !may_mount(secret) {
            let variable = text(variable, "/name");
            return Err(format!(
                "{kind} {own} with envVar {variable} referencing secret.secretName={secret:?} is not allowed because \
                 service account {account} does not reference that secret"
            ));
        }
    }
    for source in list(container, "/envFrom") {
        let secret = text(source, "/secretRef/name");
        if !may_mount(secret) {
            return Err(format!(
                "{kind} {own} with envFrom referencing secret.secretName={secret:?} is not allowed because service \
                 account {account} does not reference that secret"
            ));
        }
    }
    Ok(())
}
