//! The commands of the real binary that ask no sidecar.

use std::process::{Command, Output};

const RULES: &str = "[[rule]]\nname = \"admin\"\npath_prefix = \"/admin/\"\naction = \"deny\"\n";

fn http_guard(arguments: &[&str]) -> (bool, String) {
    let output: Output =
        Command::new(env!("CARGO_BIN_EXE_http-guard")).args(arguments).output().expect("http-guard runs");
    let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    (output.status.success(), said)
}

#[test]
fn a_configuration_is_checked_as_a_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("guard.toml");
    let file = path.display().to_string();
    std::fs::write(&path, RULES).expect("a file");
    assert_eq!(http_guard(&["check", "--config", &file]), (true, "OK\n".to_owned()));
    // What compiling finds out is told, too: an expression that needs too many states.
    let large = "[[rule]]\nname = \"large\"\npath_regex = '(a|b)*a(a|b){30}'\naction = \"deny\"\n";
    std::fs::write(&path, large).expect("a file");
    let (good, said) = http_guard(&["check", "--config", &file]);
    assert!(!good && said.contains("guard.toml:3: rule \"large\""), "{said}");
    std::fs::write(&path, "[nginx]\naddres = \"a:1\"\n[[rule]]\nname = \"x\"\n").expect("a file");
    let (good, said) = http_guard(&["check", "--config", &file, "--set", "limits.keys_max=0"]);
    assert!(!good);
    for part in ["did you mean \"address\"?", "rule \"x\" has no action", "limits.keys_max is \"0\""] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let (good, said) = http_guard(&["check", "--config", "/nosuch"]);
    assert!(!good && said.contains("cannot read the configuration /nosuch"), "{said}");
}

#[test]
fn a_request_is_explained() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("guard.toml");
    std::fs::write(&path, RULES).expect("a file");
    let file = path.display().to_string();
    let (good, said) =
        http_guard(&["explain", "GET /x/../admin/%61", "--from", "1.2.3.4", "--config", &file]);
    assert!(good && said.contains("path          /admin/a\n"), "{said}");
    assert!(said.ends_with("verdict       rule \"admin\" decides: it is refused with 403\n"), "{said}");
}

#[test]
fn who_asks_where_nobody_is_is_told() {
    let (good, said) = http_guard(&["status", "--admin", "127.0.0.1:1"]);
    assert!(!good && said.contains("no http-guard answers at 127.0.0.1:1"), "{said}");
}
