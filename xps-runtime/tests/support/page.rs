//! A sidecar's page, looked at in headless Chromium by `page.py`.
//!
//! It needs Chromium and Playwright, which `cargo xtask setup --tests` installs. Where they are missing, a test says so and passes,
//! but with `XPS_KERNEL_TESTS=1` or `CI=true`, which demand all tests.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What must show.
pub(crate) struct Expected<'a> {
    /// For the names of pictures.
    pub(crate) name: &'a str,
    /// The path.
    pub(crate) path: &'a str,
    /// Texts.
    pub(crate) texts: &'a [&'a str],
    /// A counter by the status's key, or by what a row of a table is called; it must rise while the test runs.
    pub(crate) rises: &'a str,
}

/// The browser, which looks at a page.
pub(crate) struct Browser {
    child: Child,
    words: BufReader<std::process::ChildStdout>,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Browser {
    /// Looks at the page of what listens on this port of loopback. `None` where there is no browser and none is demanded.
    pub(crate) fn look(port: u16, expected: &Expected<'_>) -> Option<Self> {
        let (python, chromium) = programs()?;
        let Expected { name, path, texts, rises } = expected;
        let expectations = serde_json::json!({ "name": name, "path": path, "texts": texts, "rises": rises });
        // Pictures are for people: XPS_PICTURES names a folder for them.
        let pictures = std::env::var("XPS_PICTURES").unwrap_or_default();
        let mut child = Command::new(python)
            .arg(workspace().join("xps-runtime/tests/support/page.py"))
            .arg(chromium)
            .arg(format!("http://127.0.0.1:{port}/"))
            .args([pictures, expectations.to_string()])
            // A browser has nothing to do with proxies here.
            .env("no_proxy", "*")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the browser starts");
        let words = BufReader::new(child.stdout.take().expect("its words"));
        Some(Self { child, words })
    }

    /// Waits until it says so; what it says instead is in the test's output.
    pub(crate) fn says(&mut self, word: &str) {
        let mut line = String::new();
        self.words.read_line(&mut line).expect("a line");
        assert_eq!(line.trim(), word, "the page is not as it should be; see above");
    }

    /// Lets it go on.
    pub(crate) fn goes_on(&mut self) {
        let stdin = self.child.stdin.as_mut().expect("its input");
        stdin.write_all(b"\n").expect("it listens");
    }

    /// Waits for its end, which must be a good one.
    pub(crate) fn ends(mut self) {
        assert!(self.child.wait().expect("its end").success());
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Python with Playwright, and Chromium.
fn programs() -> Option<(PathBuf, PathBuf)> {
    let python = workspace().join("target/xps-tools/playwright/bin/python");
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let chromium =
        std::env::split_paths(&folders).map(|folder| folder.join("chromium")).find(|path| path.is_file());
    if let (true, Some(chromium)) = (python.is_file(), chromium) {
        return Some((python, chromium));
    }
    let missing =
        "the page is looked at with Chromium and Playwright: `cargo xtask setup --tests` installs them";
    let is =
        |name: &str, values: &[&str]| std::env::var(name).is_ok_and(|value| values.contains(&value.as_str()));
    assert!(!is("XPS_KERNEL_TESTS", &["1"]) && !is("CI", &["1", "true"]), "{missing}");
    println!("SKIPPED: {missing}");
    None
}
