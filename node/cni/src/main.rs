//! `keelson-cni`, the CNI plugin: reads what the runtime wants, asks the node daemon, prints what it answers.
//!
//! Installed a second time as `loopback`, it stands for the plugin of that name, which containerd asks for each pod.
#![forbid(unsafe_code)]

use keelson_cni::conf::{self, CniError, NetConf};
use keelson_cni_agent::{Attachment, cni_agent_client::CniAgentClient};
use serde_json::{Value, json};
use std::{collections::HashMap, env, io::Read, process::ExitCode, time::Duration};

/// The longest that one call may take; the runtime's own patience is longer.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    match answer() {
        Ok(Some(result)) => println!("{result}"),
        Ok(None) => {}
        Err(error) => {
            println!(
                "{}",
                json!({"cniVersion": conf::CNI_VERSION, "code": error.code, "msg": error.msg, "details": error.details})
            );
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn answer() -> Result<Option<Value>, CniError> {
    let command = variable("CNI_COMMAND")?;
    if command == "VERSION" {
        return Ok(Some(json!({"cniVersion": conf::CNI_VERSION, "supportedVersions": conf::CNI_VERSIONS})));
    }
    let conf = netconf()?;
    let attachment = attachment(&conf)?;
    match (conf.plugin.as_str(), command.as_str()) {
        ("loopback", "ADD") => Ok(Some(conf::loopback_result(&conf.cni_version, &attachment.netns))),
        ("loopback", "DEL" | "CHECK") => Ok(None),
        (_, "ADD" | "DEL" | "CHECK") => call(&command, &conf, attachment),
        _ => Err(error(
            conf::INVALID_ENVIRONMENT,
            format!("CNI_COMMAND={command} is not ADD, DEL, CHECK or VERSION"),
        )),
    }
}

fn netconf() -> Result<NetConf, CniError> {
    let mut text = String::new();
    let read = std::io::stdin().read_to_string(&mut text);
    read.map_err(|e| error(conf::DECODING, format!("reading the network configuration: {e}")))?;
    let conf: NetConf = serde_json::from_str(&text)
        .map_err(|e| error(conf::DECODING, format!("the network configuration is not valid: {e}")))?;
    if !conf::CNI_VERSIONS.contains(&conf.cni_version.as_str()) {
        let known = conf::CNI_VERSIONS.join(", ");
        let text = format!("cniVersion {} is not spoken here; these are: {known}", conf.cni_version);
        return Err(error(conf::INCOMPATIBLE_VERSION, text));
    }
    Ok(conf)
}

fn attachment(conf: &NetConf) -> Result<Attachment, CniError> {
    let args = optional("CNI_ARGS")?;
    let args: HashMap<&str, &str> = args.split(';').filter_map(|pair| pair.split_once('=')).collect();
    let arg = |name| args.get(name).copied().unwrap_or_default().to_string();
    Ok(Attachment {
        container_id: variable("CNI_CONTAINERID")?,
        // A namespace that is gone is no hindrance to DEL.
        netns: optional("CNI_NETNS")?,
        interface: variable("CNI_IFNAME")?,
        pod_namespace: arg("K8S_POD_NAMESPACE"),
        pod_name: arg("K8S_POD_NAME"),
        pod_uid: arg("K8S_POD_UID"),
        bandwidth: conf.runtime.bandwidth.map(|of| keelson_cni_agent::Bandwidth {
            ingress_rate: of.ingress_rate,
            egress_rate: of.egress_rate,
        }),
    })
}

fn call(command: &str, conf: &NetConf, attachment: Attachment) -> Result<Option<Value>, CniError> {
    let Some(socket) = &conf.socket else {
        return Err(error(
            conf::DECODING,
            "the network configuration names no `socket` of the node daemon".into(),
        ));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| error(conf::REFUSED, format!("starting: {e}")))?;
    runtime.block_on(async {
        let away = |e: tonic::transport::Error| CniError {
            code: conf::TRY_AGAIN,
            msg: format!("the node daemon does not answer on {socket}"),
            details: format!("{e:?}"),
        };
        let endpoint = tonic::transport::Endpoint::try_from(format!("unix://{socket}")).map_err(away)?;
        let mut client = CniAgentClient::new(endpoint.timeout(CALL_TIMEOUT).connect().await.map_err(away)?);
        let refused = |status: tonic::Status| {
            let later = status.code() == tonic::Code::Unavailable;
            error(if later { conf::TRY_AGAIN } else { conf::REFUSED }, status.message().to_string())
        };
        match command {
            "ADD" => {
                let (netns, interface) = (attachment.netns.clone(), attachment.interface.clone());
                let reply = client.add(attachment).await.map_err(refused)?.into_inner();
                Ok(Some(conf::add_result(&conf.cni_version, &netns, &interface, &reply)))
            }
            "DEL" => client.delete(attachment).await.map(|_| None).map_err(refused),
            _ => client.check(attachment).await.map(|_| None).map_err(refused),
        }
    })
}

fn variable(name: &str) -> Result<String, CniError> {
    env::var(name).map_err(|_| error(conf::INVALID_ENVIRONMENT, format!("the environment has no {name}")))
}

/// Empty where it is not set; one that is no text is an error.
fn optional(name: &str) -> Result<String, CniError> {
    match env::var(name) {
        Err(env::VarError::NotPresent) => Ok(String::new()),
        other => other.map_err(|e| error(conf::INVALID_ENVIRONMENT, format!("{name}: {e}"))),
    }
}

fn error(code: u32, msg: String) -> CniError {
    CniError { code, msg, details: String::new() }
}
