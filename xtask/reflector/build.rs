//! Builds the kernel program (`src/program.rs`) that the agent carries in itself.

fn main() {
    xps_build::Object::new("xps-reflector", "../..")
        .binary("xps-reflector-ebpf")
        .unstable_crates(&["xps_reflector_ebpf"])
        .sources(&["build.rs", "src/lib.rs", "src/program.rs"])
        .build_or_exit();
}
