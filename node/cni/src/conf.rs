//! CNI's own formats (specification 1.0.0): the network configuration, the result, the error.

use crate::bandwidth::Bandwidth;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{fs, io, path::Path};

/// The version that the plugin speaks; results for older ones have the same form down to 0.3.0, save `interface` indexes.
pub const CNI_VERSION: &str = "1.0.0";

/// Versions that a runtime may ask for.
pub const CNI_VERSIONS: &[&str] = &["0.3.0", "0.3.1", "0.4.0", "1.0.0"];

/// What the runtime gives the plugin on its standard input.
#[derive(Debug, Deserialize)]
pub struct NetConf {
    /// Answered in the same version.
    #[serde(rename = "cniVersion", default = "default_version")]
    pub cni_version: String,
    /// The plugin's name: ours, or `loopback`.
    #[serde(rename = "type")]
    pub plugin: String,
    /// The daemon's socket.
    pub socket: Option<String>,
    /// What the runtime adds for the plugin's capabilities.
    #[serde(rename = "runtimeConfig", default)]
    pub runtime: RuntimeConfig,
}

/// By capability.
#[derive(Debug, Default, Deserialize)]
pub struct RuntimeConfig {
    /// The bounds of the pod's bandwidth.
    pub bandwidth: Option<Bandwidth>,
}

fn default_version() -> String {
    "0.3.1".into()
}

/// A refusal as the runtime reads it.
#[derive(Debug, Serialize)]
pub struct CniError {
    /// Numbers below 100 are the specification's.
    pub code: u32,
    /// What went wrong.
    pub msg: String,
    /// More of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub details: String,
}

/// "Try again later": the daemon is away for a moment, or waits for the node's ranges.
pub const TRY_AGAIN: u32 = 11;
/// A required environment variable is missing or wrong.
pub const INVALID_ENVIRONMENT: u32 = 4;
/// The configuration cannot be decoded.
pub const DECODING: u32 = 6;
/// The version asked for is not spoken.
pub const INCOMPATIBLE_VERSION: u32 = 1;
/// The daemon refused; its reason is the message.
pub const REFUSED: u32 = 100;

/// Where the runtime looks for networks: written when the daemon can serve ADD, so that a node is not Ready before.
pub fn publish(folder: &Path, socket: &Path) -> io::Result<()> {
    let list = json!({
        "cniVersion": CNI_VERSION,
        "name": "keelson",
        "plugins": [{"type": "keelson-cni", "socket": socket, "capabilities": {"bandwidth": true}}],
    });
    fs::create_dir_all(folder)?;
    let file = folder.join("10-keelson.conflist");
    // Whole or not at all: the runtime watches the folder.
    let fresh = folder.join(".10-keelson.new");
    fs::write(&fresh, list.to_string())?;
    fs::rename(fresh, file)
}

/// A successful ADD.
pub fn add_result(version: &str, netns: &str, interface: &str, reply: &keelson_cni_agent::AddReply) -> Value {
    let is_v6 = |text: &str| text.contains(':');
    let address = |of: &keelson_cni_agent::Address| {
        let mut address = json!({"interface": 1, "address": of.address, "gateway": of.gateway});
        if version != CNI_VERSION {
            // Until 1.0.0 an address said its IP version.
            address["version"] = json!(if is_v6(&of.address) { "6" } else { "4" });
        }
        address
    };
    let route = |of: &keelson_cni_agent::Address| json!({"dst": if is_v6(&of.address) { "::/0" } else { "0.0.0.0/0" }, "gw": of.gateway});
    json!({
        "cniVersion": version,
        "interfaces": [
            {"name": reply.host_interface, "mac": reply.host_mac},
            {"name": interface, "mac": reply.mac, "sandbox": netns},
        ],
        "ips": reply.addresses.iter().map(address).collect::<Vec<_>>(),
        "routes": reply.addresses.iter().map(route).collect::<Vec<_>>(),
        "dns": {},
    })
}

/// What the loopback network answers: the daemon's ADD switches `lo` on, with the rest of the pod's links.
pub fn loopback_result(version: &str, netns: &str) -> Value {
    json!({
        "cniVersion": version,
        "interfaces": [{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": netns}],
        "ips": [],
        "dns": {},
    })
}
