//! Which task of a queue goes first: by priority, then by age; but the oldest is not passed over for ever.
//!
//! Of the tasks of a queue that a worker can take, the first by priority and age goes, unless that would pass over the
//! oldest of them for the [`OLDEST_EVERY`]th time: then the oldest goes. So a task with so many older ones in its queue
//! waits for no more than `OLDEST_EVERY * (older + 1)` starts of workers that could take it, however many of higher priority
//! come; and of ten starts nine at least go by priority. Only the oldest is counted, so nothing is scanned.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::{MAX_WORKER_DEATHS, selectors::SelectorId};
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

/// The pending tasks of one queue and kind: those that any worker may take in one lane, and those with a selector in one lane
/// for each.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Lanes {
    any: Lane,
    selected: BTreeMap<SelectorId, Lane>,
}

/// Those of one selector, or of none.
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

/// Who is first in a lane and who is its oldest, and how often that was passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub first: Turn,
    pub oldest: Revision,
    pub passed: u32,
}

/// Where a task waits.
#[derive(Debug, Clone, Copy)]
struct Spot<'a> {
    kind: &'a Kind,
    selector: Option<SelectorId>,
    suspect: bool,
    turn: Turn,
}

/// The task whose turn it is in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Next {
    line: LineId,
    pub turn: Turn,
    /// Whom it is preferred to, if that is the oldest.
    passes: Option<(LineId, Revision)>,
}

/// One line of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LineId {
    kind: Kind,
    selector: Option<SelectorId>,
    suspect: bool,
}

impl Spot<'_> {
    fn line(&self) -> LineId {
        LineId { kind: self.kind.clone(), selector: self.selector, suspect: self.suspect }
    }
}

impl Lanes {
    pub fn lane(&self, selector: Option<SelectorId>) -> Option<&Lane> {
        selector.map_or(Some(&self.any), |id| self.selected.get(&id))
    }

    pub fn lane_mut(&mut self, selector: Option<SelectorId>) -> Option<&mut Lane> {
        match selector {
            None => Some(&mut self.any),
            Some(id) => self.selected.get_mut(&id),
        }
    }

    pub fn push(&mut self, task: &Task, submitted: Revision, selector: Option<SelectorId>) {
        let lane = match selector {
            None => &mut self.any,
            Some(id) => self.selected.entry(id).or_default(),
        };
        lane.line(is_suspect(task)).tasks.insert(Turn::of(task, submitted), task.id.clone());
    }

    pub fn remove(&mut self, task: &Task, submitted: Revision, selector: Option<SelectorId>) {
        if let Some(lane) = self.lane_mut(selector) {
            lane.line(is_suspect(task)).tasks.remove(&Turn::of(task, submitted));
            self.tidy(selector);
        }
    }

    /// No lane of a selector is empty.
    fn tidy(&mut self, selector: Option<SelectorId>) {
        if let Some(id) = selector
            && self.selected.get(&id).is_some_and(Lane::is_empty)
        {
            self.selected.remove(&id);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.any.is_empty() && self.selected.is_empty()
    }

    pub fn len(&self) -> usize {
        1 + self.selected.len()
    }

    /// The lanes, and of which selector each is.
    pub fn iter(&self) -> impl Iterator<Item = (Option<SelectorId>, &Lane)> {
        std::iter::once((None, &self.any)).chain(self.selected.iter().map(|(id, lane)| (Some(*id), lane)))
    }
}

impl Lane {
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

    /// Who is first in it and who is the oldest, among those that any worker may take, if there are such.
    pub fn head(&self) -> Option<Head> {
        let line = if self.has_plain() { &self.plain } else { &self.suspects };
        let (first, (oldest, _)) = (line.first()?, line.oldest()?);
        Some(Head { first, oldest: oldest.submitted, passed: line.passed_over(oldest.submitted) })
    }

    /// The oldest of the head is passed over.
    pub fn pass_over(&mut self) {
        if let Some(Head { oldest, passed, .. }) = self.head() {
            let suspects = !self.has_plain();
            self.line(suspects).passed = Some((oldest, passed + 1));
        }
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

/// The first and the oldest, of the lines looked at so far.
struct Seen<'a> {
    first: Option<Spot<'a>>,
    oldest: Option<(Spot<'a>, &'a Line)>,
}

impl<'a> Seen<'a> {
    fn look(&mut self, kind: &'a Kind, selector: Option<SelectorId>, lane: &'a Lane, suspects: bool) {
        let sides = [(false, Some(&lane.plain)), (true, Some(&lane.suspects).filter(|_| suspects))];
        for (suspect, line) in sides.into_iter().filter_map(|(suspect, line)| Some((suspect, line?))) {
            let (Some(turn), Some((oldest_turn, _))) = (line.first(), line.oldest()) else { continue };
            if self.first.is_none_or(|spot| turn < spot.turn) {
                self.first = Some(Spot { kind, selector, suspect, turn });
            }
            if self.oldest.is_none_or(|(spot, _)| oldest_turn.submitted < spot.turn.submitted) {
                self.oldest = Some((Spot { kind, selector, suspect, turn: *oldest_turn }, line));
            }
        }
    }
}

/// The task whose turn it is at a worker that takes these kinds of a queue, and whom these selectors match.
pub(super) fn next<'a>(
    lanes: impl Iterator<Item = (&'a Kind, &'a Lanes)>,
    selectors: &BTreeSet<SelectorId>,
    suspects: bool,
) -> Option<Next> {
    let mut seen = Seen { first: None, oldest: None };
    for (kind, lanes) in lanes {
        seen.look(kind, None, &lanes.any, suspects);
        for (id, lane) in lanes.selected.iter().filter(|(id, _)| selectors.contains(id)) {
            seen.look(kind, Some(*id), lane, suspects);
        }
    }
    let (first, (oldest, line)) = (seen.first?, seen.oldest?);
    // No two have the same turn.
    let passes = first.turn != oldest.turn;
    if passes && line.passed_over(oldest.turn.submitted) + 1 >= OLDEST_EVERY {
        return Some(Next { line: oldest.line(), turn: oldest.turn, passes: None });
    }
    let passes = passes.then(|| (oldest.line(), oldest.turn.submitted));
    Some(Next { line: first.line(), turn: first.turn, passes })
}

/// Takes it out, and remembers who was passed over.
pub(super) fn take(queue: &mut BTreeMap<Kind, Lanes>, next: &Next) -> Option<TaskId> {
    if let Some((LineId { kind, selector, suspect }, submitted)) = &next.passes
        && let Some(lane) = queue.get_mut(kind).and_then(|lanes| lanes.lane_mut(*selector))
    {
        let line = lane.line(*suspect);
        line.passed = Some((*submitted, line.passed_over(*submitted) + 1));
    }
    let LineId { kind, selector, suspect } = &next.line;
    let lanes = queue.get_mut(kind)?;
    let task_id = lanes.lane_mut(*selector)?.line(*suspect).tasks.remove(&next.turn);
    lanes.tidy(*selector);
    if lanes.is_empty() {
        queue.remove(kind);
    }
    task_id
}

/// Whether one more death would end it. Such a task has no other suspect beside it, so that the two are not blamed for
/// each other. After a single death nobody is suspected yet: what a machine that lost its power ran is to run elsewhere
/// at once, and all of it, not one task a worker.
pub(super) fn is_suspect(task: &Task) -> bool {
    task.worker_deaths + 1 >= MAX_WORKER_DEATHS
}
