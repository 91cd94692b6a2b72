//! Generates the messages and both sides of the service.

fn main() -> std::io::Result<()> {
    tonic_prost_build::configure().compile_protos(&["proto/cni_agent.proto"], &["proto"])
}
