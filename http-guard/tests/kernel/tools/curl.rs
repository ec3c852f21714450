//! curl, and what it can be asked for.

use std::fmt::Write;

use anyhow::{Result, ensure};

use super::{RULES, judged, logged, on_both, tool, url};
use crate::lab::{Lab, PAGE};
use crate::until;

/// What it writes of each transfer.
const TOLD: &str = "%{http_code} %{num_connects} %{size_upload} %header{x-body}\\n";

/// Runs it, without what it says of how far it is.
fn curl(lab: &Lab, arguments: &[&str]) -> Result<String> {
    tool(lab, "curl", &[&["-sS", "--max-time", "60"], arguments].concat())
}

/// Text that does not repeat soon.
fn text(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 16);
    let mut state = 1_u64;
    while text.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // Writing to a string does not fail.
        let _ = write!(text, "{state:016x}");
    }
    text.truncate(bytes);
    text
}

#[test]
fn curl_gets_pages_and_large_files() {
    on_both(RULES, |lab, _| {
        ensure!(curl(lab, &[&url("/index.html")])? == PAGE, "another page");
        ensure!(curl(lab, &["--http1.0", &url("/index.html")])? == PAGE, "another page");
        let head = curl(lab, &["--head", &url("/index.html")])?;
        ensure!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
        let large = text(5 << 20);
        lab.write_beside("www/files/large", &large)?;
        ensure!(curl(lab, &[&url("/files/large")])? == large, "another file");
        // One connection for all of them.
        let (page, refused) = (url("/index.html"), url("/private/a"));
        let mut arguments = vec!["-w", TOLD];
        for url in [&page, &refused, &page, &page] {
            arguments.extend(["-o", "/dev/null", url]);
        }
        let told = curl(lab, &arguments)?;
        ensure!(told == "200 1 0 \n403 0 0 \n200 0 0 \n200 0 0 \n", "{told}");
        for arguments in [&["--head"][..], &["--http1.0"], &[]] {
            let arguments = [arguments, &["-o", "/dev/null", "-w", TOLD, &refused]].concat();
            let told = curl(lab, &arguments)?;
            ensure!(told == "403 1 0 \n", "{arguments:?}: {told}");
        }
        judged(lab, 7, 4)?;
        until("the log's last line", || Ok((logged(lab, " 200")? == 7).then_some(())))?;
        ensure!(!lab.access_log()?.contains("private"), "what is refused reached Nginx");
        Ok(())
    });
}

#[test]
fn curl_sends_bodies_of_all_kinds() {
    on_both(RULES, |lab, _| {
        let folder = tempfile::tempdir()?;
        let mut sent = 0;
        for bytes in [1, 1000, 300_000] {
            let file = folder.path().join("body");
            std::fs::write(&file, text(bytes))?;
            let data = format!("@{}", file.display());
            let kinds: [&[&str]; 5] = [
                &["-H", "Expect:"],
                &["-H", "Expect: 100-continue"],
                &["-H", "Transfer-Encoding: chunked", "-H", "Expect:"],
                &["-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue"],
                &["--http1.0"],
            ];
            for kind in kinds {
                let kind = [kind, &["-o", "/dev/null", "-w", TOLD, "--data-binary", &data]].concat();
                let told = curl(lab, &[&kind[..], &[&url("/up")]].concat())?;
                let words: Vec<_> = told.trim_end().split(' ').collect();
                ensure!(
                    words[..2] == ["200", "1"] && words[3].parse() == Ok(bytes),
                    "{kind:?} of {bytes}: {told}"
                );
                sent += 1;
                let told = curl(lab, &[&kind[..], &[&url("/private/up")]].concat())?;
                ensure!(told.starts_with("403 1 "), "{kind:?} of {bytes}: {told}");
            }
        }
        judged(lab, sent, sent)?;
        until("the log's last line", || Ok((logged(lab, "POST /up ")? as u64 == sent).then_some(())))?;
        ensure!(logged(lab, " 200")? as u64 == sent, "some were not served");
        ensure!(!lab.access_log()?.contains("private"), "what is refused reached Nginx");
        Ok(())
    });
}
