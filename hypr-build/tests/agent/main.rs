//! The parts of the agent that work on directories, run here in a process of the host's.

#![expect(clippy::print_stderr, reason = "a test that cannot run here says so")]

#[path = "../../agent/baseline.rs"]
mod baseline;
#[path = "../../agent/capture.rs"]
mod capture;
#[path = "../../agent/extract.rs"]
mod extract;
#[path = "../../agent/marks.rs"]
mod marks;
#[path = "../../agent/sparse.rs"]
mod sparse;
#[expect(dead_code, reason = "directories are not all that the agent has to do with")]
#[path = "../../agent/sys/mod.rs"]
mod sys;
#[path = "../../agent/tar/mod.rs"]
mod tar;
#[path = "../../agent/walk.rs"]
mod walk;

mod capturing;
mod extracting;
