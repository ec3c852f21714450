//! Builds the kernel programs (package `http-guard-ebpf`) that the agent carries in itself.

fn main() {
    xps_build::Object::new("http-guard-ebpf", "..")
        .unstable_crates(&["http_guard_ebpf"])
        .sources(&["build.rs", "ebpf", "fastpath/src", "fastpath/Cargo.toml"])
        .build_or_exit();
}
