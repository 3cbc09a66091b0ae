//! Between the processes: connections that keep their order, take their time, fall silent in one direction or both, and
//! break where both ends, one or none notices.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::{Sink, Stream};
use tokio::{
    sync::watch,
    time::{Instant, Sleep, sleep_until},
};

use super::Sim;

/// A process's name in the network; also the host of its address.
pub type Host = &'static str;

/// Messages that a connection holds in one direction before its sender has to wait.
const WINDOW: usize = 64;

/// What is to be seen of a message in a trace; None: nothing.
pub trait Told: Send + 'static {
    fn told(&self) -> Option<String>;
}

/// The connection broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

/// How a connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// Both ends notice.
    Both,
    /// Only the end at this host notices; the other one hears nothing any more.
    OnlyAt(Host),
    /// Nobody notices.
    Nobody,
}

#[derive(Default)]
struct Ways {
    /// Directions in which nothing arrives for now.
    held: BTreeSet<(Host, Host)>,
    pipes: BTreeMap<(Host, Host), Vec<Weak<dyn Severed>>>,
}

#[derive(Clone)]
pub struct Network {
    sim: Sim,
    ways: Arc<Mutex<Ways>>,
    turned: watch::Sender<()>,
}

impl Network {
    pub fn sim(&self) -> &Sim {
        &self.sim
    }

    pub fn new(sim: Sim) -> Self {
        Self { sim, ways: Arc::default(), turned: watch::Sender::new(()) }
    }

    /// Nothing arrives in this direction until it is released; nothing is lost either.
    pub fn hold(&self, from: Host, to: Host) {
        self.lock().held.insert((from, to));
    }

    pub fn release(&self, from: Host, to: Host) {
        self.lock().held.remove(&(from, to));
        self.turn();
    }

    pub fn release_all(&self) {
        self.lock().held.clear();
        self.turn();
    }

    pub fn is_held(&self, from: Host, to: Host) -> bool {
        self.lock().held.contains(&(from, to))
    }

    /// Resolves when the direction is not held.
    pub async fn passes(&self, from: Host, to: Host) {
        let mut turned = self.turned.subscribe();
        while self.is_held(from, to) {
            if turned.changed().await.is_err() {
                return;
            }
        }
    }

    /// Breaks every connection between these two.
    pub fn cut(&self, one: Host, other: Host, how: Break) {
        for (from, to) in [(one, other), (other, one)] {
            let pipes = self.lock().pipes.remove(&(from, to)).unwrap_or_default();
            for pipe in pipes.iter().filter_map(Weak::upgrade) {
                let (sender, reader) = match how {
                    Break::Both => (true, true),
                    Break::OnlyAt(host) => (host == from, host == to),
                    Break::Nobody => (false, false),
                };
                pipe.sever(sender, reader);
            }
        }
    }

    /// One direction of a new connection.
    pub fn pipe<T: Told>(&self, from: Host, to: Host) -> (Sender<T>, Receiver<T>) {
        let state = PipeState { queue: VecDeque::new(), ..PipeState::default() };
        let pipe = Arc::new(Pipe { network: self.clone(), from, to, state: Mutex::new(state) });
        let severed: Arc<dyn Severed> = pipe.clone();
        let mut ways = self.lock();
        let pipes = ways.pipes.entry((from, to)).or_default();
        pipes.retain(|pipe| pipe.strong_count() > 0);
        pipes.push(Arc::downgrade(&severed));
        drop(ways);
        (Sender(Arc::new(Tail(pipe.clone()))), Receiver { pipe, sleep: None })
    }

