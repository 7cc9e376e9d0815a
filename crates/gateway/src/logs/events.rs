//! Lines: of one stream in both directions, and of all streams through a filter.
//!
//! A page has at most so many lines and bytes, and is found by looking at a bounded part of the log: it may be empty and
//! yet have a token behind it.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use squall_store::logs::{LogEvent, LogRecord, RecordQuery};
use squall_types::FunctionName;

use super::pattern::Pattern;
use super::token::{Between, event_id};
use super::{Answer, Call, with_next};
use crate::awsjson::JsonError;

/// The most lines of a page.
const EVENTS_MAX: usize = 10_000;
/// The most bytes of a page's lines.
const PAGE_BYTES_MAX: usize = 1024 * 1024;
/// What a line costs beside its text, as AWS counts.
const EVENT_OVERHEAD_BYTES: usize = 26;
const STREAMS_MAX: usize = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Input {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    log_stream_name: Option<String>,
    log_stream_names: Vec<String>,
    log_stream_name_prefix: Option<String>,
    start_time: Option<i64>,
    end_time: Option<i64>,
    filter_pattern: Option<String>,
    next_token: Option<String>,
    limit: Option<usize>,
    start_from_head: bool,
}

impl Input {
    fn named(&self) -> Option<&str> {
        let named = self
            .log_group_name
            .as_ref()
            .or(self.log_group_identifier.as_ref());
        named.map(String::as_str)
    }

    fn limit(&self) -> Result<usize, JsonError> {
        match self.limit.unwrap_or(EVENTS_MAX) {
            limit @ 1..=EVENTS_MAX => Ok(limit),
            limit => Err(JsonError::invalid(format!(
                "1 validation error detected: Value '{limit}' at 'limit' failed to satisfy constraint: \
                 Member must have value between 1 and {EVENTS_MAX}"
            ))),
        }
    }

    fn check_times(&self) -> Result<(), JsonError> {
        if self
            .start_time
            .zip(self.end_time)
            .is_some_and(|(start, end)| start > end)
        {
            return Err(JsonError::invalid("The start time is after the end time."));
        }
        Ok(())
    }
}

/// A line and where it is.
struct Line {
    at: Between,
    stream: Arc<str>,
    event: LogEvent,
}

/// Lines in one direction, as long as they fit a page.
struct Page {
    lines: Vec<Line>,
    /// Behind what was looked at, in the direction of the page.
    reached: Between,
    is_end: bool,
}

/// What a page is filled with.
struct Wanted<'a> {
    function: &'a FunctionName,
    from: Option<Between>,
    reverse: bool,
    since_ms: Option<i64>,
    limit: usize,
}

