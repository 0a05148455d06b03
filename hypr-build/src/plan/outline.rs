//! What a target can be given: the arguments that its stages declare, and the secrets that their commands ask for.

use std::cell::RefCell;

use crate::dockerfile::{Run, Statement};

/// What a target takes from whoever builds it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Outline {
    /// The target's name in lower case; `None` where it has only a number.
    pub name: Option<String>,
    /// What the comment above the target says, if that begins with its name.
    pub description: Option<String>,
    /// The text of the Dockerfile.
    pub dockerfile: String,
    /// Build arguments, in the order of the lines that declare them.
    pub args: Vec<OutlineArg>,
    /// `RUN --mount=type=secret`.
    pub secrets: Vec<OutlineMount>,
    /// `RUN --mount=type=ssh`.
    pub ssh: Vec<OutlineMount>,
}

/// A build argument.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// What it is in this build, defaults included; empty if nothing says.
    pub value: String,
    /// What the comment above it says, if that begins with its name.
    pub description: Option<String>,
    /// The line that declares it, from 1.
    pub line: usize,
}

/// A secret or a socket of an SSH agent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutlineMount {
    /// Its id.
    pub name: String,
    /// Whether the command fails without it.
    pub required: bool,
    /// The line that asks for it, from 1.
    pub line: usize,
}

/// Takes notes while stages are planned.
#[derive(Debug, Default)]
pub(super) struct Notes(RefCell<Outline>);

impl Notes {
    /// An argument; the first declaration of a name and line counts.
    pub(super) fn arg(&self, arg: OutlineArg) {
        let args = &mut self.0.borrow_mut().args;
        if args.len() < super::budget::VARIABLES && !args.iter().any(|known| known.name == arg.name) {
            args.push(arg);
        }
    }

    /// The mounts of a command.
    pub(super) fn run(&self, run: &Run, line: usize) {
        let mut outline = self.0.borrow_mut();
        for mount in &run.mounts {
            let options = || mount.split(',').map(|option| option.split_once('=').unwrap_or((option, "")));
            let value = |names: &[&str]| options().find(|(name, _)| names.contains(name)).map(|(_, value)| value);
            let kind = value(&["type"]);
            let file = || value(&["target", "dst", "destination"]).and_then(|path| path.rsplit('/').next());
            let (list, name) = match kind {
                Some("secret") => (&mut outline.secrets, value(&["id"]).or_else(file).unwrap_or_default()),
                Some("ssh") => (&mut outline.ssh, value(&["id"]).unwrap_or("default")),
                _ => continue,
            };
            let required = value(&["required"]).is_some_and(|value| matches!(value, "" | "true" | "1"));
            match list.iter_mut().find(|known| known.name == name) {
                Some(known) => known.required |= required,
                None => list.push(OutlineMount { name: name.to_owned(), required, line }),
            }
        }
    }

    pub(super) fn finish(self) -> Outline {
        let mut outline = self.0.into_inner();
        outline.args.sort_by_key(|arg| arg.line);
        outline.secrets.sort_by_key(|secret| secret.line);
        outline.ssh.sort_by_key(|ssh| ssh.line);
        outline
    }
}

/// What the comments above a declaration say of `name`: the rest of the first line that begins with it.
pub(crate) fn description(comments: &[String], name: &str) -> Option<String> {
    comments.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(|rest| rest.trim().to_owned())
}

/// The argument that a statement declares.
pub(super) fn declared(statement: &Statement, name: &str, value: Option<&str>) -> OutlineArg {
    OutlineArg {
        name: name.to_owned(),
        value: value.unwrap_or_default().to_owned(),
        description: description(&statement.comments, name),
        line: statement.line,
    }
}
