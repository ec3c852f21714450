//! Builds the kernel programs (`src/program.rs`) that the tests install.

fn main() {
    xps_build::Object::new("xps-recorder", "../../..")
        .binary("xps-recorder-ebpf")
        .sources(&["build.rs", "src"])
        .build_or_exit();
}
