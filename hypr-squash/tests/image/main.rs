//! Images are written, read back, and shown to programs that know nothing of this crate.

mod edges;
mod failures;
mod limits;
mod oracles;
mod random;
mod support;
