//! Dockerfiles as text and as a tree.
//!
//! `parse` turns text into a [`Dockerfile`]: a list of [`Statement`]s, each with its typed [`Instruction`], the line
//! it was written as and the place where it stands. `parse_syntax` stops one level earlier, at names, flags and
//! arguments, and asks nothing of their meaning.
//!
//! The module reads no files and no environment, and depends on nothing else in the crate.

mod ast;
mod error;
mod source;

pub use self::{
    ast::{
        Add, Arg, ArgDeclaration, Command, Copy, Directives, Dockerfile, Env, Escape, Expose, From, Healthcheck,
        HealthcheckOptions, Heredoc, Instruction, Label, Onbuild, Pair, Run, Script, Shell, Statement, Volume,
    },
    error::{ErrorKind, ParseError, ParseErrors},
    source::{Position, Source, Span, Spanned},
};
