//! Builds the kernel programs (package `kv-cache-ebpf`) that the agent carries in itself.

fn main() {
    xps_build::Object::new("kv-cache-ebpf", "..")
        .unstable_crates(&["kv_cache_ebpf"])
        .sources(&["build.rs", "ebpf", "fastpath/src", "fastpath/Cargo.toml"])
        .build_or_exit();
}
