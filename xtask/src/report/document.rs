//! What the report says, before it is HTML or Markdown: so that both say the same.

use super::plot::Plot;

/// All of it.
pub(super) struct Document {
    pub(super) sections: Vec<Section>,
}

/// A part with a heading.
pub(super) struct Section {
    /// For links to it.
    pub(super) name: String,
    pub(super) heading: String,
    pub(super) blocks: Vec<Block>,
}

/// One thing below another. Texts may have `code` in them.
pub(super) enum Block {
    Text(String),
    /// What is not there, or not to be relied on.
    Warning(String),
    /// What a word means.
    Terms(Vec<(String, String)>),
    Table(Table),
    Plots(Vec<Plot>),
}

/// Figures in lines.
pub(super) struct Table {
    pub(super) caption: String,
    /// The first so many columns are words, the others numbers.
    pub(super) words: usize,
    pub(super) head: Vec<String>,
    pub(super) lines: Vec<Vec<String>>,
}

impl Document {
    /// All plots.
    pub(super) fn plots(&self) -> impl Iterator<Item = &Plot> {
        self.sections.iter().flat_map(|section| &section.blocks).flat_map(|block| match block {
            Block::Plots(plots) => plots.as_slice(),
            _ => &[],
        })
    }
}

impl Table {
    /// No lines yet.
    pub(super) fn new(caption: &str, words: usize, head: &[&str]) -> Self {
        let head = head.iter().map(|name| (*name).to_owned()).collect();
        Self { caption: caption.to_owned(), words, head, lines: Vec::new() }
    }

    /// Adds a line of as many cells as there are columns.
    pub(super) fn line(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().collect();
        debug_assert_eq!(cells.len(), self.head.len(), "{cells:?}");
        self.lines.push(cells);
    }
}

/// A text in parts, and whether each is code.
pub(super) fn parts(text: &str) -> impl Iterator<Item = (bool, &str)> {
    text.split('`')
        .enumerate()
        .map(|(index, part)| (index % 2 == 1, part))
        .filter(|(_, part)| !part.is_empty())
}

/// What stands in a cell that has no figure.
pub(super) const NONE: &str = "–";
