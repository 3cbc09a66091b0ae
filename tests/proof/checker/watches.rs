//! I8: what watchers were told, held against what was committed.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{
    case::{Case, Task},
    report::Finding,
};
use crate::proof::evidence::{Closing, Moment, Seen, State, Target};

/// The bits of a revision that count within a term.
const COUNTER_BITS: u32 = 40;
/// Behind the session timeout: by when a watcher has been told of an end.
const TELLING: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy)]
struct Event {
    at: Moment,
    revision: u64,
    state: State,
    attempt: i32,
    skipped: u32,
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { at, revision, state, attempt, skipped } = self;
        write!(f, "at {at}: {state:?} attempt {attempt} at {revision:#x}, skipped {skipped}")
    }
}

struct Stream<'a> {
    number: u64,
    watcher: &'a str,
    target: &'a Target,
    after: u64,
    stalled: bool,
    /// By task.
    events: BTreeMap<&'a str, Vec<Event>>,
    closed: Option<(Moment, &'a Closing)>,
}

/// Revisions strictly increase, skips are announced, nothing follows the end, and the last event is the final state.
pub fn watchers_are_told(case: &Case) -> Finding {
    let mut finding = Finding::new("I8", "watches go forward, announce skips, and end with the final state", "events");
    let streams = streams(&case.evidence.watches, &mut finding);
    for stream in &streams {
        for (id, events) in &stream.events {
            finding.looked_at += events.len();
            for problem in problems(case, stream, id, events) {
                let lines = events.iter().map(ToString::to_string);
                let story = case.tasks.get(*id).map(Task::story).unwrap_or_default();
                let what = format!("{}, stream {}, {id}: {problem}", stream.watcher, stream.number);
                finding.violated(what, lines.chain(story).collect());
            }
        }
    }
    let mut watchers: BTreeMap<&str, Vec<&Stream>> = BTreeMap::new();
    for stream in &streams {
        watchers.entry(stream.watcher).or_default().push(stream);
    }
    for (watcher, streams) in watchers {
        across_streams(case, watcher, &streams, &mut finding);
    }
    finding
}

/// The streams, in the order in which they were opened.
fn streams<'a>(seen: &'a [Seen], finding: &mut Finding) -> Vec<Stream<'a>> {
    let mut streams: Vec<Stream> = Vec::new();
    let mut places = HashMap::new();
    for seen in seen {
        match seen {
            Seen::Opened { stream, watcher, target, after_revision, stalled, .. } => {
                places.insert(*stream, streams.len());
                let (number, after, stalled) = (*stream, *after_revision, *stalled);
                let (events, closed) = (BTreeMap::new(), None);
                streams.push(Stream { number, watcher, target, after, stalled, events, closed });
            }
            Seen::Event { stream, at, task, revision, state, attempt, skipped } => {
                let event = Event { at: *at, revision: *revision, state: *state, attempt: *attempt, skipped: *skipped };
                match places.get(stream) {
                    Some(&place) => streams[place].events.entry(task).or_default().push(event),
                    None => finding.violated(format!("an event of stream {stream}, which nobody opened"), vec![]),
                }
            }
            Seen::Closed { stream, at, closing } => {
                if let Some(&place) = places.get(stream) {
                    streams[place].closed = Some((*at, closing));
                }
            }
        }
    }
    streams
}

/// What is wrong with the events of one task in one stream.
fn problems(case: &Case, stream: &Stream, id: &str, events: &[Event]) -> Vec<String> {
    let mut problems = Vec::new();
    let task = case.tasks.get(id);
    for event in events {
        if event.revision <= stream.after && !event.state.is_terminal() {
            problems.push(format!("{:#x} is not after {:#x}", event.revision, stream.after));
        }
        let kept = task.and_then(|task| task.kept_status.as_ref());
        let is_final = kept.is_some_and(|kept| {
            (kept.state, i64::from(kept.attempt), kept.revision)
                == (event.state, i64::from(event.attempt), event.revision)
        });
        if event.state.is_terminal() && !is_final {
            problems.push(format!("it was told {:?} at {:#x}, which is not how it ended", event.state, event.revision));
        }
    }
    for pair in events.windows(2) {
        let [before, after] = pair else { continue };
        if before.state.is_terminal() {
            problems.push(format!("{:#x} follows the end", after.revision));
        }
        if after.revision <= before.revision {
            problems.push(format!("{:#x} follows {:#x}", after.revision, before.revision));
        }
        let missing = task.map_or(0, |task| committed_between(task, before.revision, after.revision));
        if missing > after.skipped && is_undisturbed(case, before, after) {
            problems.push(format!(
                "{missing} changes are missing before {:#x}, and {} were announced",
                after.revision, after.skipped
            ));
        }
    }
    problems
}

fn committed_between(task: &Task, from: u64, until: u64) -> u32 {
    let between = task.changes.iter().filter(|change| (from + 1..until).contains(&change.what.revision()));
    u32::try_from(between.count()).unwrap_or(u32::MAX)
}

/// Nothing was broken between the two, and one leader told both: then what is missing is missing because the reader was
/// slow. (A watch that begins anew at another leader is told the state of then, and what was before is not announced.)
fn is_undisturbed(case: &Case, before: &Event, after: &Event) -> bool {
    let one_leader = before.revision >> COUNTER_BITS == after.revision >> COUNTER_BITS;
    let disturbed =
        |from: Moment, until: Moment| from <= after.at && before.at <= until + case.evidence.plan.session_timeout();
    one_leader && !case.evidence.plan.faults().any(|fault| disturbed(fault.from, fault.until))
}

/// A watcher that goes on where it was hears nothing older, and in the end is told how its tasks ended.
fn across_streams(case: &Case, watcher: &str, streams: &[&Stream], finding: &mut Finding) {
    let mut last: BTreeMap<&str, Event> = BTreeMap::new();
    for stream in streams {
        for (&id, events) in &stream.events {
            let (Some(first), Some(newest)) = (events.first(), events.last()) else { continue };
            if let Some(known) = last.get(id).filter(|known| known.revision > first.revision) {
                let lines = vec![known.to_string(), first.to_string()];
                finding.violated(format!("{watcher}, stream {}, {id} goes back", stream.number), lines);
            }
            last.insert(id, *newest);
        }
    }
    let Some(open) = streams.last().filter(|stream| !stream.stalled) else { return };
    let until = open.closed.map_or(case.evidence.plan.closed, |(at, closing)| match closing {
        // Nothing came after it, and something should have.
        Closing::Ok | Closing::Failed { .. } => case.evidence.plan.closed.max(at),
        Closing::Dropped => at,
    });
    let followed: Vec<&str> = match open.target {
        Target::Tasks(ids) => ids.iter().map(String::as_str).collect(),
        Target::Filter => last.keys().copied().collect(),
    };
    for id in followed {
        let Some(task) = case.tasks.get(id) else { continue };
        let Some((_, end)) = task.terminal() else { continue };
        let due = end.at + case.evidence.plan.session_timeout() + TELLING;
        if due <= until && !last.get(id).is_some_and(|event| event.state.is_terminal()) {
            let lines = last.get(id).map(ToString::to_string).into_iter().chain(task.story()).collect();
            finding.violated(format!("{watcher} was never told that {id} ended"), lines);
        }
    }
}
