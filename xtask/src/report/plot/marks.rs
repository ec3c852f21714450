//! A value of each side for each row, beside each other on one axis, with the range in which it lies.

use super::canvas::{AXIS, About, EDGE, GRID, Legend, MUTED, Stand, TEXT, draw, top};
use super::scale::{Kind, Scale, short};
use super::{Plot, Side, WIDTH};

/// Room of a row's name, and of each side below it.
const NAME: i32 = 19;
const LANE: i32 = 13;
const GAP: i32 = 9;
/// Room of the values at the right.
const VALUES: i32 = 62;

/// What is to be shown.
pub(crate) struct Marks<'a> {
    pub(crate) name: &'a str,
    pub(crate) title: &'a str,
    pub(crate) caption: &'a str,
    /// What the axis shows, and in which unit.
    pub(crate) axis: &'a str,
    pub(crate) kind: Kind,
    /// A value to which all others are compared.
    pub(crate) reference: Option<f64>,
    pub(crate) write: fn(f64) -> String,
    pub(crate) rows: Vec<Row>,
}

/// A row of the plot.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) marks: Vec<Mark>,
}

/// One side's value.
pub(crate) struct Mark {
    pub(crate) side: Side,
    /// Who the side is here.
    pub(crate) who: String,
    pub(crate) value: f64,
    /// Least and greatest of what the value is the middle of, or from the value on to a less usual one.
    pub(crate) range: Option<(f64, f64)>,
}

/// The picture; `None` if there is nothing to show.
pub(crate) fn plot(marks: &Marks<'_>) -> Option<Plot> {
    let all = || marks.rows.iter().flat_map(|row| &row.marks);
    all().next()?;
    let ends = all().flat_map(|mark| {
        let (low, high) = mark.range.unwrap_or((mark.value, mark.value));
        [mark.value, low, high]
    });
    let scale = Scale::of(marks.kind, ends.chain(marks.reference));
    let (left, right) = (EDGE + 6, WIDTH as i32 - EDGE - VALUES);
    let x = |value: f64| left + (scale.position(value) * f64::from(right - left)).round() as i32;
    let row_height = |row: &Row| NAME + LANE * row.marks.len() as i32 + GAP;
    let mut legend = Legend::new();
    all().for_each(|mark| {
        legend.entry(mark.side).or_insert_with(|| mark.who.clone());
    });
    let top = top(&legend);
    let bottom = top + marks.rows.iter().map(row_height).sum::<i32>();
    let about = About {
        name: marks.name,
        title: marks.title,
        caption: marks.caption,
        alternative: alternative(marks),
        legend: &legend,
    };
    Some(draw(about, bottom as u32 + 44, |canvas| {
        for tick in &scale.ticks {
            canvas.line(&[(x(*tick), top), (x(*tick), bottom)], GRID, 1)?;
            canvas.text(&short(*tick), (x(*tick), bottom + 12), Stand::Centre, 12.0, MUTED)?;
        }
        canvas.line(&[(left, bottom), (right, bottom)], AXIS, 1)?;
        canvas.text(marks.axis, (left, bottom + 31), Stand::Right, 12.0, MUTED)?;
        if let Some(reference) = marks.reference {
            canvas.line(&[(x(reference), top - 4), (x(reference), bottom)], TEXT, 1)?;
        }
        let mut y = top;
        for row in &marks.rows {
            canvas.text_on_ground(&row.name, (EDGE, y + 9), 12.5, TEXT)?;
            for (lane, mark) in row.marks.iter().enumerate() {
                let at = (x(mark.value), y + NAME + LANE * lane as i32 + LANE / 2);
                if let Some((low, high)) = mark.range {
                    canvas.line(&[(x(low), at.1), (x(high), at.1)], mark.side.colour(), 2)?;
                }
                mark.side.draw(&canvas.0, at)?;
                let value = (marks.write)(mark.value);
                canvas.text(&value, (WIDTH as i32 - EDGE, at.1), Stand::Left, 12.0, mark.side.colour())?;
            }
            y += row_height(row);
        }
        Ok(())
    }))
}

fn alternative(marks: &Marks<'_>) -> String {
    let write = marks.write;
    let of_mark = |mark: &Mark| {
        let range = mark
            .range
            .map_or_else(String::new, |(low, high)| format!(" ({} to {})", write(low), write(high)));
        format!("{} {}{range}", mark.who, write(mark.value))
    };
    let of_row =
        |row: &Row| format!("{}: {}", row.name, row.marks.iter().map(of_mark).collect::<Vec<_>>().join(", "));
    let rows: Vec<String> = marks.rows.iter().map(of_row).collect();
    format!("{}. {}.", marks.axis, rows.join("; "))
}
