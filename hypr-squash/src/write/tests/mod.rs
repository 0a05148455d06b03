//! Tests of the writer that need to see inside.

mod lending;
mod threads;
