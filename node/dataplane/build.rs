//! Embeds the eBPF object when `KEELSON_EBPF_OBJ` names one at build time; otherwise nothing is needed to build.
fn main() {
    println!("cargo::rustc-check-cfg=cfg(embedded_ebpf)");
    println!("cargo::rerun-if-env-changed=KEELSON_EBPF_OBJ");
    if let Some(path) = std::env::var_os("KEELSON_EBPF_OBJ") {
        let path = std::path::PathBuf::from(path);
        println!("cargo::rerun-if-changed={}", path.display());
        for (file, variable) in [("tc.o", "KEELSON_EBPF_PACKETS_OBJ"), ("xdp.o", "KEELSON_EBPF_WIRE_OBJ")] {
            let beside = path.with_file_name(file);
            println!("cargo::rerun-if-changed={}", beside.display());
            println!("cargo::rustc-env={variable}={}", beside.display());
        }
        println!("cargo::rustc-cfg=embedded_ebpf");
    }
}