impl Call<'_> {
    pub(super) async fn get_events(&self) -> Answer {
        let input: Input = self.input()?;
        let function = self.function(input.named())?;
        let stream = input
            .log_stream_name
            .as_deref()
            .ok_or_else(|| JsonError::missing("logStreamName"))?;
        input.check_times()?;
        let (reverse, from) = direction(&input)?;
        let wanted = Wanted {
            function: &function,
            from,
            reverse,
            since_ms: input.start_time,
            limit: input.limit()?,
        };
        // As on AWS, what is at the end time is not in.
        let in_time = |event: &LogEvent| {
            input.start_time.is_none_or(|start| event.at_ms >= start)
                && input.end_time.is_none_or(|end| event.at_ms < end)
        };
        let mut page = self.page(&wanted, |name| name == stream, in_time).await?;
        if page.lines.is_empty() && !self.has_stream(&function, stream).await? {
            return Err(JsonError::no_stream());
        }
        if reverse {
            page.lines.reverse();
        }
        let (before, behind) = ends(&page, &wanted);
        let events = page.lines.iter().map(|line| {
            json!({ "timestamp": line.event.at_ms, "message": line.event.message, "ingestionTime": line.event.at_ms })
        });
        let events: Vec<Value> = events.collect();
        Ok(json!({
            "events": events,
            "nextForwardToken": format!("f/{}", behind.token()),
            "nextBackwardToken": format!("b/{}", before.token()),
        }))
    }

    pub(super) async fn filter_events(&self) -> Answer {
        let input: Input = self.input()?;
        let function = self.function(input.named())?;
        input.check_times()?;
        if input.log_stream_names.len() > STREAMS_MAX {
            return Err(JsonError::invalid(format!(
                "There may be at most {STREAMS_MAX} logStreamNames."
            )));
        }
        if !input.log_stream_names.is_empty() && input.log_stream_name_prefix.is_some() {
            return Err(JsonError::invalid(
                "Only one of logStreamNames and logStreamNamePrefix can be given.",
            ));
        }
        let pattern = Pattern::parse(input.filter_pattern.as_deref().unwrap_or(""))?;
        let invalid = || JsonError::invalid("The specified nextToken is invalid.");
        let token = input.next_token.as_ref();
        let wanted = Wanted {
            function: &function,
            from: token
                .map(|token| Between::read(token).ok_or_else(invalid))
                .transpose()?,
            reverse: false,
            since_ms: input.start_time,
            limit: input.limit()?,
        };
        let names: BTreeSet<&str> = input.log_stream_names.iter().map(String::as_str).collect();
        let prefix = input.log_stream_name_prefix.as_deref().unwrap_or("");
        let of_stream = |name: &str| (names.is_empty() || names.contains(name)) && name.starts_with(prefix);
        // Unlike GetLogEvents', this end time is in.
        let fits = |event: &LogEvent| {
            input.start_time.is_none_or(|start| event.at_ms >= start)
                && input.end_time.is_none_or(|end| event.at_ms <= end)
                && pattern.matches(&event.message)
        };
        let mut page = self.page(&wanted, of_stream, fits).await?;
        let next = (!page.is_end).then(|| page.reached.token());
        // Of several instances, each invocation's lines are kept together; readers want them by time.
        page.lines.sort_by_key(|line| line.event.at_ms);
        let events = page.lines.iter().map(|line| {
            json!({
                "logStreamName": line.stream,
                "timestamp": line.event.at_ms,
                "message": line.event.message,
                "ingestionTime": line.event.at_ms,
                "eventId": event_id(line.at.record, line.at.lines as usize),
            })
        });
        let events: Vec<Value> = events.collect();
        // AWS has deprecated what it searched, and answers with an empty list.
        Ok(with_next(
            json!({ "events": events, "searchedLogStreams": [] }),
            next,
        ))
    }

    /// Fills a page.
    async fn page(
        &self,
        wanted: &Wanted<'_>,
        of_stream: impl Fn(&str) -> bool + Send + Sync,
        fits: impl Fn(&LogEvent) -> bool,
    ) -> Result<Page, JsonError> {
        let after = wanted.from.and_then(|from| match wanted.reverse {
            false => from.before_record(),
            true => from.behind_record(),
        });
        let query = RecordQuery {
            function: wanted.function.clone(),
            after,
            reverse: wanted.reverse,
            since_ms: wanted.since_ms,
            // Lines that do not fit are looked at, too; the store bounds how many.
            events_max: usize::MAX,
        };
        let found = self.logs.records(query, of_stream).await?;
        let mut page = Page {
            lines: Vec::new(),
            reached: wanted.from.unwrap_or(Between::START),
            is_end: false,
        };
        let mut bytes = 0;
        for record in found.records {
            for line in in_direction(record, wanted) {
                page.reached = beside(&line, wanted.reverse);
                if !fits(&line.event) {
                    continue;
                }
                bytes += line.event.message.len() + EVENT_OVERHEAD_BYTES;
                if bytes > PAGE_BYTES_MAX && !page.lines.is_empty() {
                    page.reached = beside(&line, !wanted.reverse);
                    return Ok(page);
                }
                page.lines.push(line);
                if page.lines.len() == wanted.limit {
                    return Ok(page);
                }
            }
        }
        match found.cursor {
            Some(place) if wanted.reverse => {
                page.reached = Between {
                    record: place,
                    lines: 0,
                }
            }
            Some(place) => page.reached = Between::behind(place),
            None => page.is_end = true,
        }
        Ok(page)
    }
}

/// Which way GetLogEvents goes, and from where.
fn direction(input: &Input) -> Result<(bool, Option<Between>), JsonError> {
    let Some(token) = &input.next_token else {
        return Ok((!input.start_from_head, None));
    };
    let invalid = || JsonError::invalid("The specified nextToken is invalid.");
    let (way, place) = token.split_once('/').ok_or_else(invalid)?;
    let place = Between::read(place).ok_or_else(invalid)?;
    match way {
        "f" => Ok((false, Some(place))),
        "b" => Ok((true, Some(place))),
        _ => Err(invalid()),
    }
}

/// The lines of a record that are behind the place from which a page goes, in its direction.
fn in_direction(record: LogRecord, wanted: &Wanted<'_>) -> Vec<Line> {
    let LogRecord {
        place,
        stream,
        events,
        ..
    } = record;
    let lines = events.into_iter().zip(0_u32..).map(|(event, number)| Line {
        at: Between {
            record: place,
            lines: number,
        },
        stream: stream.clone(),
        event,
    });
    let is_behind = |line: &Line| match (wanted.from, wanted.reverse) {
        (None, _) => true,
        (Some(from), false) => line.at >= from,
        (Some(from), true) => line.at < from,
    };
    let mut lines: Vec<Line> = lines.filter(is_behind).collect();
    if wanted.reverse {
        lines.reverse();
    }
    lines
}

/// The place before a line, or behind it.
fn beside(line: &Line, before: bool) -> Between {
    Between {
        record: line.at.record,
        lines: line.at.lines + u32::from(!before),
    }
}

/// The places before and behind a page whose lines are in order. At the end of the log, where a page is empty, they are
/// where it was asked for: a token that comes back is the end.
fn ends(page: &Page, wanted: &Wanted<'_>) -> (Between, Between) {
    match (page.lines.first(), page.lines.last()) {
        (Some(first), Some(last)) => {
            let (mut before, mut behind) = (beside(first, true), beside(last, false));
            // What was looked at beyond the page's lines need not be looked at again.
            if !page.is_end && wanted.reverse {
                before = page.reached;
            } else if !page.is_end {
                behind = page.reached;
            }
            (before, behind)
        }
        _ if page.is_end => {
            let from = wanted.from.unwrap_or(Between::START);
            (from, from)
        }
        _ => (page.reached, page.reached),
    }
}
