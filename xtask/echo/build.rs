//! Builds the kernel programs (`src/program.rs`) that the program carries in itself.

fn main() {
    xps_build::Object::new("xps-echo", "../..")
        .binary("xps-echo-ebpf")
        .unstable_crates(&["xps_echo_ebpf"])
        .sources(&["build.rs", "src/lib.rs", "src/program.rs"])
        .build_or_exit();
}
