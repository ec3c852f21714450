//! The document as Markdown. Its pictures lie beside it.

use super::document::{Block, Document, Table};
use std::fmt::Write;

/// The folder of the pictures, seen from the text.
pub(super) const PICTURES: &str = "pictures";

/// The whole text.
pub(super) fn text(document: &Document) -> String {
    let mut text = "# XPS, measured\n".to_owned();
    for section in &document.sections {
        push(&mut text, &format!("\n## {}\n", section.heading));
        for block in &section.blocks {
            text.push('\n');
            push_block(&mut text, block);
        }
    }
    text
}

fn push(text: &mut String, more: &str) {
    text.push_str(more);
}

fn push_block(text: &mut String, block: &Block) {
    match block {
        Block::Text(words) => push(text, &format!("{words}\n")),
        Block::Warning(words) => push(text, &format!("> {words}\n")),
        Block::Terms(terms) => {
            terms.iter().for_each(|(term, words)| push(text, &format!("- **{term}**: {words}\n")));
        }
        Block::Table(table) => push_table(text, table),
        Block::Plots(plots) => {
            for plot in plots {
                let file = plot.file_name();
                // The alternative is in the picture, too; here the title is enough, since the table has the figures.
                push(text, &format!("![{}]({PICTURES}/{file})\n", plot.title));
            }
        }
    }
}

fn push_table(text: &mut String, table: &Table) {
    push(text, &format!("**{}**\n\n", table.caption));
    push_line(text, &table.head);
    let rules: Vec<String> = (0..table.head.len())
        .map(|column| if column < table.words { "---" } else { "--:" }.to_owned())
        .collect();
    push_line(text, &rules);
    table.lines.iter().for_each(|line| push_line(text, line));
}

fn push_line(text: &mut String, cells: &[String]) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}
