//! A checker that finds nothing proves nothing: for every invariant there is evidence that violates it, made from a story
//! that keeps them all; and what is read of a real ZooKeeper is held against ZooKeeper's own tool.

mod doctored;
mod histories;
mod logs;
mod packed;
mod real;
mod story;
