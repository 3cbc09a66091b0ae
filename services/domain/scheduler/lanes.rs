//! Which task of a queue goes first: by priority, then by age; but the oldest is not passed over for ever.
//!
//! Of the tasks of a queue that a worker can take, the first by priority and age goes, unless that would pass over the
//! oldest of them for the [`OLDEST_EVERY`]th time: then the oldest goes. So a task with so many older ones in its queue
//! waits for no more than `OLDEST_EVERY * (older + 1)` starts of workers that could take it, however many of higher priority
//! come; and of ten starts nine at least go by priority. Only the oldest is counted, so nothing is scanned.

use std::{cmp::Reverse, collections::BTreeMap};

use super::MAX_WORKER_DEATHS;
use crate::domain::{Kind, Priority, Revision, Task, TaskId};

/// Of so many starts that pass over the oldest task the last one does not. A tenth is little for those who go before it,
/// and a backlog of low priority still moves.
pub(super) const OLDEST_EVERY: u32 = 10;

/// Who goes first: priority, then age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Turn {
    priority: Reverse<Priority>,
    submitted: Revision,
}

impl Turn {
    fn of(task: &Task, submitted: Revision) -> Self {
        Self { priority: Reverse(task.spec.priority.unwrap_or_default()), submitted }
    }
}

/// The pending tasks of one queue and kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Lane {
    plain: Line,
    /// Tasks that one more death would end: each runs where no other of them runs.
    suspects: Line,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Line {
    tasks: BTreeMap<Turn, TaskId>,
    /// How often the oldest was passed over; void when another one is the oldest.
    passed: Option<(Revision, u32)>,
}

/// Where a task waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spot<'a> {
    kind: &'a Kind,
    suspect: bool,
    turn: Turn,
}

/// The task whose turn it is in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Next {
    kind: Kind,
    suspect: bool,
    pub turn: Turn,
    /// Whom it is preferred to, if that is the oldest.
    passes: Option<(Kind, bool, Revision)>,
}

impl Lane {
    pub fn push(&mut self, task: &Task, submitted: Revision) {
        self.line(is_suspect(task)).tasks.insert(Turn::of(task, submitted), task.id.clone());
    }

    pub fn remove(&mut self, task: &Task, submitted: Revision) {
        self.line(is_suspect(task)).tasks.remove(&Turn::of(task, submitted));
    }

    #[cfg(test)]
    pub fn has(&self, task: &Task, submitted: Revision) -> bool {
        let turn = Turn::of(task, submitted);
        self.plain.tasks.contains_key(&turn) || self.suspects.tasks.contains_key(&turn)
    }

    pub fn is_empty(&self) -> bool {
        self.plain.tasks.is_empty() && self.suspects.tasks.is_empty()
    }

    /// Whether somebody waits whom any worker may take.
    pub fn has_plain(&self) -> bool {
        !self.plain.tasks.is_empty()
    }

    /// The task that has waited longest.
    pub fn oldest(&self) -> Option<(Revision, &TaskId)> {
        let oldest = [&self.plain, &self.suspects].into_iter().filter_map(Line::oldest);
        oldest.min_by_key(|(turn, _)| turn.submitted).map(|(turn, task_id)| (turn.submitted, task_id))
    }

    fn line(&mut self, suspect: bool) -> &mut Line {
        if suspect { &mut self.suspects } else { &mut self.plain }
    }
}

impl Line {
    fn first(&self) -> Option<Turn> {
        self.tasks.first_key_value().map(|(turn, _)| *turn)
    }

    /// Each priority's first is its oldest, and there are ten priorities at most.
    fn oldest(&self) -> Option<(&Turn, &TaskId)> {
        let (last, _) = self.tasks.last_key_value()?;
        let mut next = self.tasks.first_key_value();
        let mut oldest = next?;
        while let Some(first) = next {
            if first.0.submitted < oldest.0.submitted {
                oldest = first;
            }
            if first.0.priority == last.priority {
                break;
            }
            let rest = Turn { priority: first.0.priority, submitted: Revision(u64::MAX) };
            next = self.tasks.range(rest..).next();
        }
        Some(oldest)
    }

    fn passed_over(&self, oldest: Revision) -> u32 {
        self.passed.filter(|(whom, _)| *whom == oldest).map_or(0, |(_, times)| times)
    }
}

/// The task whose turn it is at a worker that takes from these lanes of a queue.
pub(super) fn next<'a>(lanes: impl Iterator<Item = (&'a Kind, &'a Lane)>, suspects: bool) -> Option<Next> {
    let mut first: Option<Spot<'_>> = None;
    let mut oldest: Option<(Spot<'_>, &Line)> = None;
    for (kind, lane) in lanes {
        let sides = [(false, Some(&lane.plain)), (true, Some(&lane.suspects).filter(|_| suspects))];
        for (suspect, line) in sides.into_iter().filter_map(|(suspect, line)| Some((suspect, line?))) {
            let (Some(turn), Some((oldest_turn, _))) = (line.first(), line.oldest()) else { continue };
            if first.is_none_or(|spot| turn < spot.turn) {
                first = Some(Spot { kind, suspect, turn });
            }
            if oldest.is_none_or(|(spot, _)| oldest_turn.submitted < spot.turn.submitted) {
                oldest = Some((Spot { kind, suspect, turn: *oldest_turn }, line));
            }
        }
    }
    let (first, (oldest, line)) = (first?, oldest?);
    let passes = first != oldest;
    if passes && line.passed_over(oldest.turn.submitted) + 1 >= OLDEST_EVERY {
        return Some(Next { kind: oldest.kind.clone(), suspect: oldest.suspect, turn: oldest.turn, passes: None });
    }
    let passes = passes.then(|| (oldest.kind.clone(), oldest.suspect, oldest.turn.submitted));
    Some(Next { kind: first.kind.clone(), suspect: first.suspect, turn: first.turn, passes })
}

/// Takes it out, and remembers who was passed over.
pub(super) fn take(lanes: &mut BTreeMap<Kind, Lane>, next: &Next) -> Option<TaskId> {
    if let Some((kind, suspect, submitted)) = &next.passes
        && let Some(lane) = lanes.get_mut(kind)
    {
        let line = lane.line(*suspect);
        line.passed = Some((*submitted, line.passed_over(*submitted) + 1));
    }
    let lane = lanes.get_mut(&next.kind)?;
    let task_id = lane.line(next.suspect).tasks.remove(&next.turn);
    if lane.is_empty() {
        lanes.remove(&next.kind);
    }
    task_id
}

/// Whether one more death would end it. Such a task has no other suspect beside it, so that the two are not blamed for
/// each other. After a single death nobody is suspected yet: what a machine that lost its power ran is to run elsewhere
/// at once, and all of it, not one task a worker.
pub(super) fn is_suspect(task: &Task) -> bool {
    task.worker_deaths + 1 >= MAX_WORKER_DEATHS
}
