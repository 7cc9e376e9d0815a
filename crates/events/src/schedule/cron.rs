//! AWS's six-field cron expressions, translated into croner's language: minutes, hours, day of month, month, day of
//! week, year.
//!
//! They differ in the numbers of weekdays (AWS counts from Sunday = 1), in `L` as a weekday (Saturday), and in `?`:
//! exactly one of the two day fields has it, so that they never contradict. Everything here is about the calendar;
//! time zones are `timing`'s.
//!
//! Source: <https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#cron-based>.

use chrono::{DateTime, Datelike, NaiveDateTime, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// The years that an expression may name.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=2199;
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
/// More than any expression needs; parsing must not be fed books.
const EXPRESSION_BYTES_MAX: usize = 256;

/// Which moments of a calendar an expression names.
#[derive(Debug, Clone)]
pub(super) struct Calendar(Cron);

impl Calendar {
    /// Reads what stands between `cron(` and `)`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(format!("it is longer than {EXPRESSION_BYTES_MAX} bytes"));
        }
        let upper = text.to_ascii_uppercase();
        let fields: Vec<&str> = upper.split_ascii_whitespace().collect();
        let [minutes, hours, day, month, weekday, year] = fields[..] else {
            let count = fields.len();
            return Err(format!(
                "it has {count} fields; there are six: minutes hours day-of-month month day-of-week year"
            ));
        };
        match (day.contains('?'), weekday.contains('?')) {
            (true, true) => return Err("only one of day-of-month and day-of-week can be `?`".to_owned()),
            (false, false) => return Err("one of day-of-month and day-of-week must be `?`".to_owned()),
            _ if day.len() > 1 && day.contains('?') || weekday.len() > 1 && weekday.contains('?') => {
                return Err("`?` stands alone".to_owned());
            }
            _ => {}
        }
        for field in [minutes, hours, day, month, weekday, year] {
            if field.split(',').any(str::is_empty) {
                return Err(format!("`{field}` has an empty item"));
            }
        }
        check_years(year)?;
        let weekday = translate_weekdays(weekday)?;
        let pattern = format!("0 {minutes} {hours} {day} {month} {weekday} {year}");
        let parser = CronParser::builder()
            .seconds(Seconds::Required)
            .year(Year::Required)
            // `0/15`: AWS lets a step start anywhere.
            .sloppy_ranges(true)
            .build();
        let cron = parser.parse(&pattern).map_err(|error| error.to_string())?;
        Ok(Self(cron))
    }

    /// The first moment behind `after`, on the wall clock that `after` was read from.
    pub(super) fn next_after(&self, after: NaiveDateTime) -> Option<NaiveDateTime> {
        // The search is over a calendar without time zones, which UTC is.
        let after: DateTime<Utc> = after.and_utc();
        let next = self.0.find_next_occurrence(&after, false).ok()?;
        YEARS.contains(&next.year()).then(|| next.naive_utc())
    }
}

fn check_years(field: &str) -> Result<(), String> {
    let outside = |number: &str| number.parse::<i32>().is_ok_and(|year| !YEARS.contains(&year));
    let years = field.split(',').flat_map(|item| {
        let range = item.split('/').next().unwrap_or(item);
        range.split('-')
    });
    match years.into_iter().find(|year| outside(year)) {
        Some(year) => Err(format!("the year {year} is not between 1970 and 2199")),
        None => Ok(()),
    }
}

/// Writes AWS's weekdays as croner's: a list of numbers from Sunday = 0, each with its `#n` or `L`.
fn translate_weekdays(field: &str) -> Result<String, String> {
    if field == "*" || field == "?" {
        return Ok("*".to_owned());
    }
    let mut items = Vec::new();
    for item in field.split(',') {
        if item == "L" {
            items.push("6".to_owned());
        } else if let Some((weekday, nth)) = item.split_once('#') {
            items.push(format!("{}#{nth}", weekday_number(weekday)?));
        } else if let Some(weekday) = item.strip_suffix('L') {
            items.push(format!("{}#L", weekday_number(weekday)?));
        } else {
            let days = weekday_range(item)?;
            items.extend(days.into_iter().map(|day| day.to_string()));
        }
    }
    Ok(items.join(","))
}

/// `MON`, `2-6`, `FRI-MON`, `2/2`, `*/2`.
fn weekday_range(item: &str) -> Result<Vec<u8>, String> {
    let (range, step) = match item.split_once('/') {
        Some((range, step)) => match step.parse::<u8>() {
            Ok(step @ 1..=7) => (range, step),
            _ => return Err(format!("`{item}` has a step that is not 1 to 7")),
        },
        None => (item, 1),
    };
    let has_step = item.contains('/');
    let (first, last) = match range.split_once('-') {
        Some((first, last)) => (weekday_number(first)?, weekday_number(last)?),
        None if range == "*" => (0, 6),
        None if has_step => (weekday_number(range)?, 6),
        None => {
            let day = weekday_number(range)?;
            (day, day)
        }
    };
    // A range may go over the end of the week.
    let length = (last + 7 - first) % 7;
    Ok((0..=length)
        .step_by(usize::from(step))
        .map(|offset| (first + offset) % 7)
        .collect())
}

fn weekday_number(text: &str) -> Result<u8, String> {
    if let Some(position) = WEEKDAYS.iter().position(|name| *name == text) {
        return Ok(u8::try_from(position).expect("seven of them"));
    }
    match text.parse::<u8>() {
        Ok(number @ 1..=7) if text.len() == 1 => Ok(number - 1),
        _ => Err(format!(
            "`{text}` is not a weekday: use 1 (Sunday) to 7, or SUN to SAT"
        )),
    }
}
