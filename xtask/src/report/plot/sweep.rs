//! What a cache is worth at which share of hits, and from which on it pays.

use super::canvas::{AXIS, About, EDGE, GRID, Legend, MUTED, Stand, TEXT, draw, top};
use super::scale::{Kind, Scale, short};
use super::{Plot, Side, WIDTH};

const HEIGHT: i32 = 220;
/// Room of the ratios at the left.
const RATIOS: i32 = 34;

/// A share of hits and what came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    /// As the sidecar counted it, 0 to 1.
    pub(crate) share: f64,
    /// Rate by the plain port's.
    pub(crate) ratio: f64,
    /// Least and greatest of the rounds.
    pub(crate) range: Option<(f64, f64)>,
}

/// From which share of hits on a cache pays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum BreakEven {
    /// From this one on, by a straight line between the points beside it.
    At(f64),
    /// At every one that was measured.
    Always,
    /// At none.
    Never,
}

/// Points in the order of their shares.
pub(crate) fn break_even(points: &[Point]) -> Option<BreakEven> {
    let last_below = points.iter().rposition(|point| point.ratio < 1.0);
    let Some(below) = last_below else { return (!points.is_empty()).then_some(BreakEven::Always) };
    let Some(above) = points.get(below + 1) else { return Some(BreakEven::Never) };
    let below = points[below];
    let part = (1.0 - below.ratio) / (above.ratio - below.ratio);
    Some(BreakEven::At(below.share + part * (above.share - below.share)))
}

/// The picture of one side's points, in the order of their shares; `None` if they make no line.
pub(crate) fn plot(
    name: &str,
    title: &str,
    caption: &str,
    sides: &[(Side, String, Vec<Point>)],
) -> Option<Plot> {
    let all = || sides.iter().flat_map(|(_, _, points)| points);
    (all().count() > 1).then_some(())?;
    let highest = |point: &Point| point.range.map_or(point.ratio, |(_, high)| high);
    let scale = Scale::of(Kind::Linear, all().map(highest).chain([1.0]));
    let legend: Legend = sides.iter().map(|(side, who, _)| (*side, who.clone())).collect();
    let top = top(&legend);
    let (left, right, bottom) = (EDGE + RATIOS, WIDTH as i32 - EDGE - 14, top + HEIGHT);
    let x = |share: f64| left + (share * f64::from(right - left)).round() as i32;
    let y = |ratio: f64| bottom - (scale.position(ratio) * f64::from(HEIGHT)).round() as i32;
    let about = About { name, title, caption, alternative: alternative(sides), legend: &legend };
    Some(draw(about, bottom as u32 + 44, |canvas| {
        for tick in &scale.ticks {
            canvas.line(&[(left, y(*tick)), (right, y(*tick))], GRID, 1)?;
            canvas.text(&short(*tick), (left - 6, y(*tick)), Stand::Left, 12.0, MUTED)?;
        }
        for percent in [0, 25, 50, 75, 100] {
            let at = (x(f64::from(percent) / 100.0), bottom + 12);
            canvas.text(&format!("{percent} %"), at, Stand::Centre, 12.0, MUTED)?;
        }
        canvas.line(&[(left, bottom), (right, bottom)], AXIS, 1)?;
        canvas.line(&[(left, y(1.0)), (right, y(1.0))], TEXT, 1)?;
        canvas.text("share of GETs that hit, as counted", (left, bottom + 31), Stand::Right, 12.0, MUTED)?;
        for (index, (side, _, points)) in sides.iter().enumerate() {
            if let Some(BreakEven::At(share)) = break_even(points) {
                let words = format!("pays from {:.0} % on", share * 100.0);
                // Above the lines, one below the other, on the side where there is room.
                let at = top + 8 + 16 * index as i32;
                canvas.dashes_down(x(share), at, bottom, side.colour())?;
                let (at, stand) = match share > 0.6 {
                    true => ((x(share) - 6, at), Stand::Left),
                    false => ((x(share) + 6, at), Stand::Right),
                };
                canvas.text(&words, at, stand, 12.0, side.colour())?;
            }
            let line: Vec<(i32, i32)> = points.iter().map(|point| (x(point.share), y(point.ratio))).collect();
            canvas.line(&line, side.colour(), 2)?;
            for point in points {
                if let Some((low, high)) = point.range {
                    canvas.line(&[(x(point.share), y(low)), (x(point.share), y(high))], side.colour(), 2)?;
                }
                side.draw(&canvas.0, (x(point.share), y(point.ratio)))?;
            }
        }
        Ok(())
    }))
}

fn alternative(sides: &[(Side, String, Vec<Point>)]) -> String {
    let of_side = |(_, who, points): &(Side, String, Vec<Point>)| {
        let points: Vec<String> = points
            .iter()
            .map(|point| format!("{:.2} at {:.0} %", point.ratio, point.share * 100.0))
            .collect();
        format!("{who}: {}", points.join(", "))
    };
    let sides: Vec<String> = sides.iter().map(of_side).collect();
    format!("Rate by the plain port's, at shares of hits. {}.", sides.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(ratios: &[(f64, f64)]) -> Vec<Point> {
        ratios.iter().map(|(share, ratio)| Point { share: *share, ratio: *ratio, range: None }).collect()
    }

    #[test]
    fn breaks_even_where_the_line_crosses_one_for_the_last_time() {
        let at = |ratios: &[(f64, f64)]| break_even(&points(ratios));
        assert_eq!(at(&[(0.0, 0.5), (0.5, 1.5), (0.9, 2.0)]), Some(BreakEven::At(0.25)));
        assert_eq!(at(&[(0.0, 1.1), (0.25, 0.5), (0.75, 1.5)]), Some(BreakEven::At(0.5)));
        assert_eq!(at(&[(0.0, 1.1), (0.5, 1.2)]), Some(BreakEven::Always));
        assert_eq!(at(&[(0.0, 0.8), (0.9, 0.9)]), Some(BreakEven::Never));
        assert_eq!(at(&[]), None);
    }
}
