//! What becomes of the writes that are on their way.

use super::{
    history::{Rule, Sight},
    master::Master,
    world::World,
};
use crate::{
    proof::tree::{Operation, Session},
    store::zookeeper::proof::Expect,
};

impl World {
    pub(super) fn depose(&mut self, session: Session) {
        let master = self.owner(session).expect("it is somebody's");
        let place = self.masters[master].candidacy().expect("it is somebody's").place.clone();
        let delete = Operation::Delete { path: place, expect: Expect::Present };
        self.tree.edit(|tree| tree.apply(0, &[delete])).expect("it is there");
    }

    /// The oldest write of a session reaches the store.
    pub(super) fn land(&mut self, session: Session, heard: bool) {
        let (write, place, term, expected) = self.writers.edit(|writers| {
            let writer = writers.get_mut(&session).expect("it writes");
            let write = writer.writes.pop_front().expect("a write is on its way");
            (write, writer.place.clone(), writer.term, writer.next)
        });
        let owner = self.owner(session).filter(|owner| self.masters[*owner].leading().is_some());
        let before = self.tree.clone();
        let deposed = before.get(&place).is_none();
        let result = self.tree.edit(|tree| tree.apply(session, &write.operations));
        let tree = self.tree.clone();
        match &result {
            Ok(()) => {
                let sights = self.history.edit(|history| {
                    history.demand(Rule::DeposedWritesNothing, !deposed);
                    history.demand(Rule::NoCommitWithoutTheOnesBefore, write.number == expected);
                    history.wrote(term, &write, &before, &tree)
                });
                for sight in sights {
                    self.see(sight);
                }
                self.writers.edit(|writers| {
                    if let Some(writer) = writers.get_mut(&session) {
                        writer.next += 1;
                    }
                });
            }
            Err(_) if deposed => self.see(Sight::StaleWriteRefused),
            Err(_) if write.number != expected => self.see(Sight::WriteBehindALostOneRefused),
            Err(_) => self.history.edit(|history| history.demand(Rule::MemoryIsWhatIsDurable, false)),
        }
        let Some(master) = owner else { return };
        if result.is_err() || !heard {
            if result.is_ok() {
                self.see(Sight::UnknownThatHappened);
            }
            return self.fall(master);
        }
        let outs = self.masters[master].edit(|at| match at {
            Master::Leading(leading) => {
                let (number, outs, _) = leading.outbox.landed().expect("it was issued");
                assert_eq!(number, write.number, "commits land in their order");
                outs
            }
            _ => Vec::new(),
        });
        self.let_out(outs);
        self.flush(master);
        if self.masters[master].leading().is_some_and(|leading| leading.outbox.is_empty()) {
            self.history.edit(|history| history.at_rest(&tree));
        }
    }

    pub(super) fn lose(&mut self, session: Session) {
        self.writers.edit(|writers| writers.get_mut(&session).and_then(|writer| writer.writes.pop_front()));
        if let Some(master) = self.owner(session) {
            self.see(Sight::UnknownThatDidNot);
            self.fall(master);
        }
    }

    /// Nobody asks any more for sessions that are over and have nothing on their way.
    pub(super) fn sweep_writers(&mut self) {
        let over: Vec<_> = self
            .writers
            .iter()
            .filter(|(session, writer)| writer.writes.is_empty() && self.owner(**session).is_none())
            .map(|(session, _)| *session)
            .collect();
        if !over.is_empty() {
            self.writers.edit(|writers| writers.retain(|session, _| !over.contains(session)));
        }
    }
}
