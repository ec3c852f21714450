use super::source::{Bench, Source};
use super::*;
use crate::bench;
use html5ever::tendril::TendrilSink;
use html5ever::{ParseOpts, parse_document};
use markup5ever_rcdom::{Handle, NodeData, RcDom};
use serde_json::Value;
use std::collections::BTreeSet;

struct Folder(PathBuf);

impl Folder {
    /// With these results in it.
    fn with(name: &str, results: &[(&str, &str)]) -> (Self, Vec<PathBuf>) {
        let folder = std::env::temp_dir().join(format!("xps-report-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = |(name, text): &(&str, &str)| {
            let path = folder.join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let files = results.iter().map(file).collect();
        (Self(folder), files)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn document_of(results: &[&str]) -> Document {
    let result =
        |text: &&str| Source::Result { result: Box::new(result::Saved::parse(text).unwrap()), file: None };
    document(&results.iter().map(result).collect::<Vec<_>>())
}

fn whole_document() -> Document {
    document_of(&[&bench::kv::example(), &bench::http::example(), &bench::heartbeat::example()])
}

fn walk(node: &Handle, visit: &mut impl FnMut(&Handle)) {
    visit(node);
    node.children.borrow().iter().for_each(|child| walk(child, visit));
}

fn name(node: &Handle) -> Option<String> {
    match &node.data {
        NodeData::Element { name, .. } => Some(name.local.to_string()),
        _ => None,
    }
}

fn words(node: &Handle) -> String {
    let mut text = String::new();
    walk(node, &mut |node| {
        if let NodeData::Text { contents } = &node.data {
            text.push_str(&contents.borrow());
        }
    });
    text
}

/// Parses as a browser does; what a browser would have to repair is an error.
fn parsed(page: &str) -> Handle {
    let dom = parse_document(RcDom::default(), ParseOpts::default()).one(page);
    assert!(dom.errors.borrow().is_empty(), "{:?}", dom.errors.borrow());
    dom.document.clone()
}

/// Cells of all tables' lines below their heads.
fn lines(page: &str) -> Vec<Vec<String>> {
    let mut lines = Vec::new();
    walk(&parsed(page), &mut |node| {
        if name(node).as_deref() == Some("tr") {
            let children = node.children.borrow();
            let cells = children.iter().filter(|cell| name(cell).as_deref() == Some("td"));
            lines.push(cells.map(words).collect::<Vec<_>>());
        }
    });
    lines.retain(|line| !line.is_empty());
    lines
}

#[test]
fn the_page_is_valid_and_needs_nothing_else() {
    let page = page::page(&whole_document());
    let (mut ids, mut targets, mut pictures) = (BTreeSet::new(), BTreeSet::new(), 0);
    walk(&parsed(&page), &mut |node| {
        let NodeData::Element { name, attrs, .. } = &node.data else { return };
        let element = name.local.to_string();
        assert!(!["script", "link", "img", "iframe", "object", "base"].contains(&&*element), "{element}");
        pictures += usize::from(element == "svg");
        for attribute in attrs.borrow().iter() {
            let (key, value) = (attribute.name.local.to_string(), attribute.value.to_string());
            match key.as_str() {
                "id" => assert!(ids.insert(value.clone()), "{value} twice"),
                "href" => assert!(
                    targets.insert(value.strip_prefix('#').expect("a link inside the page").to_owned())
                ),
                "aria-labelledby" | "aria-describedby" => {
                    targets.insert(value);
                }
                _ => assert!(key != "src" && !key.starts_with("on"), "{key}"),
            }
        }
    });
    assert!(targets.is_subset(&ids), "{:?}", targets.difference(&ids));
    assert!(pictures >= 12, "{pictures}");
    assert!(!page.contains("url(") && !page.contains("@import") && !page.contains("://"));
}

#[test]
fn pictures_are_well_formed_and_say_what_they_show() {
    let document = whole_document();
    let mut names = BTreeSet::new();
    for plot in document.plots() {
        assert!(names.insert(plot.name.clone()), "{} twice", plot.name);
        let file = plot.file();
        let svg = roxmltree::Document::parse(&file).unwrap_or_else(|error| panic!("{}: {error}", plot.name));
        let text =
            |name: &str| svg.descendants().find(|node| node.has_tag_name(name)).and_then(|node| node.text());
        let namespaced = |name| {
            text(name).or_else(|| {
                svg.descendants().find(|node| node.tag_name().name() == name).and_then(|node| node.text())
            })
        };
        assert_eq!(namespaced("title"), Some(plot.title.as_str()));
        assert!(
            namespaced("desc").is_some_and(|words| words.chars().any(|char| char.is_ascii_digit())),
            "{}",
            plot.name
        );
        assert!(
            svg.descendants().flat_map(|node| node.attributes()).all(|attribute| attribute.name() != "href")
        );
    }
    for shown in README_PICTURES {
        assert!(names.contains(shown), "{shown} is among {names:?}");
    }
}

/// A number as it is written, within what rounding may take.
fn is_written(cell: &str, number: f64) -> bool {
    let percents = cell.strip_suffix(" %");
    let text = percents.unwrap_or(cell).replace(',', "");
    let number = if percents.is_some() { number * 100.0 } else { number };
    let decimals = text.split_once('.').map_or(0, |(_, decimals)| decimals.len() as i32);
    text.parse::<f64>().is_ok_and(|written| (written - number).abs() <= 0.5 * 10_f64.powi(-decimals) + 1e-9)
}

#[test]
fn figures_of_the_tables_are_those_of_the_results() {
    let servers = [("plain", 5), ("kernel", 7), ("user", 5), ("haproxy", 3)];
    let fields = ["rps", "spread", "rounds", "p50_us", "p99_us", "cpu_us_per_request"];
    let mut figures = 0;
    for text in [bench::kv::example(), bench::http::example()] {
        let lines = lines(&page::page(&document_of(&[&text])));
        let json: Value = serde_json::from_str(&text).unwrap();
        for row in json["rows"].as_array().unwrap() {
            let begin = lines
                .iter()
                .position(|line| line.len() == 11 && line[0] == row["workload"].as_str().unwrap());
            let begin = begin.unwrap_or_else(|| panic!("{} is in no table", row["workload"]));
            for (line, (side, least)) in lines[begin..].iter().zip(servers) {
                assert!(line[1].len() >= least, "{line:?}");
                for (field, cell) in fields.iter().zip(&line[2..]) {
                    let number = row[side][field].as_f64().unwrap();
                    assert!(is_written(cell, number), "{side}.{field} is {number} and {cell} in {line:?}");
                    figures += 1;
                }
                let ratio = match side {
                    "kernel" => &row["ratio_rps"],
                    "user" => &row["ratio_rps_user"],
                    _ => continue,
                };
                assert!(is_written(&line[9], ratio.as_f64().unwrap()), "{ratio} and {line:?}");
            }
        }
    }
    assert_eq!(figures, 4 * 4 * fields.len());
}

#[test]
fn figures_of_heartbeat_are_those_of_its_result() {
    let text = bench::heartbeat::example();
    let lines = lines(&page::page(&document_of(&[&text])));
    let json: Value = serde_json::from_str(&text).unwrap();
    let kinds = [
        ("reply-saturated", vec!["probes", "lost", "p50_us", "p99_us", "p999_us", "max_us"]),
        ("detect-kill", vec!["trials", "p50_ms", "min_ms", "max_ms", "bound_ms"]),
        ("false-alarms-20ms", vec!["seconds", "alarms", "alarms_per_hour"]),
    ];
    for (workload, fields) in kinds {
        let rows = json["rows"].as_array().unwrap();
        let row = rows.iter().find(|row| row["workload"] == workload).unwrap();
        let line = lines.iter().find(|line| line[0] == workload).unwrap();
        for (field, cell) in fields.iter().zip(&line[2..]) {
            assert!(is_written(cell, row["kernel"][field].as_f64().unwrap()), "{workload}.{field}: {line:?}");
        }
    }
}

#[test]
fn markdown_has_the_same_tables() {
    let document = whole_document();
    let unmarked = |cell: &str| cell.replace('`', "");
    let markdown = markdown::text(&document);
    let in_markdown: BTreeSet<Vec<String>> = markdown
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|line| line.split(" | ").map(unmarked).collect())
        .collect();
    let lines = lines(&page::page(&document));
    assert!(lines.len() > 30, "{}", lines.len());
    for line in lines {
        assert!(in_markdown.contains(&line), "{line:?}");
    }
    for plot in document.plots() {
        assert!(
            markdown.contains(&format!("]({}/{})", markdown::PICTURES, plot.file_name())),
            "{}",
            plot.name
        );
    }
}

#[test]
fn what_was_not_measured_is_named() {
    let (_folder, files) = Folder::with("missing", &[("some.json", &bench::kv::example())]);
    let sources = source::read(&files).unwrap();
    let document = document(&sources);
    for text in [words(&parsed(&page::page(&document))), markdown::text(&document).replace('`', "")] {
        for said in [
            "http-guard: not measured",
            "heartbeat: not measured",
            "bench http is missing",
            "Not measured in this run: get-hit-64B-c50-t1, get-hit-64B-c1",
            "some.json",
        ] {
            assert!(text.contains(said), "{said}");
        }
        assert!(!text.contains(&files[0].display().to_string()), "folders are nobody's business");
    }
    assert!(document.plots().all(|plot| plot.name.starts_with("kv-")));
}

#[test]
fn results_of_earlier_versions_are_read_and_lack_what_they_lack() {
    let mut json: Value = serde_json::from_str(&bench::kv::example()).unwrap();
    for key in ["bench", "command", "began", "seconds"] {
        json.as_object_mut().unwrap().remove(key);
    }
    json["machine"].as_object_mut().unwrap().remove("stolen_percent");
    for row in json["rows"].as_array_mut().unwrap() {
        for side in ["plain", "kernel", "user", "haproxy"] {
            let side = row[side].as_object_mut().unwrap();
            side.remove("quantiles_us");
            side.remove("each");
        }
    }
    let document = document_of(&[&json.to_string()]);
    let page = page::page(&document);
    assert!(page.contains("has no distributions of latencies") && page.contains("not recorded"));
    assert!(document.plots().any(|plot| plot.name == "kv-ratio"));
    assert!(document.plots().all(|plot| !plot.name.starts_with("kv-latencies")));
}

#[test]
fn a_second_result_or_none_at_all_is_an_error_that_names_the_file() {
    let kv = bench::kv::example();
    let (_folder, files) =
        Folder::with("errors", &[("one.json", &kv), ("two.json", &kv), ("three.json", "[]")]);
    let error = |files: &[PathBuf]| format!("{:#}", source::read(files).err().unwrap());
    assert!(error(&files[..2]).contains("two.json is a second result of bench kv"));
    assert!(error(&files[2..]).contains("three.json"));
}

#[test]
fn a_bench_that_cannot_be_run_is_missing_with_its_reason() {
    let reason = "`cargo xtask bench http` failed (exit status: 1)".to_owned();
    let sources = [Source::Missing { bench: Bench::Http, reason: reason.clone(), failed: true }];
    assert!(markdown::text(&document(&sources)).contains(&reason));
}

#[test]
fn all_fields_of_results_are_told_of() {
    let told = fs::read_to_string(workspace::root().join("docs/bench-results.md")).unwrap();
    fn keys(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(key, value)| {
                found.insert(key.clone());
                keys(value, found);
            }),
            Value::Array(values) => values.iter().for_each(|value| keys(value, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    for text in [bench::kv::example(), bench::http::example(), bench::heartbeat::example()] {
        keys(&serde_json::from_str(&text).unwrap(), &mut found);
    }
    let untold: Vec<&String> = found.iter().filter(|key| !told.contains(&format!("`{key}`"))).collect();
    assert!(untold.is_empty(), "docs/bench-results.md does not tell of {untold:?}");
}
