//! Who leads when, and who took it from whom.

use std::{collections::BTreeMap, time::Duration};

use super::{Oracle, Written};
use crate::{
    domain::Term,
    proof::{
        simulator::network::Host,
        tree::{Node, Operation, Session},
    },
    store::zookeeper::proof::paths,
};

/// How long a leader that came by suspicion is safe from suspicion, at the least.
const FIRST_IMMUNITY: Duration = Duration::from_secs(10);

struct Reign {
    began: Duration,
    by_suspicion: bool,
}

#[derive(Default)]
pub struct Reigns {
    /// By the session that holds the place.
    by_session: BTreeMap<Session, Reign>,
    highest: Term,
    last_takeover: Option<Duration>,
    /// Sessions whose place came first because their process deposed the leader.
    by_suspicion: Vec<Session>,
    /// Whom each process is about to depose, and the session that is next in line.
    suspected: BTreeMap<Host, (Term, Session)>,
}

impl Reigns {
    pub fn last_takeover(&self) -> Option<Duration> {
        self.last_takeover
    }
}

impl Oracle {
    pub(super) fn reigned(&mut self, written: &Written<'_>, operation: &Operation, before: Option<&Node>) {
        match operation {
            Operation::Set { path, data, .. } if path == paths::TASKS => {
                let term = std::str::from_utf8(data).ok().and_then(|text| text.parse().ok()).map(Term);
                let announces = written.operations.iter().any(|operation| operation.path() == paths::MASTER);
                match term {
                    Some(term) if announces && term > self.reigns.highest => self.takes_over(written.session, term),
                    Some(term) if !announces && term == self.reigns.highest => {}
                    other => {
                        let highest = self.reigns.highest;
                        self.violation(format!("{} wrote as term {other:?}, the highest is {highest}", written.host));
                    }
                }
            }
            Operation::Delete { path, .. } if path.starts_with(paths::ELECTION) => {
                let owner = before.and_then(|node| node.owner);
                if let Some(owner) = owner.filter(|owner| *owner != written.session)
                    && self.reigns.by_session.contains_key(&owner)
                {
                    self.left(path, owner, written.host);
                }
            }
            _ => {}
        }
    }

    fn takes_over(&mut self, session: Session, term: Term) {
        self.sights.takeovers += 1;
        let by_suspicion = self.reigns.by_suspicion.contains(&session);
        self.reigns.highest = term;
        self.reigns.last_takeover = Some(self.now);
        self.reigns.by_session.insert(session, Reign { began: self.now, by_suspicion });
    }

    /// A leader's place was taken from it: by suspicion, or by another candidacy of its own process.
    fn left(&mut self, path: &str, owner: Session, host: Host) {
        let Some((suspected, next)) =
            self.reigns.suspected.remove(host).filter(|(term, _)| paths::term(path) == Some(*term))
        else {
            return;
        };
        self.sights.depositions += 1;
        self.reigns.by_suspicion.push(next);
        let Some(reign) = self.reigns.by_session.get(&owner) else { return };
        let lasted = self.now.saturating_sub(reign.began);
        if reign.by_suspicion && lasted < FIRST_IMMUNITY {
            self.violation(format!("{host} deposed term {suspected}, which had come by suspicion {lasted:?} before"));
        }
    }

    /// A process is about to depose the leader of this term; `next` is behind it in the line.
    pub fn deposes(&mut self, host: Host, term: Term, next: Session) {
        self.reigns.suspected.insert(host, (term, next));
    }
}
