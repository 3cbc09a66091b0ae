//! What may happen next.

use super::{
    Cluster,
    master::Master,
    names::{MASTERS, WORKERS},
    world::{Action, World},
};
use crate::store::zookeeper::proof::paths;

/// Most writes of a leader on their way before it takes anything more.
const MOST_IN_FLIGHT: usize = 2;

impl Cluster {
    pub(super) fn masters(world: &World, actions: &mut Vec<Action>) {
        let faulty = world.faults > 0;
        // Sessions that nobody holds any more stand in line, too.
        let first = world.tree.children(paths::ELECTION).filter_map(|(name, _)| paths::term(name)).min();
        for master in 0..MASTERS {
            let at = &*world.masters[master];
            let Some(candidacy) = at.candidacy() else {
                actions.push(Action::Campaign(master));
                continue;
            };
            let in_line = world.is_in_line(candidacy);
            if !in_line {
                actions.push(Action::Notice(master));
            }
            match at {
                Master::Waiting(candidacy) if first == Some(candidacy.term) => actions.push(Action::Look(master)),
                Master::Idle | Master::Waiting(_) => {}
                Master::First { .. } => actions.push(Action::Announce(master)),
                Master::Announced { .. } => actions.push(Action::ReadTasks(master)),
                Master::Reading { .. } => actions.push(Action::Recover(master)),
                Master::Leading(leading) => {
                    if leading.outbox.in_flight() < MOST_IN_FLIGHT {
                        for (number, left) in world.calls.iter().enumerate() {
                            if *left > 0 {
                                actions.push(Action::Ask(master, number));
                            }
                        }
                        if leading.scheduler.next_tick().is_some() {
                            actions.push(Action::Tick(master));
                        }
                        for number in 0..WORKERS {
                            let line = world.workers[number].line.as_ref();
                            let is_linked =
                                |link| line.is_some_and(|line| line.master == master && line.number == link);
                            if leading.links[number].is_some_and(|(link, _)| !is_linked(link)) {
                                actions.push(Action::HearEnd(master, number));
                            }
                        }
                    }
                }
            }
            if faulty && !matches!(at, Master::Waiting(_)) {
                actions.push(Action::Crash(master));
                if in_line {
                    actions.push(Action::Expire(candidacy.session));
                    actions.push(Action::Depose(candidacy.session));
                }
            }
        }
    }

    pub(super) fn store(world: &World, actions: &mut Vec<Action>) {
        for (session, writer) in world.writers.iter() {
            let owned = world.owner(*session).is_some();
            if !writer.writes.is_empty() {
                actions.push(Action::Land(*session));
                if owned && world.faults > 0 {
                    actions.push(Action::LandUnheard(*session));
                }
                if !owned || world.faults > 0 {
                    actions.push(Action::Lose(*session));
                }
            }
        }
        // A session that nobody holds ends by itself.
        for (_, node) in world.tree.children(paths::ELECTION) {
            let Some(session) = node.owner else { continue };
            if world.owner(session).is_none() {
                actions.push(Action::Expire(session));
            }
        }
    }

    pub(super) fn workers(world: &World, actions: &mut Vec<Action>) {
        let highest = world.masters.iter().filter_map(|at| at.leading()).map(|leading| leading.candidacy.term).max();
        for number in 0..WORKERS {
            let worker = &*world.workers[number];
            for at in 0..worker.hand.running.len() {
                actions.push(Action::End(number, at));
            }
            match &worker.line {
                None => {
                    for (master, at) in world.masters.iter().enumerate() {
                        let Some(leading) = at.leading() else { continue };
                        // One that was refused comes again when its turn has come: more often changes nothing.
                        let is_free = leading.links[number].is_none_or(|(_, life)| life == worker.hand.incarnation);
                        let is_news = highest.is_none_or(|highest| highest == leading.candidacy.term);
                        if leading.candidacy.term >= worker.hand.term
                            && (is_free || !worker.refused)
                            && (is_news || world.faults > 0)
                        {
                            actions.push(Action::Dial(number, master));
                        }
                    }
                }
                Some(line) => {
                    let leading =
                        world.masters[line.master].leading().filter(|leading| leading.candidacy.term == line.term);
                    if !line.up.is_empty() && leading.is_some_and(|leading| leading.outbox.in_flight() < MOST_IN_FLIGHT)
                    {
                        actions.push(Action::Rise(number));
                    }
                    if !line.down.is_empty() {
                        actions.push(Action::Descend(number));
                    }
                    if line.ended || highest.is_some_and(|highest| highest > line.term) {
                        actions.push(Action::HangUp(number));
                    }
                    if world.faults > 0 {
                        actions.push(Action::Cut(number));
                    }
                }
            }
            if world.faults > 0 {
                actions.push(Action::Restart(number));
            }
        }
    }

    /// What costs a fault.
    pub(super) fn is_fault(world: &World, action: &Action) -> bool {
        match action {
            Action::Crash(_) | Action::Depose(_) | Action::LandUnheard(_) | Action::Cut(_) | Action::Restart(_) => true,
            Action::Lose(session) | Action::Expire(session) => world.owner(*session).is_some(),
            // What the store says of who leads may be old.
            Action::Dial(_, master) => {
                let terms = world.masters.iter().map(|at| at.leading().map(|leading| leading.candidacy.term));
                terms.max().flatten() != world.masters[*master].leading().map(|leading| leading.candidacy.term)
            }
            _ => false,
        }
    }
}
