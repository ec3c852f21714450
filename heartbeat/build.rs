//! Builds the kernel programs (package `heartbeat-ebpf`) that the agent carries in itself.

fn main() {
    xps_build::Object::new("heartbeat-ebpf", "..")
        .unstable_crates(&["heartbeat_ebpf"])
        .sources(&["build.rs", "ebpf", "fastpath/src", "fastpath/Cargo.toml"])
        .build_or_exit();
}
