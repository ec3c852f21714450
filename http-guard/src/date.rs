//! Dates as HTTP writes them (RFC 9110 section 5.6.7).

use std::time::{SystemTime, UNIX_EPOCH};

use http_fastpath::abi::DATE_BYTES;

const DAY_S: u64 = 24 * 3600;
/// Days of 400 years: the calendar repeats itself.
const ERA_DAYS: u64 = 146_097;
/// Days from the first of March of the year 0 to the first of January 1970.
const EPOCH_DAYS: u64 = 719_468;
/// Last second of the year 9999: longer years do not fit.
const LAST_S: u64 = 253_402_300_799;

const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
/// From March on: so the day that some years do not have is the last one.
const MONTHS: [&str; 12] =
    ["Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb"];

/// A time in seconds since 1970, such as `Sun, 06 Nov 1994 08:49:37 GMT`.
#[must_use]
pub fn of(unix_s: u64) -> [u8; DATE_BYTES] {
    let unix_s = unix_s.min(LAST_S);
    let (days, second) = (unix_s / DAY_S, unix_s % DAY_S);
    let weekday = WEEKDAYS[(days % 7) as usize];
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": civil_from_days.
    let days = days + EPOCH_DAYS;
    let (era, of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / (ERA_DAYS - 1)) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = year + era * 400 + u64::from(month >= 10);
    let month = MONTHS[month as usize];
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let text = format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT");
    let mut date = [b' '; DATE_BYTES];
    date.iter_mut().zip(text.bytes()).for_each(|(place, byte)| *place = byte);
    date
}

/// Seconds since 1970.
#[must_use]
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // `date -u -d @N '+%a, %d %b %Y %H:%M:%S GMT'`
        for (unix_s, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (LAST_S, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(std::str::from_utf8(&of(unix_s)).unwrap(), expected, "{unix_s}");
        }
    }
}
