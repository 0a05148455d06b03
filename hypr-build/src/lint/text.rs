//! The rules that the text alone decides.

use std::collections::BTreeSet;

use super::{Collector, Finding, Rule, Settings};
#[cfg(feature = "build")]
use crate::dockerfile::Spanned;
use crate::dockerfile::{Dockerfile, From, Instruction, Statement};

/// Checks what needs no values of variables, in every stage.
pub fn text(dockerfile: &Dockerfile, settings: &Settings) -> Vec<Finding> {
    let found = Collector::new(settings.clone());
    check(dockerfile, &found);
    found.finish()
}

/// As [`text`], into a collector.
pub(crate) fn check(dockerfile: &Dockerfile, found: &Collector) {
    empty_continuations(dockerfile, found);
    casing(dockerfile, found);
    let mut names = BTreeSet::new();
    for statement in &dockerfile.statements {
        match &statement.instruction {
            Instruction::From(from) => stage(statement, from, &mut names, found),
            Instruction::Arg(arg) => {
                let keys: Vec<&str> = arg.declarations.iter().map(|arg| arg.name.as_str()).collect();
                description(statement, "ARG", &keys, found);
            }
            Instruction::Maintainer(_) => {
                found.report(Rule::MaintainerDeprecated, statement, statement.keyword.span, || {
                    "MAINTAINER is deprecated: write `LABEL org.opencontainers.image.authors=\"...\"`".to_owned()
                });
            }
            _ => {}
        }
    }
}

fn empty_continuations(dockerfile: &Dockerfile, found: &Collector) {
    for span in &dockerfile.empty_continuations {
        let line = dockerfile.source.line(span.start);
        let at = dockerfile.statements.partition_point(|statement| statement.end_line < line);
        let lines =
            dockerfile.statements.get(at).map_or((line, line), |statement| (statement.line, statement.end_line));
        let detail = "blank line in a continued instruction".to_owned();
        found.add(Finding { rule: Rule::NoEmptyContinuation, detail, span: *span, lines });
    }
}

/// Whether a word is written in one case throughout, and in which.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Lower,
    Upper,
    Mixed,
}

impl Case {
    fn of(word: &str) -> Self {
        match (word.contains(|c: char| c.is_ascii_uppercase()), word.contains(|c: char| c.is_ascii_lowercase())) {
            (false, true) => Self::Lower,
            (_, false) => Self::Upper,
            (true, true) => Self::Mixed,
        }
    }
}

/// The case that most instructions have is everybody's. Arguments before the first stage do not count.
fn casing(dockerfile: &Dockerfile, found: &Collector) {
    let first = dockerfile.statements.iter().position(|s| matches!(s.instruction, Instruction::From(_)));
    let statements = &dockerfile.statements[first.unwrap_or(0)..];
    let count = |case| statements.iter().filter(|statement| Case::of(&statement.keyword) == case).count();
    let (wanted, name) = match count(Case::Lower) > count(Case::Upper) {
        true => (Case::Lower, "lowercase"),
        false => (Case::Upper, "uppercase"),
    };
    for statement in statements.iter().filter(|statement| Case::of(&statement.keyword) != wanted) {
        found.report(Rule::ConsistentInstructionCasing, statement, statement.keyword.span, || {
            format!("`{}` should be written as most instructions are, in {name}", statement.keyword.value)
        });
    }
}

fn stage(statement: &Statement, from: &From, names: &mut BTreeSet<String>, found: &Collector) {
    if let (Some(word), case @ (Case::Lower | Case::Upper)) = (&from.as_keyword, Case::of(&statement.keyword))
        && Case::of(word) != case
    {
        found.report(Rule::FromAsCasing, statement, word.span, || {
            format!("`{}` and `{}` are not written in the same case", word.value, statement.keyword.value)
        });
    }
    let (Some(name), Some(lower)) = (&from.name, from.stage_name()) else { return };
    if **name != lower {
        found.report(Rule::StageNameCasing, statement, name.span, || {
            format!("stage name `{}` should be written in small letters: `{lower}`", name.value)
        });
    }
    if matches!(lower.as_str(), "scratch" | "context") {
        found.report(Rule::ReservedStageName, statement, name.span, || {
            format!("`{lower}` is reserved and should not name a stage")
        });
    }
    description(statement, "FROM", &[&lower], found);
    if names.contains(&lower) {
        found.report(Rule::DuplicateStageName, statement, name.span, || {
            format!("there is a stage `{lower}` already; later instructions mean this one")
        });
    }
    names.insert(lower);
}

/// `# NAME what it is`, right above `ARG NAME` or `FROM ... AS NAME`.
fn description(statement: &Statement, instruction: &str, keys: &[&str], found: &Collector) {
    let last = statement.comments.iter().rfind(|comment| !comment.starts_with("check="));
    let (Some(last), [first, more @ ..]) = (last, keys) else { return };
    let word = last.split(' ').next().unwrap_or_default();
    if !keys.contains(&word) {
        let key = if more.is_empty() { first } else { "<name>" };
        found.report(Rule::InvalidDefinitionDescription, statement, statement.keyword.span, || {
            format!("the comment above {instruction} should be `# {key} <description>`, or stand apart from it")
        });
    }
}

/// The finding about the secret that a variable may hold.
#[cfg(feature = "build")]
pub(crate) fn secret(statement: &Statement, instruction: &str, key: &Spanned<String>, found: &Collector) {
    if super::secrets::is_secret(key) {
        found.report(Rule::SecretsUsedInArgOrEnv, statement, key.span, || {
            format!("{instruction} should not hold a secret (`{}`): use `RUN --mount=type=secret`", key.value)
        });
    }
}
