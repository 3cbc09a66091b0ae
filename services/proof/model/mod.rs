//! Every order of events that a small cluster can see, as far as its bounds go.
//!
//! The model checker drives the product's own code: [`Scheduler::step`] and [`Scheduler::recover`], the outbox that says
//! what leaves when, and the rules of a commit ([`Chain`], [`Known`]), which write into a tree of znodes in memory. What is
//! imagined is around it: the line of candidates and the steps of a takeover, writes that are late, lost, or of which
//! nobody hears, sessions, links that carry messages in order and lose them with a cut, workers, a client.
//!
//! # Bounds
//!
//! Two masters, two workers of two slots, two tasks. A client asks each call of a scene so many times, of any master that
//! holds itself for the leader. A scene has so many faults: a crash of a master, the expiry of a session, the removal of a
//! place in the line, a write that is lost or not heard of, a cut link, the death of a worker, a worker that dials a leader
//! of which it should know that it is none. Everything else is free, in any order: late writes of a master that has
//! fallen, messages of a link whose leader is gone, a leader that has not noticed its end, a grace that is over. A leader
//! takes nothing more while two writes of its own are on their way. Terms, attempts and messages are bounded by the faults.
//! `RUNNING` is said in hellos only, handlers succeed, and nothing is removed: the scheduler's own random test covers these.
//! No node is shared: that is the store's business alone, and has its own random test.
//! The faults being spent, nothing can go on for ever, so that a state without a step is an end, at which everything that was
//! acknowledged has to be over.
//!
//! What may be seen and what must not is in [`history`]: an observer reads the tree after every write and hears everything
//! that is told. What was of interest on the way to a state is no part of the state.
//!
//! [`Scheduler::step`]: crate::domain::Scheduler::step
//! [`Scheduler::recover`]: crate::domain::Scheduler::recover
//! [`Chain`]: crate::store::zookeeper::proof::Chain
//! [`Known`]: crate::store::zookeeper::proof::Known

mod call;
mod history;
mod landing;
mod leading;
mod links;
mod master;
mod names;
mod shared;
mod steps;
mod takeover;
mod worker;
mod world;

use stateright::{Model, Property};

use self::{
    call::Call,
    history::{Rule, Sight, durable, is_anything_lost},
    master::Shown,
    names::TASKS,
    world::{Action, World},
};

/// A cluster, and what may befall it.
struct Cluster {
    calls: Vec<(Call, u8)>,
    /// The worst that happens: so many of crash, expiry, deposition, a write lost or unheard of, a cut, a worker's death.
    faults: u8,
    /// Begins with a leader and two workers linked to it.
    led: bool,
    /// Begins with an assignment of a task that is not there.
    stray: bool,
}

impl Model for Cluster {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let calls = self.calls.iter().map(|(_, times)| *times).collect();
        let mut world = World::new(calls, self.faults, self.stray);
        if self.led {
            // Whatever comes first of what needs neither client nor fault.
            loop {
                let mut actions = Vec::new();
                self.actions(&world, &mut actions);
                let next = actions.into_iter().find(|action| {
                    !Self::is_fault(&world, action) && !matches!(action, Action::Ask(..) | Action::Tick(_))
                });
                match next {
                    Some(action) => world.take(&action, None),
                    None => break,
                }
            }
        }
        vec![world]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        // What is broken is found already.
        if world.history.is_any_broken() {
            return;
        }
        Self::masters(world, actions);
        Self::store(world, actions);
        Self::workers(world, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        next.faults -= u8::from(Self::is_fault(world, &action));
        let call = match action {
            Action::Ask(_, number) => Some(self.calls[number].0),
            _ => None,
        };
        next.take(&action, call);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing acknowledged is lost", |_, world: &World| {
                !is_anything_lost(&world.history, &world.tree)
            }),
            never::<{ Rule::OneIdOneTask as u32 }>("one id, one task"),
            never::<{ Rule::TerminalIsFinal as u32 }>("terminal is final"),
            never::<{ Rule::OneTerminal as u32 }>("at most one terminal"),
            never::<{ Rule::AttemptsIncrease as u32 }>("attempts strictly increase"),
            never::<{ Rule::OutcomeOfTheCurrentAttempt as u32 }>(
                "the recorded outcome belongs to the attempt current at its commit",
            ),
            never::<{ Rule::DeposedWritesNothing as u32 }>("a deposed leader's write changes nothing"),
            never::<{ Rule::OneRunEach as u32 }>("at most one run for each task and attempt"),
            never::<{ Rule::NothingLeavesBeforeItsCommit as u32 }>("no acknowledgement, no order before its commit"),
            never::<{ Rule::NoDeadAssignment as u32 }>("no assignment without its live task after a recovery"),
            never::<{ Rule::NoCommitWithoutTheOnesBefore as u32 }>("no commit without the ones before it"),
            never::<{ Rule::MemoryIsWhatIsDurable as u32 }>("a leader's memory is what is durable"),
            never::<{ Rule::AnswersAreOfTheirTime as u32 }>("an answer is no older than its question"),
            Property::always(
                "when nothing more can happen everything acknowledged has ended",
                |cluster: &Self, world| cluster.is_all_over(world),
            ),
            seen::<{ Sight::StaleWriteRefused as u32 }>("a deposed leader's write is refused"),
            seen::<{ Sight::WriteBehindALostOneRefused as u32 }>("a write behind a lost one is refused"),
            seen::<{ Sight::UnknownThatHappened as u32 }>("a write of unknown outcome has happened"),
            seen::<{ Sight::UnknownThatDidNot as u32 }>("a write of unknown outcome has not happened"),
            seen::<{ Sight::Reassignment as u32 }>("a task is assigned again"),
            seen::<{ Sight::SuccessAfterTakeover as u32 }>("an attempt succeeds under a later leader than assigned it"),
            seen::<{ Sight::StaleReport as u32 }>("a stale report is refused"),
            seen::<{ Sight::SecondIncarnationRefused as u32 }>("a second incarnation is refused"),
            seen::<{ Sight::TwoLeaders as u32 }>("two masters hold themselves for the leader"),
            seen::<{ Sight::CancelOfARun as u32 }>("a running attempt is told to stop"),
            seen::<{ Sight::SentAgain as u32 }>("an assignment that was lost on its way is sent again"),
            seen::<{ Sight::AnswerToAQuestion as u32 }>("a question is answered"),
            seen::<{ Sight::DeadAssignmentSwept as u32 }>("a dead assignment is swept"),
        ]
    }
}

impl Cluster {
    fn is_all_over(&self, world: &World) -> bool {
        let mut actions = Vec::new();
        self.actions(world, &mut actions);
        let ended = |number: usize| durable(&world.tree, number) == Shown::Ended;
        !actions.is_empty()
            || world.history.is_any_broken()
            || (0..TASKS).all(|number| world.history.acknowledged[number].is_none() || ended(number))
    }
}

fn never<const RULE: u32>(name: &'static str) -> Property<Cluster> {
    Property::always(name, |_, world: &World| !world.history.is_broken(RULE))
}

fn seen<const SIGHT: u32>(name: &'static str) -> Property<Cluster> {
    Property::sometimes(name, |_, world: &World| world.has_seen(SIGHT))
}

#[cfg(test)]
mod tests;
