//! Turns `proto/runtime/v1/api.proto` into the messages and clients that `src/lib.rs` includes.

fn main() -> std::io::Result<()> {
    println!("cargo:rerun-if-changed=proto");
    tonic_prost_build::configure()
        .build_server(false)
        .compile_protos(&["proto/runtime/v1/api.proto"], &["proto"])
}
