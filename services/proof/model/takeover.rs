//! How a master comes to lead, step by step: it stands in line, is first, looks, makes its term a fact, reads, recovers.

use std::collections::VecDeque;

use super::{
    history::Sight,
    master::{Asker, Candidacy, Leading, Master},
    names::{MASTERS, NOW},
    world::{World, Writer},
};
use crate::{
    domain::{Scheduler, scheduler::Limits},
    proof::tree::{Node, Request, Session, Tree},
    store::zookeeper::proof::{Chain, Expect, Found, Version, announce, assemble, paths},
};

impl World {
    pub(super) fn campaign(&mut self, master: usize) {
        self.sessions += 1;
        let session = Session::from(self.sessions);
        let prefix = format!("{}/m-{}", paths::ELECTION, paths::LATCH);
        let place = self.tree.edit(|tree| tree.create_sequential(session, &prefix, b"")).expect("the line is there");
        let term = paths::term(&place).expect("is a candidate's");
        self.masters[master].edit(|at| *at = Master::Waiting(Candidacy { session, place, term }));
    }

    pub(super) fn look(&mut self, master: usize) {
        let version = self.tree.get(paths::TASKS).expect("is fixed").version;
        self.masters[master].edit(|at| {
            if let Master::Waiting(candidacy) = at.clone() {
                *at = Master::First { candidacy, version };
            }
        });
    }

    pub(super) fn announce(&mut self, master: usize) {
        let Master::First { candidacy, version } = (*self.masters[master]).clone() else { return };
        let mut request = Request::default();
        let tasks = Version::new(version).map_or(Expect::Present, Expect::Version);
        let somebody_led = self.tree.get(paths::MASTER).is_some();
        let term = (candidacy.term, tasks);
        announce(&mut request, &candidacy.place, Expect::Present, term, somebody_led, b"").expect("can be said");
        if self.tree.edit(|tree| tree.apply(candidacy.session, &request.0)).is_err() {
            return self.fall(master);
        }
        let writer = Writer { place: candidacy.place.clone(), term: candidacy.term, writes: VecDeque::new(), next: 0 };
        self.writers.edit(|writers| writers.insert(candidacy.session, writer));
        self.masters[master].edit(|at| *at = Master::Announced { candidacy, version: version + 1 });
    }

    pub(super) fn read_tasks(&mut self, master: usize) {
        let tasks = read(&self.tree, paths::TASKS);
        self.masters[master].edit(|at| {
            if let Master::Announced { candidacy, version } = at.clone() {
                *at = Master::Reading { candidacy, version, tasks };
            }
        });
    }

    pub(super) fn recover(&mut self, master: usize) {
        let Master::Reading { candidacy, version, mut tasks } = (*self.masters[master]).clone() else { return };
        tasks.extend(read(&self.tree, paths::ASSIGN));
        let all: Vec<_> = tasks.iter().map(|(path, _)| path.clone()).collect();
        let children = |path: &str| all.iter().filter(|other| parent(other) == path).count();
        let found = tasks.iter().map(|(path, node)| {
            let found = Found { data: node.data.to_vec(), children: children(path), ephemeral: node.owner.is_some() };
            (path, found)
        });
        let (loaded, known) = assemble(found);
        let chain = Chain::new(candidacy.term, Version::new(version).expect("is small"));
        let (scheduler, effects) = Scheduler::recover(Limits::default(), candidacy.term, NOW, loaded);
        let mut leading = Leading::new(candidacy, scheduler, chain, known);
        leading.follow(effects, &Asker::Nobody);
        leading.step(NOW, self.members(), &Asker::Nobody);
        self.masters[master].edit(|at| *at = Master::Leading(leading));
        if self.masters.iter().filter(|at| at.leading().is_some()).count() == MASTERS {
            self.see(Sight::TwoLeaders);
        }
        self.flush(master);
    }
}

/// The nodes below a fixed one.
fn read(tree: &Tree, top: &str) -> Vec<(String, Node)> {
    let mut nodes = Vec::new();
    let mut tops = vec![top.to_owned()];
    while let Some(top) = tops.pop() {
        for (name, node) in tree.children(&top) {
            let path = paths::child(&top, name);
            tops.push(path.clone());
            nodes.push((path, node.clone()));
        }
    }
    nodes
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}
