//! Pictures of the figures, as SVG by plotters: the most used crate for plots, which draws SVG without a font library, a
//! browser or a script (charming needs a JavaScript engine, poloto has no logarithmic axes).
//!
//! # Layout
//! - [`side`]: who was measured, by colour and shape. [`canvas`]: what all plots have. [`scale`]: axes.
//! - [`marks`]: a value for each side of each row. [`percentiles`]: how latencies are distributed. [`sweep`]: over hit shares.

mod canvas;
pub(super) mod marks;
pub(super) mod percentiles;
pub(super) mod scale;
mod side;
pub(super) mod sweep;

pub(super) use side::Side;

use maud::{PreEscaped, html};

/// Colours by role, light and dark. plotters writes colours as attributes, which any style sheet overrides.
pub(super) const STYLE: &str = include_str!("plot.css");

/// Plots are as wide as a phone: made smaller, their words could not be read there.
const WIDTH: u32 = 400;

/// A finished picture.
pub(super) struct Plot {
    /// Of its file, and for references to it.
    pub(super) name: String,
    pub(super) title: String,
    /// What it shows, for those who look at it.
    pub(super) caption: String,
    /// What is to be seen, with all figures, for those who cannot look at it.
    pub(super) alternative: String,
    height: u32,
    body: String,
}

impl Plot {
    /// The name of its file.
    pub(super) fn file_name(&self) -> String {
        format!("{}.svg", self.name)
    }

    /// As a part of a page that has [`STYLE`].
    pub(super) fn inline(&self) -> String {
        self.svg(false)
    }

    /// As a file of its own, on a ground of its own: whoever shows it may have another than it expects.
    pub(super) fn file(&self) -> String {
        self.svg(true)
    }

    fn svg(&self, alone: bool) -> String {
        let (title, text) = (format!("{}-title", self.name), format!("{}-text", self.name));
        let xmlns = alone.then_some("http://www.w3.org/2000/svg");
        html! {
            svg.plot xmlns=[xmlns] viewBox={ "0 0 " (WIDTH) " " (self.height) }
                width=[alone.then_some(WIDTH)] height=[alone.then_some(self.height)]
                role="img" aria-labelledby=(title) aria-describedby=(text)
            {
                title id=(title) { (self.title) }
                desc id=(text) { (self.alternative) }
                @if alone {
                    style { (PreEscaped(STYLE)) "text { font-family: system-ui, sans-serif; }" }
                    rect width="100%" height="100%" rx="6" fill="#FFFFFF" {}
                }
                (PreEscaped(&self.body))
            }
        }
        .into_string()
    }
}
