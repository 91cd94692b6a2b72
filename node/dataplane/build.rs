//! Embeds the eBPF object when `KEELSON_EBPF_OBJ` names one at build time; otherwise nothing is needed to build.
fn main() {
    println!("cargo::rustc-check-cfg=cfg(embedded_ebpf)");
    println!("cargo::rerun-if-env-changed=KEELSON_EBPF_OBJ");
    if let Some(path) = std::env::var_os("KEELSON_EBPF_OBJ") {
        let path = std::path::PathBuf::from(path);
        let packets = path.with_file_name("tc.o");
        println!("cargo::rerun-if-changed={}", path.display());
        println!("cargo::rerun-if-changed={}", packets.display());
        println!("cargo::rustc-env=KEELSON_EBPF_PACKETS_OBJ={}", packets.display());
        println!("cargo::rustc-cfg=embedded_ebpf");
    }
}