    fn turn(&self) {
        self.turned.send_replace(());
        let pipes: Vec<_> = self.lock().pipes.values().flatten().filter_map(Weak::upgrade).collect();
        for pipe in pipes {
            pipe.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ways> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long something takes on its way: mostly a millisecond, at times much longer.
pub fn latency(sim: &Sim) -> Duration {
    sim.chance(|chance| match chance.u8(..100) {
        0 => Duration::from_millis(chance.u64(20..200)),
        1..10 => Duration::from_millis(chance.u64(3..20)),
        _ => Duration::from_micros(chance.u64(200..2_000)),
    })
}

trait Severed: Send + Sync {
    /// What is under way is lost. The sender, the reader notices, or not.
    fn sever(&self, sender: bool, reader: bool);
    fn wake(&self);
}

enum Item<T> {
    Message(T),
    End,
}

struct PipeState<T> {
    queue: VecDeque<(Instant, Item<T>)>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// When the last of the queue arrives.
    last: Option<Instant>,
    /// What is sent vanishes.
    void: bool,
    sender_broken: bool,
    reader_broken: bool,
}

impl<T> Default for PipeState<T> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            reader: None,
            writer: None,
            last: None,
            void: false,
            sender_broken: false,
            reader_broken: false,
        }
    }
}

struct Pipe<T> {
    network: Network,
    from: Host,
    to: Host,
    state: Mutex<PipeState<T>>,
}

impl<T> Pipe<T> {
    fn lock(&self) -> MutexGuard<'_, PipeState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, item: Item<T>) {
        let at = Instant::now() + latency(&self.network.sim);
        let mut state = self.lock();
        if state.void {
            return;
        }
        let at = state.last.map_or(at, |last| last.max(at));
        state.last = Some(at);
        state.queue.push_back((at, item));
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }
}

impl<T: Send> Severed for Pipe<T> {
    fn sever(&self, sender: bool, reader: bool) {
        let mut state = self.lock();
        state.void = true;
        state.sender_broken |= sender;
        state.reader_broken |= reader;
        state.queue.clear();
        drop(state);
        self.wake();
    }

    fn wake(&self) {
        let mut state = self.lock();
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

/// Where messages go in. Dropped, the other end sees the end after what was sent.
pub struct Sender<T: Told>(Arc<Tail<T>>);

impl<T: Told> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Tail<T: Told>(Arc<Pipe<T>>);

impl<T: Told> Drop for Tail<T> {
    fn drop(&mut self) {
        self.0.put(Item::End);
    }
}

impl<T: Told> Sink<T> for Sender<T> {
    type Error = Broken;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let mut state = self.0.0.lock();
        if state.sender_broken {
            return Poll::Ready(Err(Broken));
        }
        if state.queue.len() >= WINDOW {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, item: T) -> Result<(), Broken> {
        self.0.0.put(Item::Message(item));
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let broken = self.0.0.lock().sender_broken;
        Poll::Ready(if broken { Err(Broken) } else { Ok(()) })
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.poll_flush(cx)
    }
}

/// Where messages come out.
pub struct Receiver<T: Told> {
    pipe: Arc<Pipe<T>>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<T: Told> Stream for Receiver<T> {
    type Item = Result<T, Broken>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Pipe { network, from, to, .. } = &*this.pipe;
        let held = network.is_held(from, to);
        let mut state = this.pipe.lock();
        state.reader = Some(cx.waker().clone());
        if state.reader_broken {
            return Poll::Ready(Some(Err(Broken)));
        }
        let Some(&(at, _)) = state.queue.front().filter(|_| !held) else { return Poll::Pending };
        if at > Instant::now() {
            drop(state);
            let sleep = this.sleep.insert(Box::pin(sleep_until(at)));
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            return Pin::new(this).poll_next(cx);
        }
        let Some((_, item)) = state.queue.pop_front() else { return Poll::Pending };
        let writer = state.writer.take();
        if matches!(item, Item::End) {
            state.queue.push_front((at, Item::End));
        }
        drop(state);
        writer.into_iter().for_each(Waker::wake);
        match item {
            Item::Message(message) => {
                if let Some(told) = message.told() {
                    network.sim.note(format_args!("{from} > {to} {told}"));
                }
                Poll::Ready(Some(Ok(message)))
            }
            Item::End => Poll::Ready(None),
        }
    }
}

impl<T: Told> Drop for Receiver<T> {
    fn drop(&mut self) {
        // Whoever still sends is told so, unless the way is held.
        let held = self.pipe.network.is_held(self.pipe.from, self.pipe.to);
        let notices = !held && !self.pipe.lock().void;
        self.pipe.sever(notices, false);
    }
}
