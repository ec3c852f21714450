//! Network namespaces and the test's own BPF file system.

pub(crate) use xps_testkit::namespace::{BpfMount, Namespace, Place, remove_leftovers};
