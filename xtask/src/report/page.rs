//! The document as one HTML page that needs nothing but itself: no script, no font, no picture of others.

use super::document::{Block, Document, Section, Table, parts};
use super::plot;
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("page.css");

/// The whole page.
pub(super) fn page(document: &Document) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "XPS, measured" }
                style { (PreEscaped(plot::STYLE)) (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "XPS, measured" }
                    nav aria-label="Sections" {
                        @for section in &document.sections { a href={ "#" (section.name) } { (section.heading) } }
                    }
                }
                main { @for section in &document.sections { (part(section)) } }
            }
        }
    }
    .into_string()
}

fn part(section: &Section) -> Markup {
    html! {
        section id=(section.name) aria-labelledby={ (section.name) "-heading" } {
            h2 id={ (section.name) "-heading" } { (section.heading) }
            @for block in &section.blocks { (shown(block)) }
        }
    }
}

fn shown(block: &Block) -> Markup {
    match block {
        Block::Text(words) => html! { p { (text(words)) } },
        Block::Warning(words) => html! { p.warning { (text(words)) } },
        Block::Terms(terms) => html! {
            dl { @for (term, words) in terms { dt { (text(term)) } dd { (text(words)) } } }
        },
        Block::Table(table) => shown_table(table),
        Block::Plots(plots) => html! {
            div.plots { @for plot in plots { figure { (PreEscaped(plot.inline())) figcaption { (text(&plot.caption)) } } } }
        },
    }
}

fn shown_table(table: &Table) -> Markup {
    let kind = |column: usize| if column < table.words { "word" } else { "number" };
    html! {
        // Wide tables are moved by themselves; the keyboard must reach them for that.
        div.table tabindex="0" role="region" aria-label=(table.caption) {
            table {
                caption { (text(&table.caption)) }
                thead { tr { @for (column, name) in table.head.iter().enumerate() { th scope="col" class=(kind(column)) { (name) } } } }
                tbody {
                    @for line in &table.lines {
                        tr.begins[!line[0].is_empty()] {
                            @for (column, cell) in line.iter().enumerate() { td class=(kind(column)) { (text(cell)) } }
                        }
                    }
                }
            }
        }
    }
}

fn text(words: &str) -> Markup {
    html! { @for (is_code, part) in parts(words) { @if is_code { code { (part) } } @else { (part) } } }
}
