//! What a plan may hold, so that a small hostile file does not become a large plan: arguments that are made of
//! themselves twice, thousands of stages that inherit thousands of entries, ranges of all ports on every line.

use std::cell::Cell;

use super::{error::Problem, variables::Scope};
use crate::image::ImageConfig;

/// Bytes of expanded words, inherited configurations and environments of all steps together.
const PLAN: usize = 256 << 20;

/// Variables that a stage may have, from `ENV` and `ARG` together.
pub(crate) const VARIABLES: usize = 4096;

/// Steps that may stand on one another, whichever stages they are of: each looks through all layers below it.
pub(crate) const STEPS: usize = 10_000;

/// Triggers that all stages together may carry out: as many as a file may have instructions.
pub(crate) const TRIGGERS: usize = 1 << 16;

/// What a text costs beside its bytes where it is one of many, as in a list or a map.
const ENTRY: usize = 48;

/// What an entry of the history costs beside its text.
const HISTORY: usize = 192;

/// The longest path that an instruction may name, in bytes: that of the kernel.
pub(crate) const PATH: usize = 4096;

/// What is left of it.
#[derive(Debug)]
pub(crate) struct Budget {
    left: Cell<usize>,
    triggers: Cell<usize>,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { left: Cell::new(PLAN), triggers: Cell::new(TRIGGERS) }
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

    /// Takes off the triggers that a stage carries out.
    pub(crate) fn triggers(&self, texts: &[&str]) -> Result<(), Problem> {
        let Some(left) = self.triggers.get().checked_sub(texts.len()) else {
            let what = "the number of ONBUILD triggers that all stages carry out";
            return Err(Problem::TooLarge { what, limit: TRIGGERS.to_string() });
        };
        self.triggers.set(left);
        self.spend(texts.iter().map(|text| ENTRY + text.len()).sum())
    }

    /// Takes off a copy of all that a stage inherits.
    pub(crate) fn inherit(&self, config: &ImageConfig, scope: &Scope) -> Result<(), Problem> {
        let process = &config.config;
        let lists = [&process.env, &process.entrypoint, &process.cmd, &process.on_build, &process.shell];
        let sets = [&process.exposed_ports, &process.volumes];
        let check = process.healthcheck.iter().flat_map(|check| &check.test);
        let texts = lists.into_iter().flatten().chain(sets.into_iter().flatten()).chain(check);
        let texts: usize = texts.map(|text| ENTRY + text.len()).sum();
        let pairs = process.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        // The names of arguments, and of variables, are in an index too.
        let arguments = scope.names().map(|name| (name, scope.arg(name).unwrap_or_default()));
        let arguments = arguments.chain(scope.names().map(|name| (name, "")));
        let pairs: usize = pairs.chain(arguments).map(|(key, value)| 2 * ENTRY + key.len() + value.len()).sum();
        let names: usize = process.env.iter().map(|entry| ENTRY + entry.find('=').unwrap_or_default()).sum();
        let history = config.history.iter();
        let history: usize = history.map(|entry| HISTORY + entry.created_by.as_ref().map_or(0, String::len)).sum();
        self.spend(texts + pairs + names + history)
    }
}

/// Refuses a stack of more than [`STEPS`] steps.
pub(crate) fn steps(height: usize) -> Result<(), Problem> {
    match height > STEPS {
        true => {
            Err(Problem::TooLarge { what: "the number of steps that stand on one another", limit: STEPS.to_string() })
        }
        false => Ok(()),
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
