//! A process: what runs in it stands still together, goes on together, and dies together.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Standing {
    #[default]
    Goes,
    Stands,
    Gone,
}

#[derive(Debug, Default)]
struct State {
    standing: Standing,
    last: u64,
    /// Of everything that runs behind the gate, in the order of its start.
    wakers: BTreeMap<u64, Waker>,
}

/// Behind it runs a process. Clones are the same gate.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<Mutex<State>>);

impl Gate {
    /// Runs this as a part of the process. None: the process died, and this was dropped in the middle.
    pub fn run<F: Future>(&self, part: F) -> Gated<F> {
        let mut state = self.lock();
        state.last += 1;
        Gated { part: Some(Box::pin(part)), id: state.last, gate: self.clone() }
    }

    /// Nothing behind it is polled from here on.
    pub fn pause(&self) {
        self.turn(Standing::Stands);
    }

    pub fn resume(&self) {
        self.turn(Standing::Goes);
    }

    /// Drops everything behind it.
    pub fn kill(&self) {
        self.turn(Standing::Gone);
    }

    pub fn is_gone(&self) -> bool {
        self.lock().standing == Standing::Gone
    }

    fn turn(&self, standing: Standing) {
        let mut state = self.lock();
        if state.standing == Standing::Gone {
            return;
        }
        state.standing = standing;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_values().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct Gated<F> {
    part: Option<Pin<Box<F>>>,
    id: u64,
    gate: Gate,
}

impl<F: Future> Future for Gated<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let standing = {
            let mut state = this.gate.lock();
            state.wakers.insert(this.id, cx.waker().clone());
            state.standing
        };
        match (standing, &mut this.part) {
            (Standing::Goes, Some(part)) => part.as_mut().poll(cx).map(Some),
            (Standing::Stands, Some(_)) => Poll::Pending,
            (Standing::Gone, _) | (_, None) => {
                this.part = None;
                Poll::Ready(None)
            }
        }
    }
}

impl<F> Drop for Gated<F> {
    fn drop(&mut self) {
        self.gate.lock().wakers.remove(&self.id);
    }
}
