//! What every executor does alike, tried on each of them.

#![expect(clippy::print_stderr, reason = "a test that cannot run here says so")]

mod contract;
mod layers;
mod leaks;
mod namespace;
mod programs;
mod run;
mod unprivileged;
mod vm;
