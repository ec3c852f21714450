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

/// Where the legend begins, and how far its lines are apart.
const LEGEND: i32 = 38;
const LEGEND_LINE: i32 = 19;
/// Room at the left and right edges.
pub(super) const EDGE: i32 = 10;

/// A place, from the left and from the top.
pub(super) type Pixel = (i32, i32);

/// Names of the sides that a plot has, in the order of the legend.
pub(super) type Legend = BTreeMap<Side, String>;

/// Where the plot itself begins, below title and legend.
pub(super) fn top(legend: &Legend) -> i32 {
    places(legend).last().map_or(LEGEND, |(_, y)| *y) + 24
}

/// Where the legend's shapes are: on a line while there is room on it.
fn places(legend: &Legend) -> Vec<Pixel> {
    let (mut x, mut y) = (EDGE + 6, LEGEND);
    let place = |name: &String| {
        // How wide words are is known to whoever shows the picture; this is wide enough for usual fonts.
        let width = 20 + name.chars().count() as i32 * 13 / 2;
        if x + width > WIDTH as i32 && x > EDGE + 6 {
            (x, y) = (EDGE + 6, y + LEGEND_LINE);
        }
        let at = (x, y);
        x += width + 10;
        at
    };
    legend.values().map(place).collect()
}

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
    pub(super) fn text(&self, words: &str, at: Pixel, stand: Stand, size: f64, colour: RGBColor) -> Drawn {
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

    /// Words on a ground of their own, over what is there already.
    pub(super) fn text_on_ground(&self, words: &str, at: Pixel, size: f64, colour: RGBColor) -> Drawn {
        let (width, half) = ((words.chars().count() as f64 * size * 0.6) as i32, (size * 0.7) as i32);
        let ground = [(at.0 - 2, at.1 - half), (at.0 + width, at.1 + half)];
        self.0.draw(&Rectangle::new(ground, WHITE.filled()))?;
        self.text(words, at, Stand::Right, size, colour)
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
        for ((side, name), at) in legend.iter().zip(places(legend)) {
            side.draw(&self.0, at)?;
            self.text(name, (at.0 + 11, at.1), Stand::Right, 12.0, TEXT)?;
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
