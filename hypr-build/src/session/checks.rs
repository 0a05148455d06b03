//! The build checks of one Dockerfile: which of them count, and whether what they find is an error.

use crate::{
    dockerfile::Dockerfile,
    error::Error,
    lint::{Collector, Finding, Settings, text},
    plan::{BuildArgs, PlanError, Problem},
};

/// The build argument that goes before the `# check=` of the file.
const ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// Takes what the checks find; what the text alone shows is in it.
pub(super) fn collector(args: &BuildArgs, file: &str, dockerfile: &Dockerfile) -> Result<Collector, Error> {
    let directive = dockerfile.directives.check.as_ref();
    let (settings, span) = match (args.get(ARGUMENT), directive) {
        (Some(given), _) => (given.as_str(), None),
        (None, Some(directive)) => (directive.as_str(), Some(directive.span)),
        (None, None) => ("", None),
    };
    let settings = Settings::parse(settings).map_err(|error| {
        let error = PlanError { span, problem: Problem::Check(error) };
        Error::plan(file, dockerfile, vec![error])
    })?;
    let collector = Collector::new(settings);
    text::check(dockerfile, &collector);
    Ok(collector)
}

/// What was found, unless that is an error.
pub(super) fn finish(lint: Collector, file: &str, dockerfile: &Dockerfile) -> Result<Vec<Finding>, Error> {
    let fails = lint.settings().fails();
    let findings = lint.finish();
    if !fails || findings.is_empty() {
        return Ok(findings);
    }
    let render = |found: &Finding| {
        let message = format!("{}: {}", found.rule, found.detail);
        dockerfile.source.render(file, found.span, &message, None)
    };
    let excerpt = findings.iter().take(20).map(render).collect::<Vec<_>>().join("\n");
    let mut rules: Vec<_> = findings.iter().map(|found| found.rule).collect();
    rules.sort();
    rules.dedup();
    Err(Error::Checks { file: file.to_owned(), rules, excerpt })
}
