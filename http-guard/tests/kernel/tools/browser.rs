//! Chromium loads a page with all that belongs to it.

use std::fmt::Write;

use anyhow::{Result, ensure};

use super::{judged, logged, on_both, tool, url};
use crate::lab::Lab;
use crate::until;

/// Files that belong to the page, of each of three kinds.
const EACH: usize = 10;

/// A picture of one point.
const PICTURE: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1\" height=\"1\"/>";

/// Writes the page: whatever is loaded counts itself, and the page tells how many there are.
fn write_page(lab: &Lab) -> Result<()> {
    let mut page = "<!DOCTYPE html><link rel=\"icon\" href=\"data:,\"><p id=\"told\">nothing</p>\
                    <script>let loaded = 0; function count() { loaded += 1; \
                    document.getElementById('told').textContent = loaded + ' of 30'; }</script>\n"
        .to_owned();
    for i in 0..EACH {
        lab.write_beside(&format!("www/files/{i}.css"), &format!("p {{ margin: {i}px }}\n"))?;
        lab.write_beside(&format!("www/files/{i}.js"), "count();\n")?;
        lab.write_beside(&format!("www/files/{i}.svg"), PICTURE)?;
        // Writing to a string does not fail.
        let _ = writeln!(
            page,
            "<link rel=\"stylesheet\" href=\"/files/{i}.css\" onload=\"count()\">\
             <script src=\"/files/{i}.js\"></script><img src=\"/files/{i}.svg\" onload=\"count()\">"
        );
    }
    lab.write_beside("www/files/page.html", &page)
}

#[test]
fn a_browser_loads_a_page_with_all_its_files() {
    on_both("", |lab, _| {
        write_page(lab)?;
        let folder = tempfile::tempdir()?;
        let data = format!("--user-data-dir={}", folder.path().display());
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--virtual-time-budget=60000",
            "--dump-dom",
            &data,
            &url("/files/page.html"),
        ];
        let said = tool(lab, "chromium", &arguments)?;
        ensure!(said.contains(">30 of 30<"), "{said}");
        let requests = 3 * EACH + 1;
        until("the log's last line", || Ok((logged(lab, "GET /files/")? >= requests).then_some(())))?;
        ensure!(logged(lab, " 200")? == requests, "{}", lab.access_log()?);
        judged(lab, requests as u64, 0)
    });
}
