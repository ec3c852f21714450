//! Who was measured, by colour and shape: either alone is enough to tell sides apart.

use super::canvas::{Drawn, Pixel};
use plotters::coord::Shift;
use plotters::prelude::*;

/// The role of a side in a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// The server itself.
    Plain,
    /// A sidecar that said it was on the kernel path.
    Kernel,
    /// A sidecar that said it was on the user path.
    User,
    /// Somebody else's program of the same kind.
    Other,
    /// A bare program in the stack: the method's limit.
    Bare,
}

impl Side {
    /// The colours of Okabe and Ito, or near them, which all kinds of sight tell apart. The style sheet has them for dark grounds.
    pub(super) fn colour(self) -> RGBColor {
        match self {
            Self::Plain => RGBColor(0x6B, 0x75, 0x80),
            Self::Kernel => RGBColor(0x00, 0x72, 0xB2),
            Self::User => RGBColor(0xD5, 0x5E, 0x00),
            Self::Other => RGBColor(0x00, 0x7A, 0x5A),
            Self::Bare => RGBColor(0xA6, 0x45, 0x8A),
        }
    }

    /// Its shape at a point: plain is a ring, kernel a disc, user a triangle, others a square and a diamond.
    pub(super) fn draw(self, area: &DrawingArea<SVGBackend<'_>, Shift>, at: Pixel) -> Drawn {
        let (x, y) = at;
        let around =
            |points: &[(i32, i32)]| points.iter().map(|(dx, dy)| (x + dx, y + dy)).collect::<Vec<_>>();
        let filled = self.colour().filled();
        match self {
            Self::Plain => {
                area.draw(&Circle::new(at, 4, WHITE.filled()))?;
                area.draw(&Circle::new(at, 4, self.colour().stroke_width(2)))
            }
            Self::Kernel => area.draw(&Circle::new(at, 5, filled)),
            Self::User => area.draw(&Polygon::new(around(&[(0, -6), (6, 5), (-6, 5)]), filled)),
            Self::Other => area.draw(&Rectangle::new([(x - 4, y - 4), (x + 4, y + 4)], filled)),
            Self::Bare => area.draw(&Polygon::new(around(&[(0, -6), (6, 0), (0, 6), (-6, 0)]), filled)),
        }
    }
}
