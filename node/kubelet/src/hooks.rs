//! Lifecycle hooks: postStart after a start, preStop before a stop. At least once, as upstream.
//! Rules and messages: Kubernetes documentation, "Container lifecycle hooks".

use std::time::Duration;

use k8s_openapi::api::core::v1::LifecycleHandler;

use crate::probe::{Target, http_get};

/// Longest httpGet or exec of a hook where nothing else bounds it.
const HOOK_TIMEOUT: Duration = Duration::from_secs(600);

/// Runs one hook to its end. The error is for the user.
pub(crate) async fn run(target: &Target<'_>, handler: &LifecycleHandler) -> Result<(), String> {
    if let Some(exec) = &handler.exec {
        let command = exec.command.as_deref().unwrap_or_default();
        let output = target.ctx.runtime.exec_sync(target.id, command, Duration::ZERO).await;
        return match output {
            Ok(output) if output.exit_code == 0 => Ok(()),
            Ok(output) => Err(format!(
                "Exec lifecycle hook ({command:?}) failed - error: command exited with {}, message: {:?}",
                output.exit_code,
                String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
            )),
            Err(error) => Err(format!("Exec lifecycle hook ({command:?}) failed - error: {error}")),
        };
    }
    if let Some(action) = &handler.http_get {
        let answer = tokio::time::timeout(HOOK_TIMEOUT, http_get(target, action)).await;
        let path = action.path.as_deref().unwrap_or("/");
        return match answer {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("HTTP lifecycle hook ({path}) failed - error: {error}")),
            Err(_) => Err(format!("HTTP lifecycle hook ({path}) did not answer in time")),
        };
    }
    if let Some(sleep) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(sleep.seconds.max(0).unsigned_abs())).await;
        return Ok(());
    }
    // tcpSocket is kept in the API for compatibility and does nothing upstream either.
    if handler.tcp_socket.is_some() { Ok(()) } else { Err("the hook names no handler".to_owned()) }
}
