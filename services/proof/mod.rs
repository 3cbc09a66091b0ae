//! The services held against what they promise, with everything around them imagined: a model checker that drives the
//! rules through every order of events that a small cluster can see, and a simulator that drives the real driver and the
//! real links through thousands of bad days.
//!
//! Only in tests. It stands above the services, and nothing stands above it.

mod model;
mod simulator;
mod tree;
