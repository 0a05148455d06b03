//! Dockerfiles as text again, one line an instruction.
//!
//! What is printed parses to an equal tree. Words stand as they were written; continuations are joined.

use std::fmt::{self, Write};

use super::{
    ast::{Directives, Dockerfile, Escape, Heredoc, Instruction, Statement},
    directive, lines,
};

impl fmt::Display for Dockerfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.directives.fmt(f)?;
        for (index, statement) in self.statements.iter().enumerate() {
            let first = statement.comments.first().filter(|_| index == 0);
            if first.is_some_and(|comment| directive::directive(&format!("# {comment}")).is_some()) {
                // An empty comment keeps the first one from being taken for a directive.
                f.write_str("#\n")?;
            }
            for comment in &statement.comments {
                writeln!(f, "# {comment}")?;
            }
            statement.write(f, self.directives.escape)?;
        }
        Ok(())
    }
}

impl fmt::Display for Directives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(syntax) = &self.syntax {
            writeln!(f, "# syntax={}", syntax.value)?;
        }
        if self.escape != Escape::default() {
            writeln!(f, "# escape={}", self.escape.as_char())?;
        }
        if let Some(check) = &self.check {
            writeln!(f, "# check={}", check.value)?;
        }
        Ok(())
    }
}

impl Statement {
    fn write(&self, f: &mut fmt::Formatter<'_>, escape: Escape) -> fmt::Result {
        f.write_str(&self.text)?;
        if lines::continued(&self.text, escape.as_char()).is_some() {
            // The escape was followed by a blank of a kind that ends no instruction and is trimmed all the same.
            f.write_char('\x0b')?;
        }
        f.write_char('\n')?;
        for heredoc in self.instruction.heredocs() {
            writeln!(f, "{}{}", heredoc.text, heredoc.name)?;
        }
        Ok(())
    }
}

impl Instruction {
    /// The heredocs of the instruction, those of an `ONBUILD`'s trigger included.
    pub fn heredocs(&self) -> &[Heredoc] {
        match self {
            Self::Run(run) => &run.heredocs,
            Self::Copy(copy) => &copy.heredocs,
            Self::Add(add) => &add.heredocs,
            Self::Onbuild(onbuild) => onbuild.instruction.heredocs(),
            _ => &[],
        }
    }
}
