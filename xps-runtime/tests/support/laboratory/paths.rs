//! A situation as three tests: one a path, and one of the kernel path on the server's own port.

/// Makes tests `name::in_the_stack`, `name::in_place` and `name::on_the_user_path` of each `name: network, situation;`.
#[allow(unused_macros, reason = "not every test program has situations")]
macro_rules! both_paths {
    ($($(#[not_yet_in_the_stack = $reason:literal])? $name:ident: $network:expr, $situation:expr;)*) => {
        $(mod $name {
            #[allow(unused_imports, reason = "not every situation needs all")]
            use super::*;

            #[test]
            $(#[ignore = $reason])?
            fn in_the_stack() {
                crate::network::on_the_kernel_path($network, $situation);
            }

            #[test]
            $(#[ignore = $reason])?
            fn in_place() {
                crate::network::in_place($network, $situation);
            }

            #[test]
            fn on_the_user_path() {
                crate::network::on_the_user_path($network, $situation);
            }
        })*
    };
}

#[allow(unused_imports, reason = "likewise")]
pub(crate) use both_paths;
