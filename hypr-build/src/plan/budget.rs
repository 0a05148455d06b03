//! What a plan may hold, so that a small hostile file does not become a large plan: arguments that are made of
//! themselves twice, thousands of stages that inherit thousands of entries, ranges of all ports on every line.

use std::cell::Cell;

use super::error::Problem;

/// Bytes of expanded words, inherited configurations and environments of all steps together.
const PLAN: usize = 256 << 20;

/// Variables that a stage may have, from `ENV` and `ARG` together.
pub(crate) const VARIABLES: usize = 4096;

/// The longest path that an instruction may name, in bytes: that of the kernel.
pub(crate) const PATH: usize = 4096;

/// What is left of it.
#[derive(Debug)]
pub(crate) struct Budget {
    left: Cell<usize>,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { left: Cell::new(PLAN) }
    }

    /// Takes `bytes` off.
    pub(crate) fn spend(&self, bytes: usize) -> Result<(), Problem> {
        match self.left.get().checked_sub(bytes) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => Err(Problem::TooLarge { what: "the plan of the build", limit: format!("{} MiB", PLAN >> 20) }),
        }
    }
}

/// Refuses a path that no kernel takes.
pub(crate) fn path(path: &str) -> Result<(), Problem> {
    match path.len() > PATH {
        true => Err(Problem::TooLarge { what: "a path", limit: format!("{PATH} bytes") }),
        false => Ok(()),
    }
}

/// Refuses one variable more than a stage may have.
pub(crate) fn variables(count: usize) -> Result<(), Problem> {
    match count > VARIABLES {
        true => Err(Problem::TooLarge { what: "the number of variables of a stage", limit: VARIABLES.to_string() }),
        false => Ok(()),
    }
}
