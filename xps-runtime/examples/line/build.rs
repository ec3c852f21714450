//! Builds the kernel programs (`src/program.rs`) that the agent carries in itself.

fn main() {
    xps_build::Object::new("xps-line", "../../..")
        .binary("xps-line-ebpf")
        .sources(&["build.rs", "src/lib.rs", "src/program.rs"])
        .build_or_exit();
}
