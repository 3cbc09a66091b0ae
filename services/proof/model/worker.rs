//! A worker and its end of the link. It does what the real one's slots promise; its handlers succeed.

use std::{collections::VecDeque, sync::Arc};

use super::names::life;
use crate::domain::{
    AttemptId, Fence, Incarnation, Order, Report, Term, Wall, WorkerHello, scheduler::tests::hand::Hand,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Worker {
    pub hand: Hand,
    pub line: Option<Line>,
    /// Lives and links so far.
    pub lives: u8,
    pub links: u8,
    /// This life was refused once.
    pub refused: bool,
}

/// A link, and what is on its way on it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Line {
    pub master: usize,
    pub number: u8,
    pub term: Term,
    pub welcomed: bool,
    /// The leader is gone; what it said before may still arrive.
    pub ended: bool,
    pub up: VecDeque<Up>,
    pub down: VecDeque<Down>,
    /// What came up after the hello and before the welcome.
    unsaid: Vec<Report>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Up {
    Hello(WorkerHello),
    Report(Report),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Down {
    Welcome,
    Refuse,
    Order(Order),
}

impl Worker {
    pub fn new() -> Self {
        Self { hand: Hand::new(life(1)), line: None, lives: 1, links: 0, refused: false }
    }

    /// Its process dies, and another one begins.
    pub fn restart(&mut self) {
        self.lives += 1;
        self.hand = Hand::new(life(self.lives));
        self.line = None;
        self.refused = false;
    }

    pub fn dial(&mut self, number: usize, master: usize, term: Term) {
        self.links += 1;
        let hello = self.hand.hello(super::names::offer(number, self.hand.incarnation), Wall(0));
        self.line = Some(Line {
            master,
            number: self.links,
            term,
            welcomed: false,
            ended: false,
            up: VecDeque::from([Up::Hello(hello)]),
            down: VecDeque::new(),
            unsaid: Vec::new(),
        });
    }

    /// What an attempt does at its end: it succeeds, or has stopped if it was told to.
    pub fn end(&mut self, attempt: &AttemptId) {
        let result = result(attempt.attempt, attempt.fence, self.hand.incarnation);
        let report = self.hand.end(Report::Succeeded { attempt: attempt.clone(), start_time: Wall(0), result });
        match &mut self.line {
            Some(line) if line.welcomed => line.say(report),
            Some(line) => line.unsaid.push(report),
            None => {}
        }
    }

    pub fn welcome(&mut self) {
        if let Some(line) = &mut self.line {
            line.welcomed = true;
            self.hand.term = self.hand.term.max(line.term);
            for report in std::mem::take(&mut line.unsaid) {
                line.say(report);
            }
        }
    }
}

impl Line {
    pub fn say(&mut self, report: Report) {
        if !self.ended {
            self.up.push_back(Up::Report(report));
        }
    }
}

/// What an attempt returns: which it was, and whose.
pub fn result(attempt: u32, fence: Fence, incarnation: Incarnation) -> Arc<[u8]> {
    Arc::from(format!("{attempt} {} {incarnation}", fence.0).into_bytes())
}
