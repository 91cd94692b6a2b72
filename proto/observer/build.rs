//! Generates the messages and both sides of the service. The messages are JSON as well: the kubelet's HTTPS API answers with
//! them.

fn main() -> std::io::Result<()> {
    tonic_prost_build::configure()
        .type_attribute(".", "#[derive(serde::Serialize, serde::Deserialize)]")
        .type_attribute(".", "#[serde(default)]")
        .compile_protos(&["proto/observer.proto"], &["proto"])
}
