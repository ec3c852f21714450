//! How latencies are distributed: which share of the requests is answered in which time.

use super::canvas::{AXIS, About, EDGE, GRID, Legend, MUTED, Stand, draw, top};
use super::scale::{Kind, Scale, short};
use super::{Plot, Side, WIDTH};
use crate::bench::quantiles::share;

const HEIGHT: i32 = 220;
/// Room of the latencies at the left.
const LATENCIES: i32 = 40;
/// The shares that are named.
const NAMED: [(f64, &str); 6] =
    [(0.0, "least"), (0.5, "50 %"), (0.75, "75 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %")];

/// Latencies of one side, in µs: see `bench::quantiles`.
pub(crate) struct Curve<'a> {
    pub(crate) side: Side,
    pub(crate) who: String,
    pub(crate) quantiles_us: &'a [f64],
}

/// The picture; `None` if nobody has latencies.
pub(crate) fn plot(name: &str, title: &str, caption: &str, curves: &[Curve<'_>]) -> Option<Plot> {
    let steps = curves.iter().map(|curve| curve.quantiles_us.len()).max().filter(|steps| *steps > 1)?;
    let latencies = curves.iter().flat_map(|curve| curve.quantiles_us.iter().copied());
    let scale = Scale::of(Kind::Logarithmic, latencies);
    let legend: Legend = curves.iter().map(|curve| (curve.side, curve.who.clone())).collect();
    let top = top(&legend);
    let (left, right, bottom) = (EDGE + LATENCIES, WIDTH as i32 - EDGE - 14, top + HEIGHT);
    // Each halving of what is left takes as much room.
    let x = |halvings: f64| left + (halvings / (steps - 1) as f64 * f64::from(right - left)).round() as i32;
    let y = |us: f64| bottom - (scale.position(us) * f64::from(HEIGHT)).round() as i32;
    let about = About { name, title, caption, alternative: alternative(curves), legend: &legend };
    Some(draw(about, bottom as u32 + 44, |canvas| {
        for tick in &scale.ticks {
            canvas.line(&[(left, y(*tick)), (right, y(*tick))], GRID, 1)?;
            canvas.text(&short(*tick), (left - 6, y(*tick)), Stand::Left, 12.0, MUTED)?;
        }
        for (share, name) in NAMED {
            let halvings = -(1.0 - share).log2();
            if halvings <= (steps - 1) as f64 {
                canvas.line(&[(x(halvings), top), (x(halvings), bottom)], GRID, 1)?;
                canvas.text(name, (x(halvings), bottom + 12), Stand::Centre, 12.0, MUTED)?;
            }
        }
        canvas.line(&[(left, bottom), (right, bottom)], AXIS, 1)?;
        canvas.text(
            "share of requests that are answered in so many µs",
            (left, bottom + 31),
            Stand::Right,
            12.0,
            MUTED,
        )?;
        for curve in curves {
            let points: Vec<(i32, i32)> =
                curve.quantiles_us.iter().enumerate().map(|(step, us)| (x(step as f64), y(*us))).collect();
            canvas.line(&points, curve.side.colour(), 2)?;
            points.iter().try_for_each(|point| curve.side.draw(&canvas.0, *point))?;
        }
        Ok(())
    }))
}

fn alternative(curves: &[Curve<'_>]) -> String {
    let of_curve = |curve: &Curve<'_>| {
        let latency = |(step, us): (usize, &f64)| format!("{:.1} % within {us:.1} µs", share(step) * 100.0);
        let latencies: Vec<String> = curve.quantiles_us.iter().enumerate().skip(1).map(latency).collect();
        format!("{}: {}", curve.who, latencies.join(", "))
    };
    let curves: Vec<String> = curves.iter().map(of_curve).collect();
    format!("Shares of requests answered. {}.", curves.join("; "))
}
