//! What all plots have: a title, a legend, words and lines.

use super::{Plot, Side, WIDTH};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::collections::BTreeMap;

/// Writing to a string does not fail; plotters' results are kept for its interface.
pub(super) type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

pub(super) const TEXT: RGBColor = RGBColor(0x1B, 0x1F, 0x23);
pub(super) const MUTED: RGBColor = RGBColor(0x59, 0x62, 0x6B);
pub(super) const AXIS: RGBColor = RGBColor(0x8C, 0x95, 0x9F);
pub(super) const GRID: RGBColor = RGBColor(0xDF, 0xE3, 0xE7);

/// Where the plot itself begins, below title and legend.
pub(super) const TOP: i32 = 62;
/// Room at the left and right edges.
pub(super) const EDGE: i32 = 10;

/// A place, from the left and from the top.
pub(super) type Pixel = (i32, i32);

/// Names of the sides that a plot has, in the order of the legend.
pub(super) type Legend = BTreeMap<Side, String>;

/// An area to draw on, in pixels.
pub(super) struct Canvas<'a>(pub(super) DrawingArea<SVGBackend<'a>, Shift>);

/// How a word stands to its point.
#[derive(Clone, Copy)]
pub(super) enum Stand {
    Right,
    Left,
    Centre,
}

impl Canvas<'_> {
    /// Words of a size in pixels.
    pub(super) fn text(
        &self,
        words: &str,
        at: Pixel,
        stand: Stand,
        size: f64,
        colour: RGBColor,
    ) -> Drawn {
        let horizontal = match stand {
            Stand::Right => HPos::Left,
            Stand::Left => HPos::Right,
            Stand::Centre => HPos::Center,
        };
        // plotters makes fonts of SVG smaller by this factor.
        let style = ("sans-serif", size * 1.24).into_text_style(&self.0).color(&colour);
        self.0.draw_text(words, &style.pos(Pos::new(horizontal, VPos::Center)), at)
    }

    /// A line through points.
    pub(super) fn line(&self, points: &[Pixel], colour: RGBColor, width: u32) -> Drawn {
        self.0.draw(&PathElement::new(points.to_vec(), colour.stroke_width(width)))
    }

    /// A line of dashes, straight down.
    pub(super) fn dashes_down(&self, x: i32, from: i32, to: i32, colour: RGBColor) -> Drawn {
        let mut y = from;
        while y < to {
            self.line(&[(x, y), (x, (y + 4).min(to))], colour, 1)?;
            y += 8;
        }
        Ok(())
    }

    fn head(&self, title: &str, legend: &Legend) -> Drawn {
        self.text(title, (EDGE, 14), Stand::Right, 15.0, TEXT)?;
        let mut x = EDGE + 6;
        for (side, name) in legend {
            side.draw(&self.0, (x, 38))?;
            self.text(name, (x + 11, 38), Stand::Right, 12.0, TEXT)?;
            // How wide words are is known to whoever shows the picture; this is wide enough for usual fonts.
            x += 30 + name.chars().count() as i32 * 13 / 2;
        }
        Ok(())
    }
}

/// What a picture is about.
pub(super) struct About<'a> {
    pub(super) name: &'a str,
    pub(super) title: &'a str,
    pub(super) caption: &'a str,
    pub(super) alternative: String,
    pub(super) legend: &'a Legend,
}

/// Draws a picture of a height.
pub(super) fn draw(about: About<'_>, height: u32, plot: impl FnOnce(&Canvas<'_>) -> Drawn) -> Plot {
    let mut svg = String::new();
    {
        let canvas = Canvas(SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area());
        let drawn = canvas.head(about.title, about.legend).and_then(|()| plot(&canvas));
        drawn.and_then(|()| canvas.0.present()).expect("writing to a string does not fail");
    }
    // The element around it is ours: it has a text alternative.
    let inner = svg.split_once('>').map_or("", |(_, rest)| rest).trim();
    let body = inner.strip_suffix("</svg>").unwrap_or(inner).trim().replace('\n', "");
    let About { name, title, caption, alternative, .. } = about;
    let (name, title, caption) = (name.to_owned(), title.to_owned(), caption.to_owned());
    Plot { name, title, caption, alternative, height, body }
}
