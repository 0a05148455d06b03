//! Images are written, read back, and shown to programs that know nothing of this crate.

mod disk;
mod edges;
mod failures;
mod foreign;
mod hostile;
mod lending;
mod limits;
mod oracles;
mod random;
mod readers;
mod stacks;
mod support;
