//! Build checks: what works in a Dockerfile and is probably not what was meant.
//!
//! The rules have the names that BuildKit gives them, so that `# check=skip=...` means the same here and there. Those
//! that look at the text alone are in `text.rs`; those that need expanded values are reported by the planner as it goes
//! through the stages. Two rules are experimental and ask to be turned on.
//!
//! ```
//! use hypr_build::{dockerfile, lint};
//!
//! let dockerfile = dockerfile::parse("FROM scratch AS Base\n")?;
//! let findings = lint::text(&dockerfile, &lint::Settings::default());
//! assert_eq!(findings[0].rule.name(), "StageNameCasing");
//! assert_eq!(findings[0].lines, (1, 1));
//! # Ok::<(), dockerfile::ParseErrors>(())
//! ```

mod collector;
mod rule;
#[cfg(feature = "build")]
mod secrets;
mod settings;
#[cfg(test)]
mod tests;
pub(crate) mod text;

pub(crate) use self::collector::Collector;
pub use self::{
    rule::Rule,
    settings::{InvalidSettings, Settings},
    text::text,
};
use crate::dockerfile::Span;

/// One thing that a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule that is not kept.
    pub rule: Rule,
    /// What of it, for people.
    pub detail: String,
    /// Where to point.
    pub span: Span,
    /// The first and the last line of the instruction, from 1.
    pub lines: (usize, usize),
}
