//! The proof on real processes: what happened is written down as evidence, and a checker that trusts none of our code
//! judges it.

pub mod cluster;
mod evidence;
mod failover;
