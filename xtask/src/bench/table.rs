//! How results are shown to readers: a table of one line for each side that was measured.

use super::measure::Figures;
use crate::machine::Machine;

/// Room for a workload's name.
const NAME: usize = 24;

/// Prints what was measured on, with these servers, and the columns' names; `own` are those of a service alone.
pub(super) fn print_head(machine: &Machine, servers: &str, own: &[&str]) {
    print_machine(machine, servers);
    println!("{}", head(own));
}

/// Prints what was measured on, with these servers.
pub(super) fn print_machine(machine: &Machine, servers: &str) {
    println!(
        "\n{}, {} cores, Linux {}, {servers}, load before {:.2}, stolen by other guests of the host {:.1} %",
        machine.cpu, machine.cores, machine.kernel, machine.load_before, machine.stolen_percent
    );
}

/// A line of a table that has columns of its own: the row's name, the side's, and values, or what these are called.
pub(super) fn own_line(name: &str, side: &str, values: &[String]) -> String {
    let mut text = format!("{name:<NAME$} {side:<7}");
    values.iter().for_each(|value| text.push_str(&column(value)));
    text
}

/// Prints the sides of a row that were measured, each with what stands in the service's own columns. `false` if there is
/// none.
pub(super) fn print_sides<const OWN: usize>(
    mut name: &str,
    sides: &[(&str, &Option<Figures>)],
    own: impl Fn(&str, &Figures) -> [Option<String>; OWN],
) -> bool {
    let mut any = false;
    for (path, figures) in sides {
        let Some(figures) = figures else { continue };
        println!("{}", line(name, path, figures, own(path, figures)));
        (name, any) = ("", true);
    }
    any
}

/// Prints what all figures are, and what the service's own are.
pub(super) fn print_legend(own: &str) {
    println!(
        "\nMedians of alternating rounds. CPU: busy time of the whole machine by request, clients included. {own}"
    );
}

/// A line of text behind a row's name, or below it.
pub(super) fn text_line(name: &str, text: &str) -> String {
    format!("{name:<NAME$} {text}")
}

/// A ratio as it stands in a column.
pub(super) fn ratio(value: Option<f64>) -> Option<String> {
    value.map(|value| format!("{value:.2}"))
}

fn head(own: &[&str]) -> String {
    let mut text = format!(
        "{:<NAME$} {:<7} {:>10} {:>7} {:>9} {:>9} {:>9}",
        "workload", "path", "req/s", "spread", "p50 µs", "p99 µs", "CPU µs/r"
    );
    own.iter().for_each(|name| text.push_str(&column(name)));
    text
}

fn line<const OWN: usize>(name: &str, path: &str, figures: &Figures, own: [Option<String>; OWN]) -> String {
    let mut text = format!(
        "{name:<NAME$} {path:<7} {:>10.0} {:>6.0}% {:>9.1} {:>9.1} {:>9.2}",
        figures.rps,
        figures.spread * 100.0,
        figures.p50_us,
        figures.p99_us,
        figures.cpu_us_per_request,
    );
    own.into_iter().for_each(|value| text.push_str(&column(&value.unwrap_or_default())));
    text.truncate(text.trim_end().len());
    text
}

fn column(text: &str) -> String {
    format!(" {text:>9}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_below_their_names() {
        let head = head(&["flood/s", "ratio r/s"]);
        let line = line("flood", "kernel", &Figures::of(123_456.7, 80.0, 250.0), [None, ratio(Some(1.666))]);
        assert_eq!(head.chars().count(), line.chars().count(), "{head}\n{line}");
        assert!(line.starts_with("flood ") && line.ends_with(" 1.67"), "{line}");
        for (name, value) in [("req/s", "123457"), ("p50 µs", "80.0"), ("p99 µs", "250.0")] {
            let end = |text: &str, word: &str| {
                let position = text.find(word).unwrap_or_else(|| panic!("{word} in {text}"));
                text[..position + word.len()].chars().count()
            };
            assert_eq!(end(&head, name), end(&line, value), "{head}\n{line}");
        }
        assert_eq!(text_line("", "kernel").find("kernel"), line.find("kernel"));
    }
}
